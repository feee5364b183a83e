"""What a training run tells while it goes on."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class TrainingStep:
    """What one optimisation step did. `seconds` is the time that the stage has taken so far, over all resumes."""

    stage: str
    pictures: int
    of: int
    loss: float
    learning_rate: float
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Encoded:
    """One more part of the drawn set is encoded: `pictures` of `of` are there now."""

    pictures: int
    of: int
