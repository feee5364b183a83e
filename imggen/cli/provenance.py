"""The commands that read and write what files say of their making."""

import shlex
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from imggen.cli import console, options, suggestions
from imggen.cli.options import MARKS, OUTPUT, argument, option
from imggen.errors import RequestError
from imggen.plan.schema import formats
from imggen.plan.schema.marking import Signing

if TYPE_CHECKING:
    from imggen.plan.schema.recipe import Recipe
    from imggen.tasks.inspect import Inspected
    from imggen.tasks.verify import Unreadable, Verified

CHECKS = "Checks"

Files = Annotated[list[Path], argument("FILE...", f"{formats.TITLES} files.")]
Source = Annotated[Path | None, option("--from FILE", "Picture whose metadata is copied.", "Record")]
Pairs = Annotated[list[str] | None, option("--set KEY=VALUE", "Field to set; may be repeated.", "Record")]
Strip = Annotated[
    Literal["prompt", "all"] | None, option("--strip", "Metadata to take out: the prompt, or all.", "Record")
]
Resign = Annotated[Signing | None, option("--sign", "Signature (C2PA); auto renews one that was there.", MARKS)]
Lineage = Annotated[bool, option("--lineage", "Lineage: the input pictures, and theirs.", OUTPUT)]
Output = Annotated[str | None, option("-o --output PATH", "A new file, or a folder/ for several.", OUTPUT)]


Infotext = Annotated[bool, option("--infotext", "Infotext alone, as other programs read it.", OUTPUT)]
Checked = Annotated[list[str], argument("FILE...", "Pictures, folders, quoted globs, or -.")]
Require = Annotated[
    list[str] | None,
    option(
        "--require MARK,...",
        "Marks that must hold, else exit 5: c2pa, trusted, iptc, record, recipe, infotext, watermark, log.",
        CHECKS,
        suggestions.required,
    ),
]
Trust = Annotated[list[Path] | None, option("--trust PEM", "Root certificate to trust; may be repeated.", CHECKS)]
Log = Annotated[Path | None, option("--log FILE", "Audit log to look the pictures up in.", CHECKS)]


