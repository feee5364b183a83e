"""The table of model families, docs/families.md: run `python -m tests.documents.catalogue` after a change of theirs."""

from pathlib import Path
from typing import Any, Final

from imggen.plan.generation import capabilities
from imggen.plan.models import catalog

PATH: Final = Path("docs/families.md")

_TASKS: Final = ("words", "picture", "inpaint", "outpaint", "blend", "style")
_NUMBERS: Final = (
    *("family", "size", "steps", "guidance", "negative prompt", "tokens", "precision"),
    *("tiles", "LoRA", "ControlNet", "IP-Adapter"),
)
_YES: Final = "✅"
_NO: Final = "–"
_INTRODUCTION: Final = f"""\
# Model families

What imggen knows of each family of models; `imggen models families` tells the same in a terminal.
A tick says that the task is done, and that a test does it: `tests/cli/test_families.py` runs the real command for every
family and every task, on a tiny random model of the same architecture. Where there is no tick the command is refused
before any weights are read, with the reason.

- {_YES} by a pipeline of its own, {_YES}\\* by a stand-in that any image-to-image pipeline allows: latents that are
  blended (inpaint, outpaint), statistics that are matched (style).
- *words* is `generate`, *picture* is `img2img`; the others have the names of their commands. A tick for *blend* is for
  parents that the model made itself; where *picture* is ticked too and starts from noise that is laid on the picture,
  any pictures can be parents.
- *size* is the native edge, then what edges are multiples of and between which they may be, in pixels; or how many
  sizes there are, which `--size` lists where another is asked for.
- *guidance* is its usual value: *true* with a second pass per step, which is what a negative prompt needs, *distilled*
  as a number that the model was taught. *tokens* is how much of a prompt is read.
- *precision* is the half precision on a GPU; float32 always works. *tiles* says whether the usual autoencoder decodes
  in tiles, *LoRA* whether diffusers adds LoRAs, *ControlNet* and *IP-Adapter* whether `--control` and `--ip-adapter`
  work.
- The licence is the one that the usual published weights carry. Read it before you use them.

A pipeline class that is not here is served by what its own signature in diffusers says, with a note, where it draws
pictures from words or starts from a picture with a strength. What makes films or sound, enlarges, or wants arguments
that imggen does not have is refused."""


def text() -> str:
    """Return the document: every family, what it can do and what suits it, as Markdown."""
    rows = [capabilities.described(family) for family in catalog.FAMILIES]
    can = _table(("family", *_TASKS), [_tasks(row) for row in rows])
    suits = _table(_NUMBERS, [_numbers(row) for row in rows])
    models = _table(("family", "usual model", "licence", "pipelines"), [_models(row) for row in rows])
    parts = (_INTRODUCTION, "## What each can do", can, "## What suits each", suits, "## Models and pipelines", models)
    return "\n\n".join(parts) + "\n"


def _tasks(row: dict[str, Any]) -> tuple[str, ...]:
    return (_name(row), *(_tick(task) for task in row["tasks"].values()))


def _tick(task: dict[str, Any]) -> str:
    if not task["possible"]:
        return _NO
    return f"{_YES}\\*" if task["stand_in"] else _YES


def _numbers(row: dict[str, Any]) -> tuple[str, ...]:
    guided = _NO if row["guidance_kind"] == "none" else f"{row['guidance']:g} {row['guidance_kind']}"
    return (
        f"`{row['family']}`",
        _size(row),
        str(row["steps"]),
        guided,
        _mark(row["negative_prompt"]),
        str(row["max_tokens"]),
        ", ".join(dtype for dtype in row["dtypes"] if dtype != "float32"),
        *(_mark(row[ability]) for ability in ("tiles", "lora", "controlnet", "ip_adapter")),
    )


def _size(row: dict[str, Any]) -> str:
    if row["sizes"]:
        return f"{row['native_size']}, one of {len(row['sizes'])}"
    return f"{row['native_size']}, ×{row['multiple_of']}, {row['min_size']}–{row['max_size']}"


def _models(row: dict[str, Any]) -> tuple[str, ...]:
    # The hub has the files of a branch at an address of its own.
    page = str(row["model"]).replace("@", "/tree/")
    model = f"[{row['model']}](https://huggingface.co/{page})" if row["model"] else _NO
    classes = ", ".join(pipeline.removesuffix("Pipeline") for pipeline in row["pipelines"])
    return (_name(row), model, row["licence"] or _NO, classes)


def _name(row: dict[str, Any]) -> str:
    return f"`{row['family']}` {row['title']}"


def _mark(has: object) -> str:
    return _YES if has else _NO


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    PATH.write_text(text(), encoding="utf-8", newline="\n")
