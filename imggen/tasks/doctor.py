"""What imggen finds on this machine, what it would choose, and what stands in the way."""

import importlib.metadata
import os
import platform
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import KW_ONLY, dataclass, replace
from pathlib import Path
from typing import Final, Literal

import platformdirs

import imggen
from imggen.errors import ImggenError, MachineError
from imggen.host import environment, probe
from imggen.output.provenance import keys, signing
from imggen.plan.adapters import controlnets
from imggen.plan.generation import resolve
from imggen.plan.memory import memory
from imggen.plan.models import catalog
from imggen.plan.schema.family import Family
from imggen.plan.schema.machine import Machine
from imggen.plan.schema.request import GenerateRequest, ModelFacts
from imggen.store import aliases, lookup, model_folder
from imggen.tasks.steps import governance

Status = Literal["ok", "note", "problem"]

PACKAGES = (
    *("torch", "torchvision", "diffusers", "transformers", "accelerate"),
    *("safetensors", "huggingface_hub", "numpy", "pillow", "sentencepiece"),
)
# What cannot be done without them; without torchvision transformers falls back to slower image processors.
OPTIONAL = {"torchvision": "", "sentencepiece": "Kolors cannot be loaded"}
LITTLE_BYTES = 2 << 30
# Reported where signing is.
ELSEWHERE = frozenset({"dev", "c2pa"})
USES = {
    "control": "control pictures cannot be made from photographs",
    "gguf": "GGUF files cannot be read",
    "quantize": "--quantize cannot be used",
    "upscale": "upscalers in files cannot be used",
}
_COMMAND = re.compile(r"(pip install|imggen [a-z]+|hf [a-z]+|chmod [0-7]+) ")
_PROSE = re.compile(r"[;,`]| or |\b[A-Z]{3,}\b")
_REQUIREMENT = re.compile(r"(?P<package>[\w.-]+).*;.*extra\s*==\s*['\"](?P<extra>[\w-]+)['\"]")


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at: where it belongs, its name and value, why it is so, and what to do about it."""

    section: Literal["machine", "choices", "packages", "storage", "signing", "model"]
    name: str
    value: str
    _: KW_ONLY
    reason: str = ""
    status: Status = "ok"
    hint: str | None = None


def examine(*, machine: Callable[[], Machine] = probe.machine) -> Iterator[Finding]:
    """Look at the machine, the packages, the places and the built-in model, and yield what is found."""
    environment.prepare()
    here = machine()
    yield from _machine(here)
    yield from _choices(here)
    yield from packages(probe.version)
    yield from extras(_requirements(), probe.version)
    yield from _storage()
    yield from _library()
    yield from signing_state(os.environ)
    yield from _builtin(here)


def summary(findings: Iterable[Finding]) -> Iterator[Finding]:
    """Yield `findings` with families, packages and extras counted and listed, but for those that are problems."""
    grouped: dict[str, list[Finding]] = {}
    for finding in findings:
        grouped.setdefault(finding.section, []).append(finding)
    for section, members in grouped.items():
        yield from _SHORTENED.get(section, iter)(members)


def _families(members: list[Finding]) -> Iterator[Finding]:
    """Yield how many families go where, how many are too large for this machine, and the problems."""
    places = Counter(", ".join(member.value.split(", ")[:2]) for member in members if member.status == "ok")
    for place, count in places.most_common():
        yield Finding("choices", _counted(count), place)
    large = sum(member.status == "note" for member in members)
    if large:
        yield Finding("choices", _counted(large), "too large for this machine", status="note")
    yield from (member for member in members if member.status == "problem")


def _counted(families: int) -> str:
    return "1 family" if families == 1 else f"{families} families"


def _versions(members: list[Finding]) -> Iterator[Finding]:
    fine = {member.name: member.value for member in members if member.status == "ok"}
    own = f"{fine.pop('imggen', imggen.__version__)}, python {fine.pop('python', platform.python_version())}"
    yield Finding("packages", "imggen", own)
    main = ", ".join(f"{name} {fine[name]}" for name in _MAIN if name in fine)
    if main:
        yield Finding("packages", "libraries", main)
    extras = [member for member in members if member.name.startswith("imggen[")]
    if extras:
        names = ",".join(extra.name.removeprefix("imggen[").removesuffix("]") for extra in extras)
        value = f"not installed: {names.replace(',', ', ')}"
        yield Finding("packages", "extras", value, status="note", hint=f"pip install 'imggen[{names}]'")
    yield from (member for member in members if member.status != "ok" and member not in extras)


def _whole(members: list[Finding]) -> Iterator[Finding]:
    """Yield the built-in model without the digits of its hash."""
    for member in members:
        yield member if member.status == "problem" else replace(member, value=member.value.partition(", sha256")[0])


def _bare(members: list[Finding]) -> Iterator[Finding]:
    """Yield the machine without what its choices tell again."""
    for member in members:
        if member.name != "bfloat16":
            yield member if member.status != "ok" else replace(member, reason="")


_SHORTENED: Final[dict[str, Callable[[list[Finding]], Iterator[Finding]]]] = {
    "machine": _bare,
    "choices": _families,
    "packages": _versions,
    "model": _whole,
}
_MAIN: Final = ("torch", "diffusers", "transformers")


def fixes(findings: Iterable[Finding]) -> Iterator[str]:
    """Yield the commands that mend what is marked in `findings`, each once; what a person must decide is not there."""
    commands: set[str] = set()
    for finding in findings:
        command = finding.hint if finding.status != "ok" and finding.hint and _is_command(finding.hint) else None
        if command and command not in commands:
            commands.add(command)
            yield command


def _is_command(hint: str) -> bool:
    # Words for people go on after a comma or a semicolon, and stand for something in capitals.
    return _COMMAND.match(hint) is not None and not _PROSE.search(hint)


def _machine(here: Machine) -> Iterator[Finding]:
    yield Finding("machine", "system", f"{here.system} {here.architecture}")
    yield Finding("machine", "processor", f"{here.cpu_name}, {here.cpu_cores} cores")
    yield Finding("machine", "bfloat16", "yes" if here.cpu_bfloat16 else "no", reason=here.cpu_reason)
    room = f"{memory.text(here.free_bytes)} free of {memory.text(here.memory_bytes)}"
    yield Finding("machine", "memory", room, status="note" if here.free_bytes < LITTLE_BYTES else "ok")
    for gpu in here.accelerators:
        room = f"{gpu.name}, {memory.text(gpu.free_bytes)} free of {memory.text(gpu.total_bytes)}"
        yield Finding("machine", gpu.device, room, reason=f"bfloat16: {'yes' if gpu.bfloat16 else 'no'}")
    if not here.accelerators:
        yield _without_accelerator(here)


def _without_accelerator(here: Machine) -> Finding:
    if not probe.has_accelerator():
        return Finding("machine", "accelerator", "none")
    value = "one is there, and torch cannot use it"
    reason = f"torch {here.torch} was built without it, or its driver is too old"
    hint = "install the torch build for your driver: https://pytorch.org/get-started/locally/"
    return Finding("machine", "accelerator", value, reason=reason, status="problem", hint=hint)


def _choices(here: Machine) -> Iterator[Finding]:
    """Yield what imggen would choose for a typical model of each family."""
    # What can only edit, or draws by a control picture alone, would need one to be planned for.
    drawing = [row for row in catalog.FAMILIES if "text-to-image" in row.pipelines]
    for family in (row for row in drawing if not controlnets.is_built_in(row)):
        try:
            request = GenerateRequest(prompt="a", seed="1")
            facts = _typical(family)
            decided = resolve.resolve(request, facts, here, draw_seed=lambda _: 1, check_call=lambda *_: None)
        except ImggenError as error:
            # A model that is too large for a machine is nothing that is wrong with it.
            status: Status = "note" if isinstance(error, MachineError) else "problem"
            yield Finding("choices", family.name, error.message, status=status, hint=error.hint)
            continue
        reasons = {lever.name: lever.reason for lever in decided.levers}
        layout = "channels last" if decided.channels_last else "channels first"
        choice = f"{decided.device}, {decided.dtype}, attention slicing {decided.attention_slicing}, {layout}"
        reason = "; ".join(reasons[name] for name in ("device", "dtype", "attention_slicing"))
        yield Finding("choices", family.name, choice, reason=reason)


def _typical(family: Family) -> ModelFacts:
    """Return a model of `family` of which nothing is known but what makes it one."""
    return ModelFacts(
        reference=family.name,
        source="hub",
        folder=Path(),
        pipeline=next(iter(family.pipelines.values())),
        components={"vae": ("diffusers", "AutoencoderKL")},
        configs={family.denoiser: dict(family.when)},
    )


def packages(version: Callable[[str], str]) -> Iterator[Finding]:
    """Yield the packages that imggen stands on, by what `version` says of each; `missing` is a problem."""
    yield Finding("packages", "imggen", imggen.__version__)
    yield Finding("packages", "python", platform.python_version())
    for name in PACKAGES:
        installed = version(name)
        is_bad = installed == "missing" and name not in OPTIONAL
        loss = OPTIONAL.get(name, "") if installed == "missing" else ""
        status: Status = "problem" if is_bad else "note" if loss else "ok"
        hint = f"pip install {name}" if is_bad or loss else None
        yield Finding("packages", name, installed, reason=loss, status=status, hint=hint)
    yield from _pair(version("torch"), version("torchvision"))


def _requirements() -> list[str]:
    with suppress(importlib.metadata.PackageNotFoundError):
        return importlib.metadata.requires("imggen") or []
    return []


def extras(requirements: Iterable[str], version: Callable[[str], str]) -> Iterator[Finding]:
    """Yield the extras among imggen's `requirements` of which a package is missing."""
    lacking: dict[str, list[str]] = {}
    for requirement in requirements:
        parsed = _REQUIREMENT.match(requirement)
        if parsed and parsed["extra"] not in ELSEWHERE and version(parsed["package"]) == "missing":
            lacking.setdefault(parsed["extra"], []).append(parsed["package"])
    for extra, missing in sorted(lacking.items()):
        name, value = f"imggen[{extra}]", f"{', '.join(missing)} not installed"
        reason, hint = USES.get(extra, ""), f"pip install '{name}'"
        yield Finding("packages", name, value, reason=reason, status="note", hint=hint)


