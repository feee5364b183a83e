"""The help pages: laid out once, in colour on a terminal and plain elsewhere.

Typer's own pages group options with Rich alone, which takes longer to import than a page in a pipe may take.
"""

import functools
import os
import re
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from inspect import Parameter, signature
from itertools import chain
from typing import Annotated, Any, Final, NamedTuple

import typer

from imggen.cli import console, options
from imggen.cli.options import option
from imggen.errors import EXIT_REQUEST

Line = list[tuple[str, str]]
"""A line as texts with their styles."""

MAKE: Final = "Make"
CHANGE: Final = "Change"
MODELS: Final = "Models"
MARKS: Final = "Marks"
TRAIN: Final = "Train"
SET_UP: Final = "Set up"

_SECTIONS: Final = (MAKE, CHANGE, MODELS, MARKS, TRAIN, SET_UP)
_HEADING: Final = "bold"
_NAME: Final = "cyan"
_DIM: Final = "dim"
_WIDEST_NAMES: Final = 28
_NARROWEST_TEXT: Final = 24
_SHORT: Final = 20
"""Up to so many options a page shows them all."""
_WHOLE: Final = "show_help_all"
"""The parameter of the option for all others, which a page that shows them all does not mention."""


class _Row(NamedTuple):
    name: str
    text: str


def _printing(*, whole: bool) -> Callable[[typer.Context, bool], None]:
    def print_page(context: typer.Context, value: bool) -> None:
        if value and not context.resilient_parsing:
            show(page(context, width=_width(), whole=whole))
            raise typer.Exit

    return print_page


Help = Annotated[
    bool,
    option("-h --help", "Show this page and stop.", options.OUTPUT, is_eager=True, callback=_printing(whole=False)),
]
HelpAll = Annotated[
    bool,
    option("--help-all", "Show all options and stop.", options.OUTPUT, is_eager=True, callback=_printing(whole=True)),
]


def helped(function: Callable[..., None]) -> Callable[..., None]:
    """Return the command `function` with the options --help and --help-all, which print its page."""
    pages = {"show_help": Help, _WHOLE: HelpAll}
    own = signature(function).parameters.values()
    added = (Parameter(name, Parameter.KEYWORD_ONLY, default=False, annotation=kind) for name, kind in pages.items())

    def command(**asked: Any) -> None:
        function(**{name: value for name, value in asked.items() if name not in pages})

    return described(command, function, [*own, *added])


def described(
    command: Callable[..., None], function: Callable[..., None], parameters: Sequence[Parameter]
) -> Callable[..., None]:
    """Return `command` with the name and the help of `function`, and with `parameters`, as Typer reads them."""
    functools.update_wrapper(command, function)
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters} | {"return": None}
    by_name = [parameter.replace(kind=Parameter.KEYWORD_ONLY) for parameter in parameters]
    vars(command)["__signature__"] = signature(function).replace(parameters=by_name)
    return command


def group(summary: str) -> typer.Typer:
    """Return an empty group of commands that shows its page where no command of it is named."""
    commands = typer.Typer(help=summary, rich_markup_mode=None)

    @helped
    def show_commands(context: typer.Context) -> None:
        require_command(context)

    commands.callback(invoke_without_command=True)(show_commands)
    return commands


def require_command(context: typer.Context) -> None:
    """Show a group's page on standard error, and exit with 2, where the command line names no command of it."""
    if context.invoked_subcommand is None:
        show(overview(context, width=_width()), on_error=True)
        raise typer.Exit(EXIT_REQUEST)


def show(lines: Sequence[Line], *, on_error: bool = False) -> None:
    """Print a page: in colour on a terminal, plain elsewhere."""
    stream = sys.stderr if on_error else sys.stdout
    if stream is not None and stream.isatty() and os.environ.get("TERM") != "dumb":
        _show_styled(lines, on_error=on_error)
        return
    texts = ["".join(text for text, _ in line).rstrip() for line in lines]
    if on_error:
        console.lines(texts)
    else:
        console.result("\n".join(texts))


def _show_styled(lines: Sequence[Line], *, on_error: bool) -> None:
    from rich.console import Console
    from rich.text import Text

    terminal = Console(stderr=on_error, highlight=False)
    for line in lines:
        terminal.print(Text.assemble(*line), soft_wrap=True)


def page(context: typer.Context, *, width: int, whole: bool) -> list[Line]:
    """Return the page of the context's command for a terminal of `width` columns, all of its options if `whole`."""
    command: Any = context.command
    usage = _wrapped([("Usage: ", _HEADING)], command.get_usage(context).removeprefix("Usage: "), width)
    lines = [*usage, [], *_paragraphs(command.help, width), []]
    sections = _commands(context)
    if sections:
        lines += [*_commands_table(sections, width), []]
    if command.epilog:
        lines += [*_examples(command), []]
    params = [param for param in command.get_params(context) if not param.hidden]
    return [*lines, *_parameters(context, params, width, whole=whole)]


