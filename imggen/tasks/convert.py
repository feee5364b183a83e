"""A model converted to one precision: a diffusers folder of safetensors."""

import errno
import hashlib
import json
import os
import secrets
import shlex
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final, get_args

import imggen
from imggen.errors import ImggenError, MachineError, ModelError, RequestError
from imggen.host import environment, probe
from imggen.plan.generation import resolve
from imggen.plan.memory import memory
from imggen.plan.memory.dtypes import BYTES
from imggen.plan.models import prequantized
from imggen.plan.policy import policy
from imggen.plan.schema.machine import Dtype
from imggen.plan.schema.nearest import nearest
from imggen.plan.schema.progress import Progress, Report, ignore
from imggen.plan.schema.request import GeneratePlan, GenerateRequest, ModelFacts
from imggen.store import aliases, integrity, lookup, model_folder, paths, weights
from imggen.store.weights import AccessRules
from imggen.tasks.steps import governance

_SHORT: Final[dict[str, Dtype]] = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}
_TEXTS: Final = (".json", ".txt", ".model", ".md", ".jinja")
_LICENCES: Final = ("license", "licence", "notice", "copying", "use_policy")


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """Which model is converted, where to and how, as it was typed."""

    reference: str
    folder: str
    dtype: str
    base: str | None = None
    allow_pickle: bool = False
    offline: bool = False


@dataclass(frozen=True, kw_only=True)
class Converted:
    """The new folder: what it was made of, and its bytes of weights before and after."""

    folder: Path
    reference: str
    revision: str | None
    dtype: Dtype
    bytes_before: int
    bytes_after: int


def convert(wanted: Wanted, *, on_event: Report = ignore) -> Converted:
    """Write the model as a new folder, whole or not at all, and read it again to be sure.

    Raise RequestError where the folder is there, MachineError where the disk has no room, ModelError for numbers that
    the precision cannot hold.
    """
    dtype = _dtype(wanted.dtype)
    target = Path(os.path.abspath(paths.at_home(wanted.folder)))  # noqa: PTH100 - links stay as they are
    if os.path.lexists(target):
        raise RequestError(f"{target} exists, and nothing is overwritten", hint=f"-o {target}-{dtype}")
    environment.prepare(offline=wanted.offline)
    governed = governance.read(None, "convert")
    for reference in (wanted.reference, wanted.base):
        if reference is not None:
            governance.check_name(governed, aliases.real(reference))
    terms = AccessRules(
        offline=wanted.offline,
        allow_pickle=wanted.allow_pickle,
        half=weights.is_half(dtype),
        allow=partial(governance.check_name, governed),
    )
    facts = _find(wanted, terms, on_event)
    _check(facts, wanted.reference)
    if governed.policy is not None:
        identities = governance.of_model(facts, dtype, hashed=policy.needs_hash(governed.policy))
        governance.check_weights(governed, identities, governed.entry())
    with _making(target) as place:
        hashes = _write(facts, dtype, place, on_event)
        _copy(facts, dtype, place)
        _sign(place, hashes)
        copy = _read_again(facts, place, on_event)
    return Converted(
        folder=target,
        reference=facts.reference,
        revision=facts.revision,
        dtype=dtype,
        bytes_before=sum(facts.weight_bytes.values()),
        bytes_after=sum(copy.weight_bytes.values()),
    )


def _dtype(text: str) -> Dtype:
    known: tuple[Dtype, ...] = get_args(Dtype)
    name = _SHORT.get(text.lower(), text.lower())
    known_dtype = next((dtype for dtype in known if dtype == name), None)
    if known_dtype is None:
        guess = nearest(name, known)
        raise RequestError(f"unknown dtype {text!r}", hint=f"--dtype {guess[0] if guess else 'bfloat16'}")
    return known_dtype


def _find(wanted: Wanted, terms: AccessRules, on_event: Report) -> ModelFacts:
    try:
        return lookup.find(wanted.reference, base=wanted.base, terms=terms, on_event=on_event)
    except ImggenError as error:
        # What takes a model by an option elsewhere takes it by its place here.
        option, _, reference = (error.hint or "").partition(" ")
        if option != "--model":
            raise
        hint = f"imggen models convert {reference} -o {shlex.quote(wanted.folder)} --dtype {wanted.dtype}"
        raise type(error)(error.message, hint=hint) from error


def _check(facts: ModelFacts, reference: str) -> None:
    """Raise RequestError for a model whose numbers stand for others."""
    smaller = [*facts.quantised, *facts.eight_bits, *prequantized.stored(facts)]
    if smaller:
        raise RequestError(
            f"{reference}: {smaller[0]} is quantised, which cannot be undone",
            hint="convert the model that it was made from",
        )


