"""Templates of prompts: `{matte|glossy}` and `__animals__`, of which each picture's seed chooses one.

The marks are those of the dynamic-prompts tools (github.com/adieyal/dynamicprompts), as far as they choose one thing.
"""

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, NoReturn

from imggen.errors import RequestError
from imggen.plan.schema.prompt import AS_IT_STANDS, Spot, fault

LONGEST: Final = 20_000
"""The most characters of a prompt, as typed and as it comes out."""

_DEEPEST: Final = 32
_MARKS: Final = re.compile(
    r"(?P<kept>\\.)"
    r"|(?P<brace>[{}])"
    r"|(?P<bar>\|)"
    r"|__(?P<wildcard>[^\s_{}|<>\\][^\n{}|<>\\]*?)__"
    r"|<(?P<kind>lora|lyco|hypernet):(?P<tag>[^<>]*>?)"
    r"|(?P<text>[^\\{}|_<]+|.)",
    re.DOTALL,
)
_WEIGHT: Final = re.compile(r"\s*(\d+(?:\.\d*)?|\.\d+)::")
_SEVERAL: Final = re.compile(r"\s*\d*(?:-\d*)?\$\$")
_SCALE: Final = re.compile(r"[-+]?(\d+(?:\.\d*)?|\.\d+)")
_NAME: Final = re.compile(r"[^\W_](?:[\w-]|\.(?!\.))*(?:/[^\W_](?:[\w-]|\.(?!\.))*)*")


@dataclass(frozen=True, kw_only=True)
class Option:
    """One of several things, how likely it is relative to the others, and what it is made of."""

    nodes: "tuple[Node, ...]"
    weight: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Alternatives:
    """A place where one of the options stands."""

    options: tuple[Option, ...]


@dataclass(frozen=True, kw_only=True)
class Wildcard:
    """A place where one line of a file stands; `spot` is where the text names it."""

    name: str
    spot: Spot


Node = str | Alternatives | Wildcard


@dataclass(frozen=True, kw_only=True)
class Tag:
    """A LoRA that a prompt asks for: `<lora:name:0.7>`; the scale as it was written, empty where it was not."""

    name: str
    scale: str = ""


@dataclass(frozen=True, kw_only=True)
class Template:
    """A text with places where something is chosen, and the LoRAs that it asks for."""

    nodes: tuple[Node, ...]
    tags: tuple[Tag, ...] = ()


Files = Mapping[str, tuple[Option, ...]]
"""The lines of wildcard files, by the name that a prompt has for them."""


def parse(text: str, name: str = "the prompt") -> Template:
    """Return what `text` is made of; raise RequestError that shows the place where it cannot be read.

    `name` is what messages call the text. A backslash and what follows stay as they are, for `prompt.parts`.
    """
    return _Parser(text, name).parse()


def collect(templates: Iterable[Template], read: Callable[[str], tuple[str, str]]) -> Files:
    """Return all wildcard files that the templates need, those that files name themselves among them.

    `read(name)` returns what messages call the file, and its text. Raise RequestError for a file without lines, and
    for one that includes itself, directly or through others.
    """
    files: dict[str, tuple[Option, ...]] = {}

    def visit(nodes: Iterable[Node], chain: tuple[str, ...]) -> None:
        for wildcard in _wildcards(nodes):
            if wildcard.name in chain:
                ring = " -> ".join(f"__{name}__" for name in (*chain[chain.index(wildcard.name) :], wildcard.name))
                hint = "take one of them out of its file"
                fault(f"a wildcard file includes itself: {ring}", wildcard.spot, hint=hint)
            if wildcard.name in files:
                continue
            if len(chain) == _DEEPEST:
                fault(f"wildcard files stand more than {_DEEPEST} deep", wildcard.spot)
            lines = _lines(*read(_checked(wildcard)))
            for line in lines:
                visit(line.nodes, (*chain, wildcard.name))
            files[wildcard.name] = lines

    for template in templates:
        visit(template.nodes, ())
    return files


def expand(template: Template, files: Files, *, seed: int, stream: str) -> str:
    """Return the text that `seed` chooses: the same for the same seed, whatever else is made beside it.

    Each place has a random number of its own, which follows from the seed, from `stream` (the prompt's and the negative
    prompt's are not alike) and from how many places stand before it, but not from the words between.
    """
    return _Expansion(files, f"{stream} {seed}").text(template.nodes)


def _wildcards(nodes: Iterable[Node]) -> Iterator[Wildcard]:
    for node in nodes:
        if isinstance(node, Wildcard):
            yield node
        elif isinstance(node, Alternatives):
            for option in node.options:
                yield from _wildcards(option.nodes)


def _checked(wildcard: Wildcard) -> str:
    if not _NAME.fullmatch(wildcard.name):
        what = f"__{wildcard.name}__ is not the name of a wildcard file"
        hint = f"\\_ is the letter itself; {AS_IT_STANDS} takes all words as they stand"
        fault(f"{what}: folders and names have letters, digits, - and _", wildcard.spot, hint=hint)
    return wildcard.name


def _lines(called: str, text: str) -> tuple[Option, ...]:
    numbered = [(number, line.strip()) for number, line in enumerate(text.splitlines(), start=1)]
    lines = [
        _Parser(words, f"{called}, line {number}").line() for number, words in numbered if words and words[0] != "#"
    ]
    if not lines:
        raise RequestError(f"{called} has no lines to choose from", hint="one thing a line; # begins a comment")
    return _possible(tuple(lines), Spot(text=text.partition("\n")[0], at=0, name=called))