def _pair(torch: str, torchvision: str) -> Iterator[Finding]:
    """Yield a problem where torch and torchvision were not built for each other: then neither library loads models.

    torchvision 0.15 came with torch 2.0, and both have counted on in step since.
    """
    if "missing" in (torch, torchvision):
        return
    release, _, build = torch.partition("+")
    other_release, _, other_build = torchvision.partition("+")
    numbers, others = _numbers(release), _numbers(other_release)
    if numbers is None or others is None or numbers[0] != 2 or others[0] != 0:
        return
    if others[1] == numbers[1] + 15 and (build == other_build or not build or not other_build):
        return
    value = f"{torch} and {torchvision} are not compatible"
    reason = f"torch {numbers[0]}.{numbers[1]} goes with torchvision 0.{numbers[1] + 15}, of the same build"
    hint = "pip install --upgrade --force-reinstall torch torchvision"
    yield Finding("packages", "torch and torchvision", value, reason=reason, status="problem", hint=hint)


def _numbers(release: str) -> tuple[int, int] | None:
    parts = release.split(".")[:2]
    return (int(parts[0]), int(parts[1])) if len(parts) == 2 and all(part.isdigit() for part in parts) else None


def _storage() -> Iterator[Finding]:
    """Yield the folders that imggen uses, their free space and whether the network is used."""
    # See the store for why this import waits.
    from imggen.store import hub

    yield _free("this folder", Path.cwd())
    yield _free("models of the hub", hub.place())
    config = platformdirs.user_config_path("imggen", appauthor=False)
    yield Finding("storage", "settings", str(config / "config.toml"))
    yield Finding("storage", "own presets", str(config / "presets"))
    if environment.is_offline():
        yield Finding("storage", "network", "not used", reason="HF_HUB_OFFLINE is set")
    else:
        yield Finding("storage", "network", "used to fetch models that are not here")


