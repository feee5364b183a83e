"""The drawn set: scenes composed from a seed, each with the caption that tells what it shows."""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from imggen.data.drawn import vocabulary


@dataclass(frozen=True, kw_only=True)
class Subject:
    """One thing in a scene: an object's or a shape's name, and where it stands.

    `color` is the name of a shape's colour, None for objects; `x`, `y` are the centre and `edge` the longest side, all
    as fractions of the picture's edge.
    """

    name: str
    color: str | None
    x: float
    y: float
    edge: float


@dataclass(frozen=True, kw_only=True)
class Background:
    """What a scene stands on: a kind of `vocabulary.BACKGROUNDS`, its colours, and the pattern's period and phase.

    `period` is a fraction of the picture's edge; `angle` is in degrees; a plain background repeats its one colour.
    """

    kind: str
    colors: tuple[str, str]
    period: float
    angle: int


@dataclass(frozen=True, kw_only=True)
class Scene:
    """A picture to draw and the words that describe it."""

    caption: str
    subjects: tuple[Subject, ...]
    background: Background


def compose(seed: int, index: int) -> Scene:
    """Return scene `index` of the endless set that `seed` names; the same pair always gives the same scene."""
    random = Random(f"{seed}:{index}")
    return random.choices(_LAYOUTS, weights=_WEIGHTS)[0](random)


def single(name: str, color: str, random: Random) -> Scene:
    """Return one object or shape, large, on a plain background of the named colour, with the plainest caption."""
    background = Background(kind="plain", colors=(color, color), period=1.0, angle=0)
    subject = _place_single(random, name, _subject_color(random, name, color))
    caption = f"{vocabulary.with_article(_describe(subject), name)} on {_describe_background(background)}"
    return Scene(caption=caption, subjects=(subject,), background=background)


def _compose_single(random: Random, background: Background) -> Scene:
    name = _draw_name(random)
    subject = _place_single(random, name, _subject_color(random, name, *background.colors))
    phrase = vocabulary.with_article(_describe(subject, random), name)
    return Scene(caption=_join(random, phrase, background), subjects=(subject,), background=background)


def _compose_pair(random: Random) -> Scene:
    """Return a scene of two things, beside or above one another."""
    background = _plain(random) if random.random() < 0.8 else _patterned(random)
    names = [_draw_name(random), _draw_name(random)]
    place = random.choice(vocabulary.PLACES)
    near, far = 0.27 + random.uniform(-0.02, 0.02), 0.73 + random.uniform(-0.02, 0.02)
    first, second = (near, far) if place in ("left of", "above") else (far, near)
    sideways = place in ("left of", "right of")
    subjects = []
    for name, along in zip(names, (first, second), strict=True):
        across = 0.5 + random.uniform(-0.04, 0.04)
        x, y = (along, across) if sideways else (across, along)
        color = _subject_color(random, name, *background.colors)
        subjects.append(Subject(name=name, color=color, x=x, y=y, edge=random.uniform(0.40, 0.46)))
    phrases = [vocabulary.with_article(_describe(subject, random), subject.name) for subject in subjects]
    words = f"{place.split()[0]} of" if sideways else place
    caption = _join(random, f"{phrases[0]} {words} {phrases[1]}", background)
    return Scene(caption=caption, subjects=tuple(subjects), background=background)


def _compose_count(random: Random) -> Scene:
    background = _plain(random) if random.random() < 0.8 else _patterned(random)
    name, count = _draw_name(random), random.choice(list(vocabulary.COUNTS))
    color = _subject_color(random, name, *background.colors)
    edge = random.uniform(0.36, 0.42)
    subjects = tuple(
        Subject(name=name, color=color, x=x + random.uniform(-0.02, 0.02), y=y + random.uniform(-0.02, 0.02), edge=edge)
        for x, y in random.choice(_ARRANGEMENTS[count])
    )
    adjective = f"{color} " if color else ""
    phrase = f"{vocabulary.COUNTS[count]} {adjective}{vocabulary.plural(name)}"
    return Scene(caption=_join(random, phrase, background), subjects=subjects, background=background)


