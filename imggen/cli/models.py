"""The commands about what there is: models, presets and the machine."""

import textwrap
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any, Final

from imggen.cli import console, manual, options, suggestions
from imggen.cli.options import argument, option
from imggen.errors import CheckError

if TYPE_CHECKING:
    from imggen.plan.settings.preset import Preset
    from imggen.tasks.doctor import Finding

models = manual.group("List, pull, check and convert models.")
presets = manual.group("List and show presets, which are named settings.")

Name = Annotated[str, argument("NAME", "A preset's name, or a file.", suggestions.presets)]

Reference = Annotated[str, argument("REF", "builtin, a folder, a file, or a hub id.", suggestions.models)]


@presets.command("list")
@manual.helped
def list_presets(as_json: options.Json = False) -> None:
    """List the presets: the user's own and those of imggen."""
    console.require_output()
    from imggen.cli import precedence
    from imggen.plan.settings import preset

    listed = preset.listed(precedence.preset_places())
    if as_json:
        for shown in listed:
            console.result_json(_preset_facts(shown))
        return
    console.table((shown.name, shown.description) for shown in listed)


@presets.command("show")
@manual.helped
def show_preset(name: Name, as_json: options.Json = False) -> None:
    """Show what a preset sets."""
    console.require_output()
    from imggen.cli import precedence
    from imggen.plan.settings import preset

    shown = preset.find(name, precedence.preset_places())
    if as_json:
        console.result_json(_preset_facts(shown))
        return
    console.result(f"{shown.name}: {shown.description}")
    for key, value in _set_by(shown).items():
        console.result(f"  {key} = {value!r}")
    console.result(f"  from {shown.path}")


def _preset_facts(shown: "Preset") -> dict[str, object]:
    return {"name": shown.name, "description": shown.description, "path": str(shown.path), "settings": _set_by(shown)}


def _set_by(shown: "Preset") -> dict[str, object]:
    from imggen.plan.settings import settings

    values = asdict(shown.request)
    return {name: values[name] for name in settings.names() if values[name] is not None}


@models.command("list")
@manual.helped
def list_models(as_json: options.Json = False) -> None:
    """List the models on this machine: built in, in the hub's cache, and what has an alias."""
    console.require_output()
    from imggen.plan.memory import memory
    from imggen.tasks import library as task

    here = task.list_all()
    if as_json:
        for model in here:
            console.result_json(asdict(model) | {"folder": str(model.folder)})
        return
    rows = [
        (
            model.reference,
            model.source,
            memory.text(model.size_bytes) + (", incomplete" if model.incomplete else ""),
            model.revision or "",
            f"used {model.last_used[:10]}" if model.last_used else "",
            f"alias {', '.join(model.aliases)}" if model.aliases else "",
        )
        for model in here
    ]
    absent = task.absent_aliases(here).items()
    console.table([*rows, *((meaning, "not here", "", "", "", f"alias {name}") for name, meaning in absent)])


@models.command("families")
@manual.helped
def list_families(as_json: options.Json = False) -> None:
    """List the families of models that imggen knows: what each can do, and what suits it."""
    console.require_output()
    from imggen.plan.generation import capabilities
    from imggen.plan.models import catalog

    described = [capabilities.described(family) for family in catalog.FAMILIES]
    if as_json:
        for family in described:
            console.result_json(family)
        return
    console.table([_FAMILY_HEAD, *(_family_row(family) for family in described)])
    console.result("size is the native edge in px; - is not possible, ~ a stand-in; --json tells more")


@models.command("show")
@manual.helped
def show_model(
    reference: Reference, base: options.Base = None, as_json: options.Json = False, offline: options.Offline = None
) -> None:
    """Show what a model is, what it can take and which words it was taught."""
    console.require_output()
    from imggen.store.weights import AccessRules
    from imggen.tasks import models as task

    facts = task.show(reference, base=base, terms=AccessRules(offline=bool(offline)))
    if as_json:
        console.result_json(facts)
        return
    for line in _described(facts):
        console.result(console.printable(line))


_FAMILY_HEAD: Final = (
    *("FAMILY", "WORDS", "IMG2IMG", "INPAINT", "OUTPAINT", "BLEND", "STYLE"),
    *("SIZE", "STEPS", "GUIDANCE", "LICENCE", "MODEL"),
)


def _family_row(facts: Mapping[str, Any]) -> tuple[str, ...]:
    guidance = "-" if facts["guidance"] is None else f"{facts['guidance']:g} {facts['guidance_kind']}"
    return (
        facts["family"],
        *(_possible(fact) for fact in facts["tasks"].values()),
        str(facts["native_size"]),
        str(facts["steps"]),
        guidance,
        facts["licence"] or "-",
        facts["model"] or "-",
    )


def _possible(task: Mapping[str, Any]) -> str:
    if not task["possible"]:
        return "-"
    return "~" if task["stand_in"] else "yes"


FixHints = Annotated[bool, option("--fix-hints", "Print only the commands that fix what is marked.")]
Everything = Annotated[bool, option("-v --verbose", "Also every family and package, and why.")]


def doctor(fix_hints: FixHints = False, verbose: Everything = False, as_json: options.Json = False) -> None:
    """Show this machine, and what imggen chooses on it."""
    console.require_output()
    from imggen.tasks import doctor as task

    if fix_hints:
        _print_fixes(list(task.examine()), as_json=as_json)
        return
    findings = list(task.examine())
    if as_json:
        for finding in findings:
            console.result_json(asdict(finding))
    else:
        for line in _examined(findings if verbose else task.summary(findings)):
            console.result(console.printable(line))
        if not verbose:
            console.result("imggen doctor -v shows every family and package, and why")
    problems = sum(finding.status == "problem" for finding in findings)
    if problems:
        what = "one thing stands" if problems == 1 else f"{problems} things stand"
        raise CheckError(f"{what} in the way", hint="what is marked with ! says what to do")


def _print_fixes(findings: "list[Finding]", *, as_json: bool) -> None:
    from imggen.tasks import doctor as task

    commands = list(task.fixes(findings))
    for command in commands:
        console.result_json({"command": command}) if as_json else console.result(console.printable(command))
    if not commands:
        marked = any(finding.status == "problem" for finding in findings)
        console.note("no command mends what is marked: imggen doctor" if marked else "there is nothing to mend")


def _examined(findings: "Iterable[Finding]") -> Iterator[str]:
    """Yield a line per finding, its section before the first of each, and a line per hint."""
    section = ""
    for finding in findings:
        lead = "" if finding.section == section else finding.section
        section = finding.section
        mark = {"ok": " ", "note": "-", "problem": "!"}[finding.status]
        reason = f" ({finding.reason})" if finding.reason else ""
        yield f"{lead:9}{mark} {finding.name}: {finding.value}{reason}"
        if finding.hint:
            yield f"{'':15}{finding.hint}"


def _described(facts: Mapping[str, object], indent: str = "") -> Iterator[str]:
    """Yield one line per fact, those of a nested table indented; long lists are wrapped."""
    for name, value in facts.items():
        if isinstance(value, Mapping):
            yield f"{indent}{name}:"
            yield from _described(value, indent + "  ")
        elif isinstance(value, list):
            text = ", ".join(map(str, value))
            lead = f"{indent}{name} ({len(value)}): "
            yield textwrap.fill(text, 100, initial_indent=lead, subsequent_indent=indent + "    ")
        elif value not in (None, ""):
            yield f"{indent}{name}: {value}"