@contextmanager
def _making(target: Path) -> Iterator[Path]:
    """Yield a folder to fill, which becomes `target` where all goes well, and goes where it does not."""
    place = target.parent / f".{target.name}.imggen-{secrets.token_hex(4)}"
    try:
        place.mkdir(parents=True)
        yield place
        if os.path.lexists(target):
            raise RequestError(f"{target} exists by now, and nothing is overwritten")
        place.rename(target)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise MachineError(f"the disk of {target.parent} is full", hint="-o /a/larger/disk/NAME") from error
        raise RequestError(f"{target} cannot be written: {error.strerror or error}") from error
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _write(facts: ModelFacts, dtype: Dtype, place: Path, on_event: Report) -> dict[str, str]:
    """Write the weights of each component and return the hash of each file, by its name below `place`."""
    on_event(Progress(stage="load"))
    with environment.importing():
        from imggen.engine.pipeline import conversion
    parts = facts.single.parts if facts.single else {}
    chosen = {name: choice for name, choice in lookup.files(facts, dtype).items() if name not in parts}
    tensors = {name: conversion.entries(choice, dtype) for name, choice in chosen.items()}
    total = sum(entry.size for part in tensors.values() for entry in part) + _scaled(facts, parts, dtype)
    free = shutil.disk_usage(place).free
    if total > free:
        raise MachineError(
            f"{facts.reference} takes {memory.text(total)} in {dtype}, and {place.parent} has {memory.text(free)} free",
            hint="-o /a/larger/disk/NAME",
        )
    done = 0

    def tell(size: int) -> None:
        nonlocal done
        done += size
        on_event(Progress(stage="convert", step=done, steps=total))

    hashes = {}
    for name, part in tensors.items():
        (place / name).mkdir()
        for file in conversion.write(place / name, _stem(chosen[name]), part, tell=tell):
            hashes[file.path.relative_to(place).as_posix()] = file.sha256
    for name in parts:
        (place / name).mkdir()
        for file in conversion.save_part(_plan(facts, dtype), name, place / name):
            hashes[file.path.relative_to(place).as_posix()] = file.sha256
        tell(_scaled(facts, (name,), dtype))
    return hashes


def _scaled(facts: ModelFacts, names: Iterable[str], dtype: Dtype) -> int:
    """Return about how many bytes the components take in `dtype`."""
    width = BYTES[dtype]
    return sum(facts.weight_bytes[name] * width // BYTES[facts.stored_dtypes.get(name, "float16")] for name in names)


def _plan(facts: ModelFacts, dtype: Dtype) -> GeneratePlan:
    """Return a plan that says enough to read the parts of a single file: on the processor, in `dtype`."""
    request = GenerateRequest(
        prompt="a", seed="1", device="cpu", dtype="float32", allow_pickle=bool(facts.pickles), metadata="none"
    )
    decided = resolve.resolve(request, facts, probe.machine(), draw_seed=lambda _: 1)
    return replace(decided, dtype=dtype, component_dtypes={})


def _stem(choice: weights.WeightFiles) -> str:
    """Return how the library that reads the component calls its files: transformers has `pytorch_model` for pickles."""
    return next((stem for stem in weights.STEMS if choice.files[0].name.startswith(stem)), weights.STEMS[-1])


def _copy(facts: ModelFacts, dtype: Dtype, place: Path) -> None:
    """Copy all that is no weights: descriptions, vocabularies, the licence and the card."""
    folders = {place: facts.folder, **{place / name: facts.place(name) for name in facts.components}}
    for target, folder in folders.items():
        for path in sorted(entry for entry in folder.iterdir() if entry.is_file() and _is_kept(entry)):
            target.mkdir(exist_ok=True)
            shutil.copyfile(path, target / path.name)
    if facts.prior is not None:
        # Of two folders one is made, which says so.
        components = {name: list(component) for name, component in facts.components.items()}
        index = {"_class_name": facts.pipeline, **components}
        (place / model_folder.INDEX).write_text(json.dumps(index, indent=2) + "\n")
    for name in facts.components:
        config = place / name / "config.json"
        if config.is_file():
            _state(config, dtype)
    _note(facts, dtype, place / "README.md")


def _is_kept(path: Path) -> bool:
    name = path.name.lower()
    is_index = ".index." in name and name.endswith(".json")
    return not is_index and (path.suffix in _TEXTS or name.startswith(_LICENCES))


def _state(config: Path, dtype: Dtype) -> None:
    """Let a config that says how its weights are stored say it of the new ones."""
    values = json.loads(config.read_bytes())
    stated = [key for key in ("dtype", "torch_dtype") if isinstance(values, dict) and key in values]
    if stated:
        config.write_text(json.dumps(values | dict.fromkeys(stated, dtype), indent=2) + "\n")


def _note(facts: ModelFacts, dtype: Dtype, card: Path) -> None:
    source = f"{facts.reference}@{facts.revision}" if facts.revision else facts.reference
    source += f", with the rest of {facts.base.reference}" if facts.base else ""
    line = f"Converted by imggen {imggen.__version__} from {source}: the weights are stored in {dtype}.\n"
    before = card.read_text(encoding="utf-8", errors="surrogateescape") if card.is_file() else ""
    ending = "" if not before else "\n" if before.endswith("\n") else "\n\n"
    card.write_text(before + ending + line, encoding="utf-8", errors="surrogateescape")


def _sign(place: Path, hashes: Mapping[str, str]) -> None:
    """Write down the hash of every file: of the weights what they should be, of the rest what it is."""
    lines = []
    for path in sorted(entry for entry in place.rglob("*") if entry.is_file()):
        name = path.relative_to(place).as_posix()
        lines.append(f"{hashes.get(name) or hashlib.sha256(path.read_bytes()).hexdigest()}  {name}\n")
    (place / integrity.SUMS).write_text("".join(lines), encoding="utf-8")


def _read_again(facts: ModelFacts, place: Path, on_event: Report) -> ModelFacts:
    bad = next((file for file in integrity.check(place, on_event=on_event) if file.status != "same"), None)
    if bad:
        raise ImggenError(f"what was written cannot be read again: {bad.file} is {bad.status} ({bad.reason})")
    copy = model_folder.read(place, reference=facts.reference, source="folder")
    lacking = facts.components.keys() - copy.components.keys()
    if lacking:
        raise ModelError(f"the new folder lacks {', '.join(sorted(lacking))}")
    return copy
