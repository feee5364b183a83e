"""Single files of weights before torch sees them: what they are, and what model they make with a base.

What a file lacks (configs, tokenizers, a scheduler, often the text encoders) comes from a base: a model in the format
of diffusers. What tells a file's kind is in `plan/checkpoint.py`.
"""

import importlib.util
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, get_args

from imggen.errors import MachineError, ModelError
from imggen.plan.models import checkpoint
from imggen.plan.models.checkpoint import FileKind
from imggen.plan.schema.machine import Dtype
from imggen.plan.schema.request import ModelFacts, SingleFile
from imggen.store import gguf_header, pickles, weights
from imggen.store.weights import AccessRules, Header

SUFFIXES: Final = (".safetensors", ".gguf", *weights.PICKLE_SUFFIXES)
# What checks pictures comes with folders only: whoever makes a single file leaves it out.
LEFT_OUT: Final = ("safety_checker", "feature_extractor", "image_encoder")
# The types that diffusers can compute with; see diffusers.quantizers.gguf.utils.
_COMPUTED: Final = frozenset(
    ("F32", "F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K")
) | {"IQ4_NL", "IQ4_XS"}
_EIGHT_BITS: Final = ("F8_E4M3", "F8_E5M2")


@dataclass(frozen=True, kw_only=True)
class OpenedFile:
    """A single file whose header was read: its kind, and the names of the tensors of each component that it holds."""

    reference: str
    path: Path
    header: Header
    kind: FileKind
    parts: dict[str, tuple[str, ...]]
    pickle: bool = False


def read(path: Path, reference: str, terms: AccessRules) -> OpenedFile:
    """Return what the single file `path` is, from its header alone.

    Raise ModelError where it is damaged, no model, a pickle that `terms` forbid or GGUF that diffusers cannot load, and
    MachineError where the package for GGUF is missing.
    """
    pickle = path.suffix.lower() in weights.PICKLE_SUFFIXES
    if pickle and not terms.allow_pickle:
        raise pickles.refusal(reference)
    header = _header(path, pickle=pickle)
    kind = checkpoint.tell(reference, header.shapes)
    if gguf_header.is_gguf(path):
        _check_gguf(reference, header, kind)
    return OpenedFile(
        reference=reference,
        path=path.resolve(),
        header=header,
        kind=kind,
        parts=checkpoint.parts(kind, header.shapes),
        pickle=pickle,
    )


def _header(path: Path, *, pickle: bool) -> Header:
    if gguf_header.is_gguf(path):
        return gguf_header.read(path)
    if not pickle:
        return weights.read_header(path)
    return pickles.header(path)


def _check_gguf(reference: str, header: Header, kind: FileKind) -> None:
    """Raise for a GGUF file that diffusers cannot compute with, or whose package is missing."""
    if kind.gguf_refusal:
        raise ModelError(
            f"{reference}: {kind.gguf_refusal}", hint="take the same model as safetensors, or --quantize int8"
        )
    other = sorted(set(header.dtype_bytes) - _COMPUTED)
    if other:
        raise ModelError(
            f"{reference} is quantised as {other[0]}, with which diffusers cannot compute",
            hint=f"take the same model as one of {', '.join(sorted(_COMPUTED - {'F32', 'F16', 'BF16'}))}",
        )
    if importlib.util.find_spec("gguf") is None:
        raise MachineError(
            f"{reference} is GGUF, and the package that reads it is missing", hint="pip install 'imggen[gguf]'"
        )


def combine(opened: OpenedFile, base: ModelFacts) -> ModelFacts:
    """Return the facts of the model that the file and the base make; raise ModelError where they do not fit."""
    checkpoint.check_base(opened.reference, opened.kind, base, opened.header.shapes)
    components = {name: component for name, component in base.components.items() if name not in LEFT_OUT}
    from_base = [name for name in base.weight_bytes if name in components and name not in opened.parts]
    in_file = {name: names for name, names in opened.parts.items() if name in components}
    dtypes = {name: _dtypes(opened.header, names) for name, names in in_file.items()}
    used = replace(
        base,
        weight_bytes={name: base.weight_bytes[name] for name in from_base},
        pickles=tuple(path for path in base.pickles if path.split("/", 1)[0] in from_base),
    )
    return ModelFacts(
        reference=opened.reference,
        source="file",
        folder=base.folder,
        pipeline=base.pipeline,
        options=base.options,
        components=components,
        configs={name: config for name, config in base.configs.items() if name in components},
        weight_bytes=used.weight_bytes | {name: counts.total() for name, counts in dtypes.items()},
        stored_dtypes={
            **{name: stored_dtype for name, stored_dtype in base.stored_dtypes.items() if name in from_base},
            **{name: dtype for name, counts in dtypes.items() if (dtype := _known(counts)) is not None},
        },
        shapes={name: shape for name, shape in base.shapes.items() if name in from_base},
        eight_bits=tuple(name for name, counts in dtypes.items() if _most(counts) in _EIGHT_BITS),
        quantised={
            name: _most(counts)
            for name, counts in dtypes.items()
            if gguf_header.is_gguf(opened.path) and _lossy(counts)
        },
        pickles=(*((opened.path.name,) if opened.pickle else ()), *used.pickles),
        single=SingleFile(path=opened.path, kind=opened.kind.title, parts=in_file, base=used),
    )


def _dtypes(header: Header, names: tuple[str, ...]) -> Counter[str]:
    bytes_of: Counter[str] = Counter()
    for name in names:
        bytes_of[weights.DTYPE_NAMES.get(header.dtypes[name], header.dtypes[name])] += header.sizes[name]
    return bytes_of


def _most(dtypes: Counter[str]) -> str:
    return dtypes.most_common(1)[0][0] if dtypes else "float32"


def _known(dtypes: Counter[str]) -> Dtype | None:
    return next((dtype for dtype in get_args(Dtype) if dtype == _most(dtypes)), None)


def _lossy(dtypes: Counter[str]) -> bool:
    return any(dtype not in weights.DTYPE_NAMES.values() and dtype not in gguf_header.PLAIN for dtype in dtypes)
