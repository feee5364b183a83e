"""Models in two stages: which class is a decoder's or a prior's, whether two of them fit, and what they make."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final, TypeVar

from imggen.errors import ModelError
from imggen.plan.models.families import FAMILIES
from imggen.plan.schema.family import Family, Stages
from imggen.plan.schema.request import PRIOR, ModelFacts

_NOTHING: Final = "nothing"
_Value = TypeVar("_Value")


def of_decoder(pipeline: str) -> Family | None:
    """Return the family of which `pipeline` is a decoder's class, None for any other class."""
    return next((family for family in FAMILIES if family.stages and pipeline in family.stages.decoders), None)


def refuse_prior(reference: str, pipeline: str) -> None:
    """Raise ModelError where `pipeline` is the class of a prior alone."""
    family = next((row for row in FAMILIES if row.stages and pipeline == row.stages.prior), None)
    if family is not None:
        raise ModelError(
            f"{reference} is the prior of {family.title}, which makes no pictures by itself",
            hint=f"{family.base} in its place, with --base {reference}",
        )


def refuse_decoder(reference: str, pipeline: str) -> None:
    """Raise ModelError where `pipeline` is the class of a decoder without its prior."""
    family = of_decoder(pipeline)
    if family is not None and family.stages is not None:
        raise ModelError(
            f"{reference} is the decoder of {family.title}, which needs its prior", hint=f"--base {family.stages.usual}"
        )


def combine(decoder: ModelFacts, prior: ModelFacts, family: Family) -> ModelFacts:
    """Return the facts of the model that a decoder and a prior make; raise ModelError where they do not fit."""
    stages = family.stages
    if stages is None:
        raise TypeError(f"{family.name} has one stage")
    check_prior(decoder, prior.pipeline, prior.reference, family)
    _check_alike(decoder, prior, family, stages)
    unused = stages.unused
    pickles = (f"{PRIOR}{pickle}" for pickle in prior.pickles if pickle.split("/", 1)[0] not in unused)
    return replace(
        decoder,
        pipeline=stages.decoders[decoder.pipeline],
        components=decoder.components | _used(prior.components, unused),
        configs=decoder.configs | _used(prior.configs, unused),
        weight_bytes=decoder.weight_bytes | _used(prior.weight_bytes, unused),
        stored_dtypes=decoder.stored_dtypes | _used(prior.stored_dtypes, unused),
        shapes=decoder.shapes | _used(prior.shapes, unused),
        pickles=(*decoder.pickles, *pickles),
        prior=prior,
    )


def check_prior(decoder: ModelFacts, pipeline: str, reference: str, family: Family) -> None:
    """Raise ModelError where `pipeline`, the class of what shall complete the decoder, is not its prior's."""
    if family.stages is not None and pipeline != family.stages.prior:
        raise ModelError(
            f"{decoder.reference} is a decoder of {family.title}, and its base {reference} is no prior of that: it is "
            f"a {pipeline}",
            hint=_hint(family),
        )


def _hint(family: Family) -> str | None:
    return f"--base {family.stages.usual}, or another prior of {family.title}" if family.stages else None


def _check_alike(decoder: ModelFacts, prior: ModelFacts, family: Family, stages: Stages) -> None:
    for first, second in stages.alike:
        one, other = _said(prior, first), _said(decoder, second)
        if _NOTHING not in (one, other) and one != other:
            raise ModelError(
                f"{decoder.reference} has {second} {other}, its base {prior.reference} has {first} {one}: they do not "
                "belong together",
                hint=_hint(family),
            )


def _said(facts: ModelFacts, key: str) -> object:
    part, _, name = key.partition(".")
    return facts.configs.get(part, {}).get(name, _NOTHING)


def _used(parts: Mapping[str, _Value], unused: tuple[str, ...]) -> dict[str, _Value]:
    return {f"{PRIOR}{name}": part for name, part in parts.items() if name not in unused}


def summary(facts: ModelFacts) -> dict[str, object]:
    """Return what a record says of a decoder's prior, as values that JSON can hold; {} for other models."""
    if facts.prior is None:
        return {}
    prior = facts.prior
    return {
        "base": {
            "reference": prior.reference,
            "revision": prior.revision,
            "source": prior.source,
            "from_base": _given(facts),
        }
    }


def _given(facts: ModelFacts) -> list[str]:
    return sorted(name.removeprefix(PRIOR) for name in facts.weight_bytes if name.startswith(PRIOR))


def lines(facts: ModelFacts) -> tuple[str, ...]:
    """Return what a plan says to people of a decoder's prior."""
    if facts.prior is None:
        return ()
    revision = f"@{facts.prior.revision}" if facts.prior.revision else ""
    return (f"base: {facts.prior.reference}{revision} (the prior; gives {', '.join(_given(facts))})",)
