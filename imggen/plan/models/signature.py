"""What a pipeline is made of and what its call takes, read from the installed source without importing it.

Many pipelines end their signature with `**kwargs` and drop what they do not know, so asking them is the only way not
to lose an option; and importing one costs seconds.
"""

import ast
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from imggen.errors import MachineError, ModelError, RequestError

_OPTIONS = {
    "prompt": "PROMPT",
    "negative_prompt": "--negative-prompt",
    "guidance_scale": "--guidance",
    "num_inference_steps": "--steps",
    "width": "--width",
    "height": "--height",
}
_BOUNDARY = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_CLASS = re.compile(r"^class (\w+)", re.MULTILINE)
_SCALE: Final = "vae_scale_factor"


@dataclass(frozen=True, kw_only=True)
class Signature:
    """What the source of a pipeline class says.

    `takes` maps the names that its call takes to their defaults, as far as those are plain values; `needs` are the
    names without a default. `parts` are what its constructor takes, `must_have` those of them without a default.
    `words` are the names that the class's source uses anywhere, and `gives` those of what its call returns. `fold` is
    how many latents, and `step` how many pixels, a picture's edges are held to be a multiple of, 1 where it does not
    say.
    `bases` are the names of the classes that it is made of.
    `sample_size` is the edge that it draws in latents where its model's config does not say one.
    """

    takes: Mapping[str, object]
    needs: frozenset[str]
    parts: tuple[str, ...]
    must_have: frozenset[str]
    words: frozenset[str]
    gives: frozenset[str]
    fold: int
    step: int
    sample_size: int | None
    bases: tuple[str, ...] = ()


def parameters(pipeline: str, *, folder: Path | None = None) -> frozenset[str]:
    """Return the names that `pipeline`'s call takes, without `self` and without what `**kwargs` would swallow.

    `folder` is the diffusers package, by default the installed one. Raise MachineError where there is none, ModelError
    where it has no such pipeline.
    """
    signature = read(pipeline, folder=folder)
    if signature is not None:
        return frozenset(signature.takes)
    raise ModelError(
        f"the installed diffusers has no pipeline {pipeline!r}",
        hint="pip install --upgrade diffusers, or another model",
    )


def check(arguments: Iterable[str], pipeline: str, *, folder: Path | None = None) -> None:
    """Raise RequestError for the first of `arguments` that `pipeline`'s call would not take."""
    taken = parameters(pipeline, folder=folder)
    for name in arguments:
        if name not in taken:
            option = _OPTIONS.get(name, name)
            raise RequestError(f"{pipeline} takes no {name!r}", hint=f"leave {option} out")


def read(pipeline: str, *, folder: Path | None = None) -> Signature | None:
    """Return what the source of `pipeline` says, None where the package in `folder` has no such pipeline to call.

    `folder` is the diffusers package, by default the installed one; raise MachineError where there is none.
    """
    return _read(pipeline, _package() if folder is None else folder)


@cache
def _read(pipeline: str, package: Path) -> Signature | None:
    path = _place(package, pipeline) if pipeline.isidentifier() else None
    node = None if path is None else _find_class(path, pipeline)
    return None if node is None else _described(node)


def _package() -> Path:
    spec: ModuleSpec | None = find_spec("diffusers")
    if spec is None or spec.origin is None:
        raise MachineError("diffusers is not installed", hint="pip install diffusers")
    return Path(spec.origin).parent


def _place(package: Path, pipeline: str) -> Path | None:
    """Return the file of a class: the one that diffusers' naming rule points to, else any that has it."""
    words = _BOUNDARY.sub("_", pipeline.removesuffix("Pipeline")).lower()
    for path in (package / "pipelines").rglob(f"pipeline_{words}.py"):
        if pipeline in _classes(path):
            return path
    return _places(package).get(pipeline)


@cache
def _places(package: Path) -> dict[str, Path]:
    paths = sorted((package / "pipelines").rglob("pipeline_*.py"))
    return {name: path for path in paths for name in _classes(path)}


