"""A picture that a request starts from, as far as a plan needs to know it."""

from dataclasses import dataclass

from imggen.plan.schema.change import Role
from imggen.plan.schema.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class Given:
    """A picture file: what it is for, what it is called, and what it says of itself. No pixels.

    `name` is the path as typed, `-` for standard input; `sha256` is the file's; `width` and `height` are those of the
    upright picture. `source_type` is its own IPTC digital source type (a URI), None where it states none. `recipe` is
    what it was made from, where it carries one that fits its pixels. `guid` is the URN that it states for itself.
    `control` is what a control picture shows that no ControlNet but the model itself reads, `preprocessor` the kind of
    control picture that is made of this one first.
    """

    role: Role
    name: str
    sha256: str
    width: int
    height: int
    source_type: str | None = None
    recipe: Recipe | None = None
    guid: str | None = None
    control: str | None = None
    preprocessor: str | None = None


def starts(given: tuple[Given, ...]) -> bool:
    """Return whether a picture is made from one of these; those beside the words are only followed or shown."""
    return any(picture.role not in ("control", "shown") for picture in given)
