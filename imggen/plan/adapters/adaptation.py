"""Adapters in a plan: what the command line's words ask for, and what is recorded and told of them."""

import math
import re
from dataclasses import asdict, replace
from typing import Final

from imggen.errors import RequestError
from imggen.plan.adapters import autoencoder, embedding, lora
from imggen.plan.case import Case
from imggen.plan.schema.adapter import Adapter, AdapterFacts, AdapterRequest, ImageEncoder, Kind
from imggen.plan.schema.change import Role
from imggen.plan.schema.given import Given
from imggen.plan.schema.recipe import Recipe
from imggen.plan.schema.request import GenerateRequest, ModelFacts

WEIGHT_SUFFIXES: Final = (".safetensors", ".bin", ".ckpt", ".pt", ".pth")
LARGEST_SCALE: Final = 4.0
"""Beyond it, in either direction, a LoRA leaves nothing of the picture."""

HubParts = tuple[str, str | None, str | None]
"""Repository, revision and file."""

_REPOSITORY: Final = r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*"
# A revision may have slashes in it, so a file is only what ends like one; those of pull requests are refs/pr/1.
_HUB: Final = re.compile(
    rf"(?P<repository>{_REPOSITORY}?)(?:@(?P<revision>refs/\w+/[^@/]+|[^@]+?))?"
    rf"(?:/(?P<file>[^@]+(?:{'|'.join(map(re.escape, WEIGHT_SUFFIXES))})))?"
)


def asked(request: GenerateRequest) -> tuple[AdapterRequest, ...]:
    """Return the adapters that `request` asks for, in its order; raise RequestError for one that says no such thing."""
    loras = [_lora(written) for written in request.lora or ()]
    embeddings = [_embedding(written) for written in request.embedding or ()]
    vaes = (
        [AdapterRequest(kind="vae", option="--vae", reference=_named("--vae", request.vae))]
        if request.vae is not None
        else []
    )
    _refuse_twice(loras)
    _refuse_twice(embeddings)
    return (*vaes, *loras, *embeddings)


def _lora(written: str) -> AdapterRequest:
    reference, scale = split_scale("--lora", written)
    if scale is not None and abs(scale) > LARGEST_SCALE:
        raise RequestError(
            f"--lora {written}: the scale {scale:g} is not between -{LARGEST_SCALE:g} and {LARGEST_SCALE:g}",
            hint=f"--lora {reference}:1",
        )
    return AdapterRequest(kind="lora", option="--lora", reference=reference, scale=1.0 if scale is None else scale)


def split_scale(option: str, written: str) -> tuple[str, float | None]:
    """Return the reference and the scale of `REF[:SCALE]`, None where it has none.

    What stands behind the last colon is the scale where it is a number, else it belongs to the name. Raise RequestError
    for a name that is missing, and for a scale that is not finite or no number behind a file's ending.
    """
    reference, colon, last = written.rpartition(":")
    try:
        scale = float(last)
    except ValueError:
        if colon and reference.lower().endswith(WEIGHT_SUFFIXES):
            raise RequestError(
                f"{option} {written}: {last!r} is not a scale", hint=f"{option} {reference}:0.8"
            ) from None
        return _named(option, written), None
    if not colon:
        return _named(option, written), None
    if not math.isfinite(scale):
        raise RequestError(f"{option} {written}: {last!r} is not a finite number", hint=f"{option} {reference}:0.8")
    return _named(option, reference), scale


def _embedding(written: str) -> AdapterRequest:
    """Return what `REF[:TOKEN]` asks for; raise RequestError for a token that no prompt could have."""
    reference, colon, token = written.rpartition(":")
    # C:\words\cat.safetensors has one colon, and no token.
    if not colon or re.search(r"[/\\]", token):
        return AdapterRequest(kind="embedding", option="--embedding", reference=_named("--embedding", written))
    if not token or re.search(r"\s", token):
        raise RequestError(
            f"--embedding {written}: {token!r} is no word that a prompt could have",
            hint=f"--embedding {reference}:my-word",
        )
    return AdapterRequest(
        kind="embedding", option="--embedding", reference=_named("--embedding", reference), token=token
    )


def _named(option: str, reference: str | None) -> str:
    if not reference or not reference.strip():
        raise RequestError(
            f"{option} is empty: it names no weights", hint=f"{option} FILE.safetensors, or leave {option} out"
        )
    return reference


