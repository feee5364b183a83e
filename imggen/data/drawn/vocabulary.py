"""The words of the drawn set: objects, shapes, colours, backgrounds and places."""

import unicodedata
from typing import Final

COLORS: Final[dict[str, tuple[int, int, int]]] = {
    "red": (222, 38, 38),
    "orange": (246, 138, 24),
    "yellow": (252, 220, 52),
    "lime": (158, 222, 48),
    "green": (36, 146, 58),
    "teal": (16, 138, 138),
    "cyan": (72, 208, 230),
    "blue": (44, 96, 224),
    "navy": (22, 32, 98),
    "purple": (124, 56, 178),
    "magenta": (224, 50, 186),
    "pink": (252, 168, 196),
    "brown": (124, 78, 42),
    "black": (18, 18, 20),
    "gray": (132, 132, 136),
    "white": (250, 250, 250),
}
"""The sixteen named colours as sRGB."""

SHAPES: Final = ("circle", "square", "triangle", "star", "heart", "diamond", "ring", "hexagon", "cross", "arrow")

BACKGROUNDS: Final = ("plain", "gradient", "striped", "dotted", "checked")

PLACES: Final = ("left of", "right of", "above", "below")

COUNTS: Final[dict[int, str]] = {2: "two", 3: "three", 4: "four"}

GLYPHS: Final = (
    "🍎🍏🍊🍋🍌🍉🍇🍓🍒🍑🍍🍅🍆🥑🥕🌽🥦🍄🍞🥐🥨🧀🥚🍔🍟🍕🌭🍦🍩🍪🎂🍫🍭🍷🍺"
    "🐶🐱🐰🦊🐻🐼🐨🐯🦁🐮🐷🐸🐵🐔🐧🐦🦉🐴🦄🐝🦋🐌🐞🐢🐙🦀🐠🐬🐳🐘🐑"
    "🌵🌲🌴🌻🌹🌷🍀🍁🌙🌞🔥💧⛄🌈⚡🌍"
    "🚗🚕🚌🚒🚀🚁⛵⚓🏠🏰⛺🎈🎁🎃🎄⚽🏀🎾🎸🥁🔔🔑🔒📷📱💻⌚⏰💡📖✏🎩👑👓👕👗👟☔💎🤖👻👽💀🏆🎲"
)
"""One glyph an object, each a single code point that Noto Color Emoji draws."""

_SHORT_NAMES: Final = (
    "🌽 corn, 🧀 cheese, 🍟 fries, 🍕 pizza, 🍦 ice cream, 🎂 cake, 🍫 chocolate, 🍷 wine glass, 🍺 beer, 🐝 bee, "
    "🐞 ladybug, 🐠 fish, 🐳 whale, 🌲 tree, 🍀 clover, 🌙 moon, 🌞 sun, ⛄ snowman, ⚡ lightning, 🌍 globe, 🚗 car, "
    "🏠 house, 🏰 castle, 🎁 present, 🎃 pumpkin, ⚽ soccer ball, 🏀 basketball, 🎾 tennis racket, 🥁 drum, 📱 phone, "
    "💻 laptop, ⏰ clock, 💡 light bulb, 📖 book, 🎩 hat, 👓 glasses, 👕 shirt, 👟 shoe, ☔ umbrella, 💎 gem, "
    "👽 alien, 🎲 die, 🍎 apple, 🍓 strawberry"
)
SHORT_NAMES: Final[dict[str, str]] = dict(entry.split(" ", 1) for entry in _SHORT_NAMES.split(", "))
"""Everyday names for glyphs whose Unicode name is no word that people type."""

_BY_COLOR: Final = {
    "red": "apple, watermelon, strawberry, cherries, tomato, mushroom, octopus, crab, rose, car, fire engine, balloon",
    "orange": "tangerine, carrot, fox, butterfly, pumpkin, basketball",
    "yellow": "lemon, banana, corn, cheese, moon, sun, lightning, taxi, bell, crown",
    "purple": "grapes, aubergine",
    "pink": "peach, pig, tulip",
    "green": "avocado, broccoli, frog, cactus, tree, clover",
    "brown": "egg",
    "white": "unicorn, ghost, snowman",
    "blue": "whale, droplet, shirt, gem",
    "gray": "elephant",
    "black": "hat",
}
OWN_COLORS: Final = {name: color for color, names in _BY_COLOR.items() for name in names.split(", ")}
"""The colour that a glyph has of itself, where one colour names it well; captions may say it."""

_UNCHANGED: Final = "cherries, grapes, fries, glasses, fish, sheep, broccoli, bread, corn, lightning, cheese"
_WITH_ES: Final = "fox, octopus, bus, cactus, tomato, peach, wine glass, watch, dress, cross"
PLURALS: Final[dict[str, str]] = {
    **{name: name for name in _UNCHANGED.split(", ")},
    **{name: f"{name}es" for name in _WITH_ES.split(", ")},
    "strawberry": "strawberries",
    "butterfly": "butterflies",
    "die": "dice",
    "snowman": "snowmen",
}
"""The plurals that take no plain s."""

MASS_NOUNS: Final = frozenset(
    {"bread", "broccoli", "cheese", "cherries", "chocolate", "corn", "fire", "fries", "glasses", "grapes", "lightning"}
)
"""Names that take no article."""


def name_of(glyph: str) -> str:
    """Return the name of a one-character glyph: its short name, or Unicode's own without a trailing "face"."""
    unicode_name = unicodedata.name(glyph).lower().removesuffix(" face")
    return SHORT_NAMES.get(glyph, unicode_name)


OBJECTS: Final[dict[str, str]] = {name_of(glyph): glyph for glyph in GLYPHS}
"""Every object's name and its glyph."""


def plural(name: str) -> str:
    """Return the plural of an object's or a shape's name."""
    return PLURALS.get(name, f"{name}s")


def with_article(phrase: str, name: str) -> str:
    """Return `phrase`, which describes `name`, with "a" or "an" where the name takes an article."""
    if name in MASS_NOUNS:
        return phrase
    return f"{'an' if phrase[0] in 'aeiou' else 'a'} {phrase}"
