"""What imggen finds on this machine, what it would choose, and what stands in the way."""

import importlib.metadata
import os
import platform
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
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
    "torch",
    "torchvision",
    "diffusers",
    "transformers",
    "accelerate",
    "safetensors",
    "huggingface_hub",
    "numpy",
    "pillow",
    "sentencepiece",
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


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that was looked at: where it belongs, its name and value, why it is so, and what to do about it."""

    section: Literal["machine", "choices", "packages", "storage", "signing", "model"]
    name: str
    value: str
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
        yield Finding(section="choices", name=_counted(count), value=place)
    large = sum(member.status == "note" for member in members)
    if large:
        yield Finding(section="choices", name=_counted(large), value="too large for this machine", status="note")
    yield from (member for member in members if member.status == "problem")


def _counted(families: int) -> str:
    return "1 family" if families == 1 else f"{families} families"


def _versions(members: list[Finding]) -> Iterator[Finding]:
    fine = {member.name: member.value for member in members if member.status == "ok"}
    own = f"{fine.pop('imggen', imggen.__version__)}, python {fine.pop('python', platform.python_version())}"
    yield Finding(section="packages", name="imggen", value=own)
    main = ", ".join(f"{name} {fine[name]}" for name in _MAIN if name in fine)
    if main:
        yield Finding(section="packages", name="libraries", value=main)
    extras = [member for member in members if member.name.startswith("imggen[")]
    if extras:
        names = ",".join(extra.name.removeprefix("imggen[").removesuffix("]") for extra in extras)
        yield Finding(
            section="packages",
            name="extras",
            value=f"not installed: {names.replace(',', ', ')}",
            status="note",
            hint=f"pip install 'imggen[{names}]'",
        )
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
    """Yield what the machine has: system, processor, memory, accelerators."""
    yield Finding(section="machine", name="system", value=f"{here.system} {here.architecture}")
    yield Finding(section="machine", name="processor", value=f"{here.cpu_name}, {here.cpu_cores} cores")
    yield Finding(
        section="machine", name="bfloat16", value="yes" if here.cpu_bfloat16 else "no", reason=here.cpu_reason
    )
    yield Finding(
        section="machine",
        name="memory",
        value=f"{memory.text(here.free_bytes)} free of {memory.text(here.memory_bytes)}",
        status="note" if here.free_bytes < LITTLE_BYTES else "ok",
    )
    for gpu in here.accelerators:
        yield Finding(
            section="machine",
            name=gpu.device,
            value=f"{gpu.name}, {memory.text(gpu.free_bytes)} free of {memory.text(gpu.total_bytes)}",
            reason=f"bfloat16: {'yes' if gpu.bfloat16 else 'no'}",
        )
    if not here.accelerators:
        yield _without_accelerator(here)


def _without_accelerator(here: Machine) -> Finding:
    if not probe.has_accelerator():
        return Finding(section="machine", name="accelerator", value="none")
    return Finding(
        section="machine",
        name="accelerator",
        value="one is there, and torch cannot use it",
        reason=f"torch {here.torch} was built without it, or its driver is too old",
        status="problem",
        hint="install the torch build for your driver: https://pytorch.org/get-started/locally/",
    )


def _choices(here: Machine) -> Iterator[Finding]:
    """Yield what imggen would choose for a typical model of each family."""
    # What can only edit, or draws by a control picture alone, would need one to be planned for.
    drawing = [row for row in catalog.FAMILIES if "text-to-image" in row.pipelines]
    for family in (row for row in drawing if not controlnets.is_built_in(row)):
        try:
            decided = resolve.resolve(
                GenerateRequest(prompt="a", seed="1"),
                _typical(family),
                here,
                draw_seed=lambda _: 1,
                check_call=lambda *_: None,
            )
        except ImggenError as error:
            # A model that is too large for a machine is nothing that is wrong with it.
            status: Status = "note" if isinstance(error, MachineError) else "problem"
            yield Finding(section="choices", name=family.name, value=error.message, status=status, hint=error.hint)
            continue
        reasons = {lever.name: lever.reason for lever in decided.levers}
        layout = "channels last" if decided.channels_last else "channels first"
        yield Finding(
            section="choices",
            name=family.name,
            value=f"{decided.device}, {decided.dtype}, attention slicing {decided.attention_slicing}, {layout}",
            reason="; ".join(reasons[name] for name in ("device", "dtype", "attention_slicing")),
        )


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
    yield Finding(section="packages", name="imggen", value=imggen.__version__)
    yield Finding(section="packages", name="python", value=platform.python_version())
    for name in PACKAGES:
        installed = version(name)
        is_bad = installed == "missing" and name not in OPTIONAL
        loss = OPTIONAL.get(name, "") if installed == "missing" else ""
        yield Finding(
            section="packages",
            name=name,
            value=installed,
            reason=loss,
            status="problem" if is_bad else "note" if loss else "ok",
            hint=f"pip install {name}" if is_bad or loss else None,
        )
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
        yield Finding(
            section="packages",
            name=f"imggen[{extra}]",
            value=f"{', '.join(missing)} not installed",
            reason=USES.get(extra, ""),
            status="note",
            hint=f"pip install 'imggen[{extra}]'",
        )


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
    yield Finding(
        section="packages",
        name="torch and torchvision",
        value=f"{torch} and {torchvision} are not compatible",
        reason=f"torch {numbers[0]}.{numbers[1]} goes with torchvision 0.{numbers[1] + 15}, of the same build",
        status="problem",
        hint="pip install --upgrade --force-reinstall torch torchvision",
    )


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
    yield Finding(section="storage", name="settings", value=str(config / "config.toml"))
    yield Finding(section="storage", name="own presets", value=str(config / "presets"))
    yield Finding(
        section="storage",
        name="network",
        value="not used" if environment.is_offline() else "used to fetch models that are not here",
        reason="HF_HUB_OFFLINE is set" if environment.is_offline() else "",
    )


def _library() -> Iterator[Finding]:
    """Yield what is not whole among the models, and names that cannot be read."""
    from imggen.store import hub

    for name, size in sorted(hub.incomplete().items()):
        yield Finding(
            section="storage",
            name=name,
            value=f"a download was interrupted; {memory.text(size)} of a file are here",
            status="note",
            hint=f"imggen models pull {name}",
        )
    for model in lookup.installed():
        if model.source == "hub" and model_folder.missing(model.folder):
            reference = f"{model.reference}@{model.revision}"
            yield Finding(
                section="storage",
                name=model.reference,
                value="it is incomplete",
                status="note",
                hint=f"imggen models pull {reference}",
            )
    try:
        aliases.read()
    except ImggenError as error:
        yield Finding(section="storage", name="aliases", value=error.message, status="problem", hint=error.hint)


def _free(name: str, place: Path) -> Finding:
    existing = next(parent for parent in (place, *place.parents) if parent.exists())
    free_bytes = shutil.disk_usage(existing).free
    return Finding(
        section="storage",
        name=name,
        value=f"{place}, {memory.text(free_bytes)} free",
        status="note" if free_bytes < LITTLE_BYTES else "ok",
        hint="imggen models list, then imggen models rm REF" if free_bytes < LITTLE_BYTES else None,
    )


def signing_state(environ: Mapping[str, str]) -> Iterator[Finding]:
    """Yield why pictures are signed or not, and which policy holds."""
    place = keys.folder(environ)
    try:
        identity = keys.load(place)
    except ImggenError as error:
        yield Finding(section="signing", name="keys", value=error.message, status="problem", hint=error.hint)
        return
    organisation = identity.organisation if identity else "none, so pictures are not signed"
    yield Finding(
        section="signing",
        name="keys",
        value=organisation,
        reason=str(place),
        hint=None if identity else 'imggen keys init --organisation "Example Ltd"',
    )
    if not signing.is_available():
        yield Finding(
            section="signing",
            name="c2pa",
            value="not installed",
            reason="signatures can be neither made nor checked",
            status="problem" if identity else "note",
            hint="pip install 'imggen[c2pa]'",
        )
    yield Finding(section="signing", name="policy", value=environ.get(governance.VARIABLE) or "none")


def _builtin(here: Machine) -> Iterator[Finding]:
    try:
        facts = lookup.find(lookup.BUILTIN)
        request = GenerateRequest(prompt="a red apple", seed="1")
        decided = resolve.resolve(request, facts, here, draw_seed=lambda _: 1)
        digest = lookup.weights_sha256(facts, decided.dtype)
    except ImggenError as error:
        yield Finding(section="model", name=lookup.BUILTIN, value=error.message, status="problem", hint=error.hint)
        return
    size = memory.text(sum(facts.weight_bytes.values()))
    yield Finding(section="model", name=lookup.BUILTIN, value=f"{size} of weights, sha256 {digest}", reason="all there")