def verify(
    files: Checked,
    require: Require = None,
    trust: Trust = None,
    log: Log = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Check the marks of pictures. Each layer is judged by itself."""
    console.require_output()
    from imggen.tasks import verify as task

    request = task.VerifyRequest(
        files=tuple(files),
        roots=tuple(trust or ()),
        require=task.require(",".join(require)) if require is not None else (),
        log=log,
    )
    for verified in task.verify(request):
        if isinstance(verified, task.Unreadable):
            _show_unreadable(verified, as_json=as_json)
        elif as_json:
            console.result_json(_verified(verified))
        else:
            console.result("\n".join(_judgement(verified)))
            console.notes((f"{verified.path}: {note}" for note in verified.notes), quiet=quiet)


def _show_infotext(path: Path, text: str, *, as_json: bool) -> None:
    if as_json:
        console.result_json({"path": str(path), "infotext": text})
        return
    console.result(console.printable(text) if sys.stdout is not None and sys.stdout.isatty() else text)


def _show_unreadable(picture: "Unreadable", *, as_json: bool) -> None:
    if as_json:
        console.result_json({"path": picture.path, "error": picture.error.message, "hint": picture.error.hint})
        return
    console.result(_line(f"{picture.path}: cannot be looked at: {picture.error.message}"))


def _verified(picture: "Verified") -> dict[str, object]:
    """Return what `--json` says of a picture's marks."""
    return {
        "path": picture.path,
        "sha256": picture.sha256,
        "marked": picture.is_marked,
        "intact": not picture.broken,
        "missing": list(picture.missing),
        "verdict": picture.verdict,
        "layers": {
            layer.name: {**layer.facts, "strength": layer.strength, "words": layer.words} for layer in picture.layers
        },
        "notes": list(picture.notes),
    }


def _judgement(picture: "Verified") -> Iterator[str]:
    yield _line(f"{picture.path}: {picture.verdict}")
    for layer in picture.layers:
        yield f"  {layer.name:<10} {layer.strength:<8} {_line(layer.words)}"


def inspect(
    files: Files,
    show_lineage: Lineage = False,
    infotext: Infotext = False,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Show what picture files say of how they were made."""
    console.require_output()
    from imggen.tasks import inspect as task

    if infotext:
        if show_lineage:
            raise RequestError("--infotext prints the infotext alone, and --lineage asks for more")
        for path, text in task.infotexts(files):
            _show_infotext(path, text, as_json=as_json)
        return
    for picture in task.inspect(files):
        if as_json:
            console.result_json(asdict(picture) | (_ancestors(picture) if show_lineage else {}))
        elif show_lineage:
            _show_lineage(picture)
        else:
            console.result("\n".join(_described(picture)))
        console.notes((f"{picture.path}: {note}" for note in picture.notes), quiet=quiet or as_json)


def embed_metadata(
    files: Files,
    source: Source = None,
    pairs: Pairs = None,
    alt: options.Alt = None,
    strip: Strip = None,
    sign: Resign = None,
    policy: options.Policy = None,
    output: Output = None,
    if_exists: options.Exists = None,
    as_json: options.Json = False,
    print0: options.Print0 = False,
    quiet: options.Quiet = False,
) -> None:
    """Write metadata into pictures, or take it out. Not a pixel of them changes."""
    from imggen.tasks import embed as task

    request = task.EmbedRequest(
        targets=tuple(files),
        source=source,
        pairs=(*(task.pair(pair) for pair in pairs or ()), *([("alt", alt)] if alt is not None else [])),
        strip=strip,
        sign=sign or "auto",
        policy=policy,
        output=output,
        if_exists=if_exists or "auto",
    )
    for written in task.embed(request):
        path = console.where(written.path, output)
        facts = asdict(written) | {"path": path, "target": str(written.target)}
        console.picture(path, None, facts if as_json else None, print0=print0)
        console.notes((f"{path}: {note}" for note in written.notes), quiet=quiet or as_json)


def _ancestors(picture: "Inspected") -> dict[str, object]:
    from imggen.cli import lineage

    return {"lineage": lineage.facts(picture.recipe) if picture.recipe else []}


def _show_lineage(inspected: "Inspected") -> None:
    """Print the table of a picture's ancestors, or what a picture without a recipe states of its origin."""
    from imggen.cli import lineage
    from imggen.plan.schema.recipe import Ingredient

    if inspected.recipe is None:
        origin = _without_recipe(lineage.origin(inspected.xmp), list(lineage.steps(inspected.xmp)))
        console.result(_line(f"{inspected.path}: {origin}"))
        return
    state = ", of another state of the picture" if inspected.fits is False else ""
    console.result(_line(f"{inspected.path}: {lineage.summary(inspected.recipe)}{state}"))
    if inspected.recipe.ingredients or inspected.recipe.edits:
        picture = Ingredient(
            role="image",
            sha256=inspected.sha256,
            width=inspected.width,
            height=inspected.height,
            recipe=inspected.recipe,
        )
        console.table(tuple(_line(cell) for cell in row) for row in lineage.rows(picture))


def _without_recipe(origin: str, steps: list[str]) -> str:
    if steps:
        return f"{'; '.join(filter(None, (origin, *steps)))}; no recipe says more"
    return f"{origin}, and no recipe says how" if origin else "no recipe, so no lineage"


def _described(picture: "Inspected") -> Iterator[str]:
    """Yield the lines that show a picture's metadata."""
    yield _line(f"{picture.path}: {picture.format} {picture.width}x{picture.height}, {picture.bytes:,} bytes")
    yield f"  sha256: {picture.sha256}"
    steps = [] if picture.recipe else list(_stated_steps(picture))
    if picture.dialect is not None:
        yield f"  written in the manner of: {picture.dialect}"
    elif not steps:
        yield "  says nothing of how it was made"
    if picture.prompt:
        yield f"  prompt: {_inside(picture.prompt)}"
    if picture.negative_prompt:
        yield f"  negative prompt: {_inside(picture.negative_prompt)}"
    if picture.recipe and picture.recipe.template:
        yield f"  prompt as typed: {_inside(picture.recipe.template)}"
    if picture.recipe and picture.recipe.negative_template:
        yield f"  negative prompt as typed: {_inside(picture.recipe.negative_template)}"
    for name, value in picture.settings.items():
        yield f"  {_inside(name)}: {_inside(str(value))}"
    yield from steps
    if picture.recipe:
        yield from _recorded(picture.recipe, picture)
    yield from _written_down(picture)
    if picture.signed:
        yield f"  signature: there is one; imggen verify {_line(shlex.quote(str(picture.path)))} checks it"


def _written_down(picture: "Inspected") -> Iterator[str]:
    """Yield what the XMP says besides the recipe, which is JSON for programs and told in words above."""
    if picture.fits:
        yield "  the record fits the pixels"
    elif picture.fits is False:
        yield "  the record does not fit the pixels: it was copied here, or they were changed since"
    for name in ("Watermark", "Label"):
        if f"imggen:{name}" in picture.xmp:
            yield f"  {name.lower()}: {_line(_stated(picture.xmp[f'imggen:{name}']))}"
    for name, stated in picture.xmp.items():
        if not name.startswith("imggen:"):
            yield f"  xmp {_inside(name)}: {_inside(_stated(stated))}"


def _stated_steps(picture: "Inspected") -> Iterator[str]:
    """Yield what the XMP alone says of where the picture is from, and of what imggen did to it."""
    from imggen.cli import lineage

    origin = lineage.origin(picture.xmp)
    if origin:
        yield f"  {_line(origin)}"
    for step in lineage.steps(picture.xmp):
        yield f"  then {_line(step)}"


def _recorded(recipe: "Recipe", picture: "Inspected") -> Iterator[str]:
    """Yield the lines that show a picture's recipe, and the command that makes it again."""
    from imggen.cli import lineage

    for added in recipe.adapters:
        token = f" as {added.token!r}" if added.token else ""
        scale = f" at {added.scale:g}" if added.scale is not None else ""
        eye = f" through {added.encoder.reference}" if added.encoder else ""
        yield f"  {added.kind}: {_line(f'{added.reference}{token}{scale}{eye}')}"
    if recipe.base:
        yield f"  base: {_line(recipe.base)}"
    if recipe.quantize != "none":
        yield f"  quantize: {_line(recipe.quantize)}"
    if recipe.change or recipe.tile:
        yield f"  how: {_line(lineage.how(replace(recipe, edits=())))}"
    for source in recipe.ingredients:
        yield f"  made from {_line(lineage.ingredient(source))}{', with its recipe' if source.recipe else ''}"
    for step in recipe.edits:
        yield f"  then {_line(lineage.step(step))}"
    again = _line(lineage.again(recipe, picture.path))
    if picture.fits is False:
        yield f"  recipe: yes, of another state of the picture; {again} makes that one"
    elif recipe.edits:
        yield f"  recipe: yes; {again} makes the picture again, as it was before it was enlarged"
    else:
        yield f"  recipe: yes; {again} makes the picture again"


def _stated(value: object) -> str:
    """Return an XMP value as text: a list's items between semicolons, a structure's fields between commas."""
    if isinstance(value, tuple):
        return "; ".join(_stated(item) for item in value)
    if isinstance(value, Mapping):
        return ", ".join(f"{name}={field}" for name, field in value.items())
    return str(value)


def _line(text: str) -> str:
    return " ".join(console.printable(text).split("\n"))


def _inside(text: str) -> str:
    """Return `text` such that none of its lines looks like a line of ours."""
    return console.printable(text).replace("\n", "\n    | ")
