"""Adapters: weights that are added to a model, as they are asked for, as they are found, and as they are used."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from imggen.plan.schema.machine import Dtype

Kind = Literal["lora", "embedding", "vae", "controlnet", "ip-adapter", "depth"]


@dataclass(frozen=True, kw_only=True)
class AdapterRequest:
    """One adapter as it was asked for: `option` is what names it on the command line, for messages.

    `reference` is a file, a folder or `org/name[@revision]` of the hub. `scale` weighs what it does, 0 is without it;
    None where its kind knows no scale or nobody said. `image` is the picture that goes with it, as typed, which the
    `preprocessor`, where there is one, makes a control picture of; `token` the word that stands for an embedding in a
    prompt. `encoder` is the image encoder that an IP-Adapter is to look through, where somebody names one. What
    measures `depth` is not added to the model, but makes the control pictures that are.
    """

    kind: Kind
    option: str
    reference: str
    scale: float | None = None
    image: str | None = None
    token: str | None = None
    preprocessor: str | None = None
    encoder: str | None = None


@dataclass(frozen=True, kw_only=True)
class ImageEncoder:
    """An image encoder that does not lie beside its adapter: a folder, or a repository of the hub and its commit.

    `sha256` is that of its weights: of the first file, where there are several.
    """

    reference: str
    sha256: str
    revision: str | None = None


@dataclass(frozen=True, kw_only=True)
class AdapterFacts:
    """What is known of an adapter before its weights are read: all of it comes from headers and small JSON files.

    `files` are its weights, the first of them the one that names it; `sha256` is over them: the file's own where there
    is one. `reference` is what was asked for without the revision, which for the hub is the commit. `shapes` maps a
    tensor's name to its shape, empty for a `pickle`, whose names nobody knows before it is read; `metadata` is what the
    header says besides, `config` its parsed `config.json`. `weight_bytes` is the size of its tensors and `stored_dtype`
    the dtype that most of them have. `encoder` is where an IP-Adapter's image encoder comes from, None where it lies
    beside the adapter; its weights are among the `files`.
    """

    asked: AdapterRequest
    files: tuple[Path, ...]
    sha256: str
    reference: str
    revision: str | None = None
    pickle: bool = False
    weight_bytes: int = 0
    stored_dtype: Dtype | None = None
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)
    config: Mapping[str, object] = field(default_factory=dict)
    encoder: ImageEncoder | None = None


@dataclass(frozen=True, kw_only=True)
class Adapter:
    """One adapter as a recipe records it: enough to ask for it again, and to tell whether it is the same.

    `image` is the SHA-256 of the picture that goes with it, which is also among the recipe's ingredients;
    `preprocessor` made a control picture of it. `encoder` is what an IP-Adapter looked through, where that did not lie
    beside it.
    """

    kind: Kind
    reference: str
    sha256: str
    revision: str | None = None
    scale: float | None = None
    token: str | None = None
    image: str | None = None
    preprocessor: str | None = None
    encoder: ImageEncoder | None = None