def _library() -> Iterator[Finding]:
    """Yield what is not whole among the models, and names that cannot be read."""
    from imggen.store import hub

    for name, size in sorted(hub.incomplete().items()):
        value = f"a download was interrupted; {memory.text(size)} of a file are here"
        yield Finding("storage", name, value, status="note", hint=f"imggen models pull {name}")
    for model in lookup.installed():
        if model.source == "hub" and model_folder.missing(model.folder):
            hint = f"imggen models pull {model.reference}@{model.revision}"
            yield Finding("storage", model.reference, "it is incomplete", status="note", hint=hint)
    try:
        aliases.read()
    except ImggenError as error:
        yield Finding("storage", "aliases", error.message, status="problem", hint=error.hint)


def _free(name: str, place: Path) -> Finding:
    existing = next(parent for parent in (place, *place.parents) if parent.exists())
    free_bytes = shutil.disk_usage(existing).free
    value = f"{place}, {memory.text(free_bytes)} free"
    if free_bytes >= LITTLE_BYTES:
        return Finding("storage", name, value)
    return Finding("storage", name, value, status="note", hint="imggen models list, then imggen models rm REF")


def signing_state(environ: Mapping[str, str]) -> Iterator[Finding]:
    """Yield why pictures are signed or not, and which policy holds."""
    place = keys.folder(environ)
    try:
        identity = keys.load(place)
    except ImggenError as error:
        yield Finding("signing", "keys", error.message, status="problem", hint=error.hint)
        return
    organisation = identity.organisation if identity else "none, so pictures are not signed"
    hint = None if identity else 'imggen keys init --organisation "Example Ltd"'
    yield Finding("signing", "keys", organisation, reason=str(place), hint=hint)
    if not signing.is_available():
        status: Status = "problem" if identity else "note"
        reason, hint = "signatures can be neither made nor checked", "pip install 'imggen[c2pa]'"
        yield Finding("signing", "c2pa", "not installed", reason=reason, status=status, hint=hint)
    yield Finding("signing", "policy", environ.get(governance.VARIABLE) or "none")


def _builtin(here: Machine) -> Iterator[Finding]:
    try:
        facts = lookup.find(lookup.BUILTIN)
        request = GenerateRequest(prompt="a red apple", seed="1")
        decided = resolve.resolve(request, facts, here, draw_seed=lambda _: 1)
        digest = lookup.weights_sha256(facts, decided.dtype)
    except ImggenError as error:
        yield Finding("model", lookup.BUILTIN, error.message, status="problem", hint=error.hint)
        return
    size = memory.text(sum(facts.weight_bytes.values()))
    yield Finding("model", lookup.BUILTIN, f"{size} of weights, sha256 {digest}", reason="all there")