def _refuse_twice(adapters: list[AdapterRequest]) -> None:
    for number, adapter in enumerate(adapters):
        if any((adapter.reference, adapter.token) == (other.reference, other.token) for other in adapters[:number]):
            raise RequestError(
                f"{adapter.option} {adapter.reference} is asked for twice",
                hint=f"one {adapter.option} {adapter.reference}",
            )


def split_hub(reference: str) -> HubParts | None:
    """Return repository, revision and file of `org/name[@revision][/file]`, None for what cannot be of the hub."""
    match = _HUB.fullmatch(reference)
    if match is None or match["repository"].lower().endswith(WEIGHT_SUFFIXES):
        return None
    repository, revision, file = match["repository"], match["revision"], match["file"]
    # What leads out of a repository is none of its files.
    if {".", ".."} & set(re.split(r"[/\\]", f"{revision or ''}/{file or ''}")):
        return None
    return repository, revision, file


def repository(reference: str) -> str:
    """Return the hub's repository that an adapter would come from, and what cannot be of the hub as it is."""
    parts = split_hub(reference)
    return parts[0] if parts else reference


def with_revision(reference: str, revision: str | None) -> str:
    """Return what to ask for to get the same weights again."""
    parts = split_hub(reference) if revision else None
    if parts is None:
        return reference
    repository, _, file = parts
    return f"{repository}@{revision}" + (f"/{file}" if file else "")


def check(case: Case, model: ModelFacts) -> None:
    """Raise ModelError for the first adapter that is not one for the model, by what the headers of both say.

    `model` are the facts of the model as it is stored: those of the case may be `changed`.
    """
    for adapter in case.adapters:
        if adapter.asked.kind == "lora":
            lora.check(adapter, case.facts, case.family)
        elif adapter.asked.kind == "embedding":
            embedding.check(adapter, case)
        elif adapter.asked.kind == "vae":
            autoencoder.check(adapter, case, model)


def notes(case: Case, *prompts: str) -> tuple[str, ...]:
    """Return what the user should know of the adapters before the pictures are there."""
    embeddings = [adapter for adapter in case.adapters if adapter.asked.kind == "embedding"]
    return tuple(filter(None, (embedding.unused(adapter, *prompts) for adapter in embeddings)))


def changed(model: ModelFacts, adapters: tuple[AdapterFacts, ...]) -> ModelFacts:
    """Return the facts of the model as it will be in memory: with another autoencoder where one is asked for."""
    vae = next((adapter for adapter in adapters if adapter.asked.kind == "vae"), None)
    if vae is None:
        return model
    if not vae.config:
        return replace(model, weight_bytes=model.weight_bytes | {"vae": vae.weight_bytes})
    stored = {} if vae.stored_dtype is None else {"vae": vae.stored_dtype}
    kept = {name: dtype for name, dtype in model.stored_dtypes.items() if name != "vae"}
    return replace(
        model,
        components=model.components | {"vae": ("diffusers", str(vae.config.get("_class_name")))},
        configs=model.configs | {"vae": dict(vae.config)},
        weight_bytes=model.weight_bytes | {"vae": vae.weight_bytes},
        stored_dtypes=kept | stored,
    )


def record(facts: AdapterFacts, image: str | None = None) -> Adapter:
    """Return what a recipe records of an adapter; `image` is the SHA-256 of the picture that goes with it."""
    return Adapter(
        kind=facts.asked.kind,
        reference=facts.reference,
        sha256=facts.sha256,
        revision=facts.revision,
        scale=facts.asked.scale,
        token=facts.asked.token,
        image=image,
        preprocessor=facts.asked.preprocessor,
        encoder=facts.encoder,
    )


def recorded(adapters: tuple[AdapterFacts, ...], given: tuple[Given, ...]) -> tuple[Adapter, ...]:
    """Return what a recipe records of `adapters`, each with its picture out of `given`, which stand in their order."""
    pictures = {
        kind: iter([picture.sha256 for picture in given if picture.role in roles]) for kind, roles in _PICTURES.items()
    }
    return tuple(record(adapter, next(pictures.get(adapter.asked.kind, iter(())), None)) for adapter in adapters)


_PICTURES: Final[dict[Kind, tuple[Role, ...]]] = {"controlnet": ("control",), "ip-adapter": ("shown", "style")}


