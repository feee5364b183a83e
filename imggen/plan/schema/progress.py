"""How far a run is: the events that tasks report while they work."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Stage = Literal["download", "check", "convert", "load", "encode", "prior", "denoise", "decode", "enlarge", "write"]


@dataclass(frozen=True, kw_only=True)
class Progress:
    """One event: `step` of `steps` in `stage`, for picture `image` of `images`, both counted from 1.

    Where a model draws in two stages, `prior` is the first of them, and `denoise` the second.
    `step` 0 says that the stage begins; a stage whose length is unknown has `steps` 0. The steps of
    `download`, `check` and `convert` are bytes.
    """

    stage: Stage
    step: int = 0
    steps: int = 0
    image: int = 1
    images: int = 1


Report = Callable[[Progress], None]


def ignore(event: Progress) -> None:
    """Take a progress event and do nothing."""
