"""The recipe: what a picture was made from, as strict JSON, and its hash."""

import hashlib
import json
from dataclasses import asdict, dataclass, field

from imggen.errors import RequestError

SCHEMA = 1


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything that one picture's pixels depend on, plus the versions that made them.

    One recipe makes one picture. `model` is the reference to ask for again; `model_hash` is the sha256 over the
    model's weight files (see `engine/store.py`); `versions` names imggen, torch and diffusers.
    """

    task: str
    prompt: str
    negative_prompt: str
    model: str
    model_revision: str | None
    model_hash: str
    family: str
    width: int
    height: int
    steps: int
    guidance: float
    seed: int
    sampler: str
    device: str
    dtype: str
    attention_slicing: str
    vae_tile: int
    offload: str
    versions: dict[str, str] = field(default_factory=dict)
    schema: int = SCHEMA

    def to_json(self) -> str:
        """Return the recipe as one line of strict JSON: sorted keys, ASCII only, no NaN."""
        return json.dumps(asdict(self), sort_keys=True, ensure_ascii=True, allow_nan=False, separators=(",", ":"))

    def sha256(self) -> str:
        """Return the hex SHA-256 of the recipe's JSON."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()


def parse(text: str) -> Recipe:
    """Return the recipe that `text` holds; raise RequestError where it is none that this version can read."""
    raise RequestError("not written yet", hint=text[:0])