def again(recipe: Recipe) -> dict[str, object]:
    """Return the options, by the request's names, that ask for the adapters of `recipe` again."""
    vaes = _written(recipe, "vae")
    return {
        "lora": _written(recipe, "lora") or None,
        "embedding": _written(recipe, "embedding") or None,
        "vae": vaes[0] if vaes else None,
        "ip_adapter_weights": next(iter(_written(recipe, "ip-adapter")), None),
        "ip_adapter_encoder": next(
            (encoder_again(adapter.encoder) for adapter in recipe.adapters if adapter.encoder), None
        ),
        "control": tuple(_option(adapter) for adapter in recipe.adapters if is_alone(adapter)) or None,
        "depth_weights": next(iter(_written(recipe, "depth")), None),
        **_preprocessing(recipe),
    }


def is_alone(adapter: Adapter) -> bool:
    """Return whether a ControlNet followed the picture that was repainted, which needs no picture beside it."""
    return adapter.kind == "controlnet" and adapter.image is None


def _preprocessing(recipe: Recipe) -> dict[str, object]:
    """Return what says that the control pictures are made of photographs, and what each is made by."""
    networks = tuple(adapter.preprocessor for adapter in recipe.adapters if adapter.kind == "controlnet")
    preprocessors = networks or tuple(
        ingredient.preprocessor for ingredient in recipe.ingredients if ingredient.role == "control"
    )
    return {"preprocess": any(preprocessors) or None, "preprocessors": preprocessors if any(preprocessors) else None}


def encoder_again(encoder: ImageEncoder) -> str:
    """Return what to ask for to look through the same image encoder again."""
    return with_revision(encoder.reference, encoder.revision)


def weights_of(recipe: Recipe) -> dict[str, object]:
    """Return those of `again` that need no picture beside them, and that the recipe has."""
    words = again(recipe)
    return {name: words[name] for name in ("lora", "embedding", "vae") if words[name] is not None}


def _written(recipe: Recipe, kind: Kind) -> tuple[str, ...]:
    return tuple(_option(adapter) for adapter in recipe.adapters if adapter.kind == kind)


def _option(adapter: Adapter) -> str:
    value = f"{adapter.scale:.17g}" if adapter.scale is not None else adapter.token
    reference = with_revision(adapter.reference, adapter.revision)
    return reference if value is None else f"{reference}:{value}"


def differences(recipe: Recipe, made: Recipe) -> tuple[str, ...]:
    """Return which adapters of `recipe` have another hash in `made`, and which look through another encoder."""
    then, now = _hashes(recipe), _hashes(made)
    return tuple(
        f"{kind} {reference} with sha256 {digest} is now {now[kind, reference]}"
        for (kind, reference), digest in then.items()
        if now.get((kind, reference), digest) != digest
    )


def _hashes(recipe: Recipe) -> dict[tuple[str, str], str]:
    own = {(str(adapter.kind), adapter.reference): adapter.sha256 for adapter in recipe.adapters}
    encoders = [adapter.encoder for adapter in recipe.adapters if adapter.encoder is not None]
    return own | {("image encoder", encoder.reference): encoder.sha256 for encoder in encoders}


def summary(facts: AdapterFacts) -> dict[str, object]:
    """Return what the plan's JSON tells of an adapter: what it is and where it lies, not what is in it."""
    return {
        "kind": facts.asked.kind,
        "reference": facts.reference,
        "revision": facts.revision,
        "scale": facts.asked.scale,
        "token": facts.asked.token,
        "image": facts.asked.image,
        "preprocessor": facts.asked.preprocessor,
        "encoder": None if facts.encoder is None else asdict(facts.encoder),
        "files": [str(file) for file in facts.files],
        "sha256": facts.sha256,
        "weight_bytes": facts.weight_bytes,
    }


def line(facts: AdapterFacts) -> str:
    """Return an adapter as a line for people."""
    scale = "" if facts.asked.scale is None else f" at {facts.asked.scale:g}"
    token = f" as {facts.asked.token!r}" if facts.asked.token else ""
    image = f" with {facts.asked.image}" if facts.asked.image else ""
    encoder = f" through {facts.encoder.reference}" if facts.encoder else ""
    return f"{facts.asked.kind}: {facts.asked.reference}{scale}{token}{image}{encoder} ({facts.files[0]})"