def _classes(path: Path) -> list[str]:
    return _CLASS.findall(path.read_text(encoding="utf-8"))


def _find_class(path: Path, pipeline: str) -> ast.ClassDef | None:
    parsed = ast.parse(path.read_text(encoding="utf-8"))
    return next((node for node in parsed.body if isinstance(node, ast.ClassDef) and node.name == pipeline), None)


def _described(pipeline: ast.ClassDef) -> Signature | None:
    """Return what the source of a pipeline class says, None for a class that cannot be called."""
    methods = {method.name: method for method in pipeline.body if isinstance(method, ast.FunctionDef)}
    call = methods.get("__call__")
    if call is None:
        return None
    takes = _arguments(call)
    parts = _arguments(methods["__init__"]) if "__init__" in methods else {}
    nodes = list(ast.walk(pipeline))
    folds, steps = zip(*_multiples(nodes), (1, 1), strict=True)
    return Signature(
        takes={name: _plain(default) for name, default in takes.items()},
        needs=frozenset(name for name, default in takes.items() if default is None),
        parts=tuple(parts),
        must_have=frozenset(name for name, default in parts.items() if default is None),
        words=frozenset(methods) | {node.attr for node in nodes if isinstance(node, ast.Attribute)},
        gives=frozenset(_results(call)),
        fold=max(folds),
        step=max(steps),
        sample_size=_sample_size(nodes),
        bases=tuple(base.id for base in pipeline.bases if isinstance(base, ast.Name)),
    )


def _arguments(function: ast.FunctionDef) -> dict[str, ast.expr | None]:
    """Return the names that a method takes and the expressions of their defaults, None where there is none."""
    positional = [*function.args.posonlyargs, *function.args.args]
    bare = len(positional) - len(function.args.defaults)
    defaults: list[ast.expr | None] = [*([None] * bare), *function.args.defaults, *function.args.kw_defaults]
    named = [*positional, *function.args.kwonlyargs]
    return {argument.arg: default for argument, default in zip(named, defaults, strict=True) if argument.arg != "self"}


def _plain(default: ast.expr | None) -> object:
    try:
        return None if default is None else ast.literal_eval(default)
    except ValueError:
        return None


def _results(call: ast.FunctionDef) -> Iterator[str]:
    """Yield the names of what a call returns; outputs that are built without names are told by their class."""
    for node in ast.walk(call):
        if isinstance(node, ast.Return) and isinstance(node.value, ast.Call):
            yield from (keyword.arg for keyword in node.value.keywords if keyword.arg)
            if isinstance(node.value.func, ast.Name) and node.value.func.id == "ImagePipelineOutput":
                yield "images"


def _multiples(nodes: Iterable[ast.AST]) -> Iterator[tuple[int, int]]:
    """Yield what edges are divided by, be it to check them or to round them, as (latents, pixels)."""
    for node in nodes:
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mod | ast.FloorDiv) and _is_edge(node.left):
            yield _latents(node.right), _pixels(node.right)


def _is_edge(node: ast.expr) -> bool:
    inner = node.args[0] if isinstance(node, ast.Call) and len(node.args) == 1 else node
    return isinstance(inner, ast.Name) and inner.id in ("height", "width")


def _latents(node: ast.expr) -> int:
    """Return n for `self.vae_scale_factor * n`, and 1 for what is no multiple of the autoencoder's scale."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
        sides = (node.left, node.right)
        if any(isinstance(side, ast.Attribute) and side.attr.startswith(_SCALE) for side in sides):
            return max(map(_pixels, sides))
    return 1


def _pixels(node: ast.expr) -> int:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, int) and node.value > 0 else 1


def _sample_size(nodes: Iterable[ast.AST]) -> int | None:
    for node in nodes:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Attribute):
            constants = [one.value for one in ast.walk(node.value) if isinstance(one, ast.Constant)]
            whole = [one for one in constants if type(one) is int]
            if node.targets[0].attr == "default_sample_size" and whole:
                return whole[-1]
    return None
