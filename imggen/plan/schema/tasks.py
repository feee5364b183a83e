"""The tasks that make pictures, a row each; the way a model does one is chosen in `plan/generation/approach`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

Task = Literal["text-to-image", "image-to-image", "inpaint", "outpaint", "blend", "style"]

_SIZE: Final = ("size", "aspect", "width", "height")
_BESIDE: Final = ("control", "preprocess", "depth_weights", "ip_adapter", "ip_adapter_weights", "ip_adapter_encoder")
_START: Final = ("frame", "strength")


@dataclass(frozen=True, kw_only=True)
class TaskFacts:
    """A task that makes pictures.

    `command` does it, and takes `operands` beside `--from`; `example` is a whole line, empty for a task that is
    `wordless`: it can do without a prompt. `purpose` stands behind "cannot" in messages. `options` are the fields of a
    request that it has and some other task has not. `repaints` says that what a mask leaves out stays as it is.
    """

    command: str
    purpose: str
    options: tuple[str, ...]
    operands: str = ""
    example: str = ""
    wordless: bool = False
    repaints: bool = False

    @property
    def again(self) -> str:
        """Return the line that makes a picture of the task again from a file's recipe."""
        return " ".join(filter(None, ("imggen", self.command, self.operands, "--from FILE")))


TASKS: Final[Mapping[str, TaskFacts]] = {
    "text-to-image": TaskFacts(
        command="generate",
        purpose="make a picture from words",
        example='imggen generate "a red apple on a teal background"',
        options=(*_SIZE, "tile", *_BESIDE),
    ),
    "image-to-image": TaskFacts(
        command="img2img",
        purpose="start from a picture",
        operands="PICTURE",
        example='imggen img2img sketch.png "a red apple on a teal background"',
        options=(*_SIZE, *_START, "tile", "image_guidance", "fit", *_BESIDE),
    ),
    "inpaint": TaskFacts(
        command="inpaint",
        purpose="repaint a part",
        operands="PICTURE --mask MASK",
        example='imggen inpaint photo.png "a yellow star" --mask mask.png',
        options=(*_SIZE, *_START, "fit", "mask", "mask_box", "invert_mask", "feather", "paste", *_BESIDE),
        repaints=True,
    ),
    "outpaint": TaskFacts(
        command="outpaint",
        purpose="widen a picture",
        operands="PICTURE",
        example='imggen outpaint photo.png "a green field" --pad 64',
        options=(*_START, "feather", "paste", "pad", *_BESIDE),
        repaints=True,
    ),
    "blend": TaskFacts(
        command="blend",
        purpose="mix pictures",
        operands="PARENT...",
        options=(*_SIZE, *_START, "fit", "weights", "mutate"),
        wordless=True,
    ),
    "style": TaskFacts(
        command="style",
        purpose="take on a style",
        operands="PICTURE --like STYLE",
        options=(*_SIZE, *_START, "fit", "like", "ip_adapter_weights", "ip_adapter_encoder"),
        wordless=True,
    ),
}
"""By the names in `Task`, which recipes have too."""


def commands(option: str) -> tuple[str, ...]:
    """Return the commands that have the option of the field `option`, none where all of them have it."""
    return tuple(task.command for task in TASKS.values() if option in task.options)


def options() -> tuple[str, ...]:
    """Return the fields of a request that only some tasks have, each once."""
    return tuple(dict.fromkeys(option for task in TASKS.values() for option in task.options))