def _compose_empty(random: Random) -> Scene:
    background = _plain(random) if random.random() < 0.3 else _patterned(random)
    return Scene(caption=_describe_background(background), subjects=(), background=background)


_LAYOUTS: tuple[Callable[[Random], Scene], ...] = (
    lambda random: _compose_single(random, _plain(random)),
    lambda random: _compose_single(random, _patterned(random)),
    _compose_pair,
    _compose_count,
    _compose_empty,
)
_WEIGHTS = (0.66, 0.14, 0.10, 0.07, 0.03)

_ARRANGEMENTS: dict[int, tuple[tuple[tuple[float, float], ...], ...]] = {
    2: (((0.28, 0.5), (0.72, 0.5)), ((0.5, 0.28), (0.5, 0.72))),
    3: (((0.28, 0.72), (0.72, 0.72), (0.5, 0.28)), ((0.28, 0.28), (0.72, 0.28), (0.5, 0.72))),
    4: (((0.28, 0.28), (0.72, 0.28), (0.28, 0.72), (0.72, 0.72)),),
}


def _draw_name(random: Random) -> str:
    if random.random() < 0.12:
        return random.choice(vocabulary.SHAPES)
    return random.choice(tuple(vocabulary.OBJECTS))


def _subject_color(random: Random, name: str, *taken: str) -> str | None:
    if name not in vocabulary.SHAPES:
        return None
    return random.choice([color for color in vocabulary.COLORS if color not in taken])


def _place_single(random: Random, name: str, color: str | None) -> Subject:
    edge = random.uniform(0.62, 0.78)
    slack = (1 - edge) / 2 - 0.04
    x, y = (0.5 + random.uniform(-slack, slack) * 0.6 for _ in range(2))
    return Subject(name=name, color=color, x=x, y=y, edge=edge)


def _plain(random: Random) -> Background:
    color = random.choice(tuple(vocabulary.COLORS))
    return Background(kind="plain", colors=(color, color), period=1.0, angle=0)


def _patterned(random: Random) -> Background:
    kind = random.choice([background for background in vocabulary.BACKGROUNDS if background != "plain"])
    first, second = random.sample(tuple(vocabulary.COLORS), 2)
    angle = random.choice((0, 90)) if kind in ("striped", "gradient") else 0
    return Background(kind=kind, colors=(first, second), period=random.choice((1 / 8, 1 / 4)), angle=angle)


def _describe(subject: Subject, random: Random | None = None) -> str:
    if subject.color:
        return f"{subject.color} {subject.name}"
    own = vocabulary.OWN_COLORS.get(subject.name)
    if own and random and random.random() < 0.25:
        return f"{own} {subject.name}"
    return subject.name


def _describe_background(background: Background) -> str:
    color, second = background.colors
    first = vocabulary.with_article(color, color)
    if background.kind == "plain":
        return f"{first} background"
    if background.kind == "gradient":
        return f"{first} to {second} gradient background"
    return f"{first} and {second} {background.kind} background"


_PHRASINGS = (
    ("{subject} on {article_background}", 0.64),
    ("{subject}, {background}", 0.08),
    ("a picture of {subject} on {article_background}", 0.08),
    ("{article_background} with {subject}", 0.08),
    ("{subject} in front of {article_background}", 0.04),
    ("{subject} on {color}", 0.05),
    ("{subject}", 0.03),
)
"""The ways to say a scene, and how often each is drawn; patterned backgrounds are always named in full."""


def _join(random: Random, phrase: str, background: Background) -> str:
    usable = [phrasing for phrasing in _PHRASINGS if background.kind == "plain" or "background}" in phrasing[0]]
    (template,) = random.choices([phrasing[0] for phrasing in usable], weights=[phrasing[1] for phrasing in usable])
    where = _describe_background(background)
    bare = where.removeprefix("an ").removeprefix("a ")
    return template.format(subject=phrase, article_background=where, background=bare, color=background.colors[0])