def overview(context: typer.Context, *, width: int) -> list[Line]:
    """Return what a group shows of itself where no command of it is named: its commands, and where to read on.

    Without blank lines, so that all of it stands on a terminal of 24 lines.
    """
    command: Any = context.command
    path = context.command_path
    return [
        *_paragraphs(command.help, width),
        *_commands_table(_commands(context), width),
        *(_examples(command) if command.epilog else ()),
        [("Usage: ", _HEADING), (f"{path} COMMAND ...", ""), (", options: ", ""), (f"{path} COMMAND --help", _NAME)],
    ]


def _width() -> int:
    return shutil.get_terminal_size().columns


def _examples(command: Any) -> Iterator[Line]:
    for example in command.epilog.splitlines():
        yield [("  ", ""), (example, _NAME)]


def _parameters(context: typer.Context, params: list[Any], width: int, *, whole: bool) -> Iterator[Line]:
    """Yield the arguments, then the options: of a long list the common ones, or all of them in panels if `whole`."""
    arguments = [_argument(context, param) for param in params if param.param_type_name == "argument"]
    listed = [param for param in params if param.param_type_name == "option"]
    is_long = len(listed) > _SHORT
    if not is_long:
        panels = {"Options": [param for param in listed if param.name != _WHOLE]}
    elif whole:
        panels = {panel: [param for param in listed if param.rich_help_panel == panel] for panel in options.PANELS}
    else:
        common = [param for param in listed if param.name in options.COMMON]
        panels = {"Common options": sorted(common, key=lambda param: options.PANELS.index(param.rich_help_panel))}
    rows = {title: [_option(context, param, whole=whole) for param in panels[title]] for title in panels}
    names = [len(row.name) for row in (*arguments, *chain.from_iterable(rows.values()))]
    column = min(max(names), max(_WIDEST_NAMES, width // 3))
    if arguments:
        yield from (*_table(arguments, column, width), [])
    for number, title in enumerate(rows):
        yield from [[]] if number else []
        yield [(f"{title}:", _HEADING)]
        yield from _table(rows[title], column, width)
    if is_long and not whole:
        yield []
        yield [(f"All {len(listed)} options: ", ""), (f"{context.command_path} --help-all", _NAME)]


def _argument(context: typer.Context, param: Any) -> _Row:
    return _Row(param.make_metavar(ctx=context), param.help or "")


def _option(context: typer.Context, param: Any, *, whole: bool) -> _Row:
    """Return an option's names and help; of its long names the first, or all if `whole`."""
    short = [name for name in param.opts if not name.startswith("--")]
    long = [name for name in param.opts if name.startswith("--")]
    names = ", ".join([*short, *(long if whole else long[:1])])
    if param.secondary_opts:
        names = f"{names}/{param.secondary_opts[0]}"
    metavar = "" if param.is_flag else f" {param.make_metavar(ctx=context)}"
    required = " Required." if param.required else ""
    # Names begin in one column, whether or not there is a short one.
    return _Row(f"{names if short else '    ' + names}{metavar}", f"{param.help or ''}{required}")


def _table(rows: Sequence[_Row], column: int, width: int) -> Iterator[Line]:
    """Yield rows of two columns, the first `column` wide; a longer name has a line of its own."""
    indent = column + 4
    for row in rows:
        texts = textwrap.wrap(row.text, max(width - indent, _NARROWEST_TEXT)) or [""]
        if len(row.name) > column:
            yield [("  ", ""), (row.name, _NAME)]
            yield [(f"{'':{indent}}{texts[0]}", "")]
        else:
            yield [("  ", ""), (f"{row.name:{column}}", _NAME), (f"  {texts[0]}", "")]
        for text in texts[1:]:
            yield [(f"{'':{indent}}{text}", "")]


def _commands(context: typer.Context) -> dict[str, list[_Row]]:
    """Return the commands of a group by the section that they stand in, with the first sentence of their help."""
    sections: dict[str, list[_Row]] = {}
    commands: dict[str, Any] = getattr(context.command, "commands", {})
    for name, command in commands.items():
        if not command.hidden:
            text = _first_sentence(command.help or "")
            sections.setdefault(command.rich_help_panel or "", []).append(_Row(name, text))
    return {name: sections[name] for name in ("", *_SECTIONS) if name in sections}


def _first_sentence(text: str) -> str:
    return " ".join(re.split(r"(?<=\.)\s", text, maxsplit=1)[0].split())


def _commands_table(sections: dict[str, list[_Row]], width: int) -> Iterator[Line]:
    """Yield the commands of a group, the name of their section beside the first of each."""
    titles = max(len(title) for title in sections)
    column = max(len(row.name) for rows in sections.values() for row in rows)
    for title, rows in sections.items():
        margin = title
        for line in _table(rows, column, width - titles):
            yield [(f"{margin:{titles}}", _HEADING), *line]
            margin = ""


def _paragraphs(text: str, width: int) -> Iterator[Line]:
    for number, paragraph in enumerate(text.split("\n\n")):
        if number:
            yield []
        yield from ([(line, "")] for line in textwrap.wrap(paragraph, width))


def _wrapped(head: Line, text: str, width: int) -> Iterator[Line]:
    """Yield `text` after `head`, with the lines that follow below it."""
    indent = sum(len(part) for part, _ in head)
    first, *rest = textwrap.wrap(text, max(width - indent, _NARROWEST_TEXT))
    yield [*head, (first, "")]
    yield from ([(f"{'':{indent}}{line}", "")] for line in rest)