def _possible(options: tuple[Option, ...], spot: Spot) -> tuple[Option, ...]:
    if not any(option.weight for option in options):
        fault("all of these have the weight 0, so none can be chosen", spot, hint="{2::a|b} makes a twice as likely")
    return options


class _Parser:
    """A text on its way to a template."""

    def __init__(self, text: str, name: str) -> None:
        self._text = text
        self._name = name
        self._marks = _MARKS.finditer(text)
        self._tags: list[Tag] = []
        self._open: list[int] = []

    def parse(self) -> Template:
        (only,) = self._options()
        return Template(nodes=only, tags=tuple(self._tags))

    def line(self) -> Option:
        # What stands in a file is chosen among others, like an option in braces.
        self._open.append(-1)
        (only,) = self._options()
        return _weighed(only)

    def _options(self) -> list[tuple[Node, ...]]:
        """Return what stands between bars, up to the brace that closes them or to the end."""
        depth, options = len(self._open), [list[Node]()]
        for mark in self._marks:
            kind, at = mark.lastgroup, mark.start()
            if kind == "brace" and mark[0] == "{":
                options[-1].append(self._choice(at))
            elif kind == "brace":
                if not self._is_inside():
                    self._fault("this } closes nothing", at, "}")
                self._open.pop()
                return [tuple(nodes) for nodes in options]
            elif kind == "bar" and self._is_inside():
                options.append([])
            elif kind == "wildcard":
                options[-1].append(Wildcard(name=mark["wildcard"], spot=self._spot(at)))
            elif kind == "tag":
                self._tag(mark)
            else:
                options[-1].append(mark[0])
        if len(self._open) > depth or self._is_inside():
            self._fault("this { is never closed", self._open[-1], "{")
        return [tuple(nodes) for nodes in options]

    def _is_inside(self) -> bool:
        return bool(self._open) and self._open[-1] >= 0

    def _choice(self, at: int) -> Alternatives:
        if len(self._open) == _DEEPEST:
            self._fault(f"alternatives stand more than {_DEEPEST} deep", at, "{")
        self._open.append(at)
        options = self._options()
        if _SEVERAL.match(_leading(options[0])[0]):
            self._fault("choosing several of them ({2$$a|b|c}) is not supported; each { } chooses one", at, "{")
        if len(options) == 1:
            self._fault("these braces offer nothing to choose from, as {matte|glossy} does", at, "{")
        return Alternatives(options=_possible(tuple(map(_weighed, options)), self._spot(at)))

    def _tag(self, mark: re.Match[str]) -> None:
        at, kind = mark.start(), mark["kind"]
        if kind != "lora":
            self._fault(f"<{kind}:...> is not supported; <lora:NAME:SCALE> is", at, "<")
        if not mark["tag"].endswith(">"):
            self._fault("this <lora: is never closed", at, "<")
        if self._open:
            self._fault("a LoRA cannot be chosen: it is loaded once, for all pictures", at, "<")
        name, colon, scale = mark["tag"].removesuffix(">").partition(":")
        if not name.strip() or (colon and not _SCALE.fullmatch(scale.strip())):
            self._fault("a LoRA is asked for as <lora:NAME> or <lora:NAME:0.7>", at, "<")
        self._tags.append(Tag(name=name.strip(), scale=scale.strip()))

    def _spot(self, at: int) -> Spot:
        return Spot(text=self._text, at=at, name=self._name)

    def _fault(self, message: str, at: int, mark: str) -> NoReturn:
        fault(message, self._spot(at), mark=mark)


def _leading(nodes: tuple[Node, ...]) -> tuple[str, tuple[Node, ...]]:
    """Return the text before the first place, and the nodes from it on."""
    first = next((at for at, node in enumerate(nodes) if not isinstance(node, str)), len(nodes))
    return "".join(map(str, nodes[:first])), nodes[first:]


def _weighed(nodes: tuple[Node, ...]) -> Option:
    leading, rest = _leading(nodes)
    written = _WEIGHT.match(leading)
    if written is None:
        return Option(nodes=nodes)
    return Option(nodes=(leading[written.end() :], *rest), weight=float(written[1]))


class _Expansion:
    """One text on its way out of its template."""

    def __init__(self, files: Files, stream: str) -> None:
        self._files = files
        self._stream = stream
        self._left = LONGEST

    def text(self, nodes: tuple[Node, ...], path: str = "") -> str:
        pieces, places = [], 0
        for node in nodes:
            # Places count too: files that name each other twice make text, or none, without end.
            self._left -= len(node) if isinstance(node, str) else 1
            if self._left < 0:
                message = f"the prompt grows beyond {LONGEST:,} characters"
                raise RequestError(message, hint="fewer wildcards in wildcards")
            if isinstance(node, str):
                pieces.append(node)
                continue
            places += 1
            options = node.options if isinstance(node, Alternatives) else self._files[node.name]
            place = f"{path}.{places}"
            chosen = self._chosen(options, place)
            pieces.append(self.text(options[chosen].nodes, f"{place}/{chosen}"))
        return "".join(pieces)

    def _chosen(self, options: tuple[Option, ...], place: str) -> int:
        digest = hashlib.sha256(f"{self._stream} {place}".encode()).digest()
        point = int.from_bytes(digest[:6]) / 2**48 * sum(option.weight for option in options)
        for number, option in enumerate(options):
            point -= option.weight
            if point < 0:
                return number
        return max(number for number, option in enumerate(options) if option.weight)
