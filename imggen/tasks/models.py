"""What models there are, and what one of them can do."""

from dataclasses import replace
from typing import Any

from imggen.errors import ImggenError, ModelError
from imggen.host import environment
from imggen.plan.generation import capabilities
from imggen.plan.models import catalog, checkpoint, priors, record, samplers
from imggen.plan.schema.request import ModelFacts
from imggen.store import lookup
from imggen.store.weights import AccessRules

SCHEMA = 1


def show(reference: str, *, base: str | None = None, terms: AccessRules = lookup.DEFAULT_TERMS) -> dict[str, object]:
    """Return what is known of the model that `reference` names, as values that JSON can hold.

    Sizes are in pixels and bytes. Nothing is fetched, since a question should not cost gigabytes: a model of the hub
    that is not on this machine is a ModelError. What the model's own record says stands under `record`, except its
    `vocabulary`, which stands at the top.
    """
    environment.prepare(offline=terms.offline)
    try:
        facts = lookup.find(reference, base=base, terms=replace(terms, offline=True))
    except ImggenError as error:
        # What takes a model by an option elsewhere takes it by its place here.
        if not (error.hint or "").startswith("--model "):
            raise
        hint = str(error.hint).replace("--model ", "imggen models show ", 1)
        raise type(error)(error.message, hint=hint) from error
    return {
        "schema": SCHEMA,
        "reference": facts.reference,
        "source": facts.source,
        "revision": facts.revision,
        "folder": str(facts.folder),
        "pipeline": facts.pipeline,
        "licence": lookup.licence(facts),
        "size_bytes": sum(facts.weight_bytes.values()),
        **checkpoint.summary(facts),
        **priors.summary(facts),
        "components": {name: _component(facts, name) for name in facts.components},
        **_abilities(facts),
        "vocabulary": facts.record.get("vocabulary", {}),
        "record": {name: value for name, value in facts.record.items() if name != "vocabulary"},
    }


def _component(facts: ModelFacts, name: str) -> dict[str, object]:
    library, class_name = facts.components[name]
    eight_bits = "float8" if name in facts.eight_bits else None
    return {
        "library": library,
        "class": class_name,
        "bytes": facts.weight_bytes.get(name, 0),
        "dtype": facts.quantised.get(name) or facts.stored_dtypes.get(name) or eight_bits,
    }


def _abilities(facts: ModelFacts) -> dict[str, object]:
    """Return what imggen can make of the model; of a family that it does not know, only that."""
    try:
        family = catalog.find(facts)
    except ModelError as error:
        return {"family": None, "problem": error.message}
    own = record.read(facts)
    limits: dict[str, Any] = {
        "width": own.native_size[0] if own.native_size else family.native_pixels,
        "height": own.native_size[1] if own.native_size else family.native_pixels,
        "steps": own.steps or family.steps,
        "guidance": family.guidance if own.guidance is None else own.guidance,
        "sampler": own.sampler or samplers.DEFAULT,
    }
    prediction = catalog.prediction(family, facts)
    can = [ability for ability in capabilities.abilities(family, facts) if ability.refusal is None]
    return {
        "family": family.name,
        "title": family.title,
        "note": family.unlisted,
        "tasks": [ability.task for ability in can],
        "methods": {ability.task: ability.method for ability in can if ability.method},
        "defaults": limits,
        "multiple_of": catalog.multiple_of(family, facts),
        "samplers": [row.name for row in samplers.SAMPLERS if prediction in row.schedulers],
        "negative_prompt": family.negative_refusal is None,
    }
