"""README.md and docs/: their links lead somewhere, and the command line takes the commands that they show."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from imggen.cli import app

CHECKOUT = Path(__file__).parents[1]
README = CHECKOUT / "README.md"
GENERATED = {"commands.md", "families.md"}
PAGES = [README, *sorted((CHECKOUT / "docs").glob("*.md"))]
WRITTEN = [page for page in PAGES if page.name not in GENERATED]
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
FENCED = re.compile(r"^```.*?\n(.*?)^```", re.MULTILINE | re.DOTALL)
INDENTED = re.compile(r"(?:^(?: {4}).+\n)+", re.MULTILINE)
SHELL = set("|&;<>()")


def name_of(page: Path) -> str:
    return page.relative_to(CHECKOUT).as_posix()


def anchors(page: Path) -> set[str]:
    headings = HEADING.findall(FENCED.sub("", page.read_text(encoding="utf-8")))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def commands(page: Path) -> Iterator[list[str]]:
    """Yield the words after `imggen` of every command in the page's code blocks."""
    text = page.read_text(encoding="utf-8")
    blocks = [*FENCED.findall(text), *INDENTED.findall(FENCED.sub("", text))]
    for line in "\n".join(blocks).replace("\\\n", " ").splitlines():
        if re.match(r"\s*(\$ )?imggen |.*(\||&&) imggen ", line):
            yield from imggen_words(line.strip().removeprefix("$ "))


def imggen_words(line: str) -> Iterator[list[str]]:
    """Yield the words after `imggen` of each command of a shell line, without redirections."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    command: list[str] = []
    redirected = False
    for word in [*lexer, ";"]:
        if word in {"<", ">", ">>"}:
            redirected = True
        elif set(word) <= SHELL:
            if command[:1] == ["imggen"]:
                yield command[1:]
            command = []
        elif redirected:
            redirected = False
        else:
            command.append(word)


def parse(words: list[str]) -> None:
    """Parse the words as the command line would, without running the command."""
    command = typer.main.get_command(app.app)
    context = command.make_context("imggen", list(words))
    while hasattr(command, "resolve_command"):
        name, command, rest = command.resolve_command(context, [*context._protected_args, *context.args])
        context = command.make_context(name, list(rest), parent=context)


def test_the_readme_is_short():
    assert len(README.read_text(encoding="utf-8").splitlines()) < 150


def test_the_index_names_every_page():
    index = (CHECKOUT / "docs" / "README.md").read_text(encoding="utf-8")
    pages = {page.name for page in (CHECKOUT / "docs").glob("*.md")} - {"README.md"}
    assert pages <= set(LINK.findall(index))


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_relative_links_and_anchors_exist(page):
    for link in LINK.findall(FENCED.sub("", page.read_text(encoding="utf-8"))):
        if link.startswith(("http://", "https://")):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.is_file(), f"{link} in {page.name}"
        assert not anchor or anchor in anchors(target), f"{link} in {page.name}"


@pytest.mark.parametrize("page", WRITTEN, ids=name_of)
def test_the_command_line_takes_every_command_shown(page):
    for words in commands(page):
        try:
            parse(words)
        except typer.Exit:  # --version has no command to parse
            continue


def test_the_readme_shows_commands():
    assert len(list(commands(README))) >= 15


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("echo 'a star' | imggen generate - -o - > star.png", [["generate", "-", "-o", "-"]]),
        ("imggen inspect a.png  # a note", [["inspect", "a.png"]]),
        ("pip install . && imggen doctor", [["doctor"]]),
    ],
)
def test_commands_are_read_from_shell_lines(line, words):
    assert list(imggen_words(line)) == words


def test_an_option_that_does_not_exist_is_noticed():
    with pytest.raises(Exception, match="No such option"):
        parse(["generate", "a red apple", "--no-such-option"])
