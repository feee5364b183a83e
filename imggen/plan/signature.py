"""What a pipeline's call takes, read from the installed source without importing it.

Many pipelines end their signature with `**kwargs` and drop what they do not know, so asking them is the only way not
to lose an option; and importing one costs seconds.
"""

import ast
import re
from collections.abc import Iterable
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path

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


def parameters(pipeline: str, *, folder: Path | None = None) -> frozenset[str]:
    """Return the names that `pipeline`'s call takes, without `self` and without what `**kwargs` would swallow.

    `folder` is the diffusers package, by default the installed one. Raise MachineError where there is none, ModelError
    where it has no such pipeline.
    """
    package = _package() if folder is None else folder
    for path in _candidates(package, pipeline):
        call = _find_call(path, pipeline)
        if call is not None:
            taken = (*call.args.posonlyargs, *call.args.args, *call.args.kwonlyargs)
            return frozenset(each.arg for each in taken) - {"self"}
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


def _package() -> Path:
    spec: ModuleSpec | None = find_spec("diffusers")
    if spec is None or spec.origin is None:
        raise MachineError("diffusers is not installed", hint="pip install diffusers")
    return Path(spec.origin).parent


def _candidates(package: Path, pipeline: str) -> list[Path]:
    """Return the file that diffusers' naming rule points to, then every other one."""
    words = _BOUNDARY.sub("_", pipeline.removesuffix("Pipeline")).lower()
    named = f"pipeline_{words}.py"
    paths = sorted((package / "pipelines").rglob("pipeline_*.py"))
    return sorted(paths, key=lambda path: path.name != named)


def _find_call(path: Path, pipeline: str) -> ast.FunctionDef | None:
    source = path.read_text(encoding="utf-8")
    if not re.search(rf"^class {re.escape(pipeline)}\b", source, re.MULTILINE):
        return None
    for node in ast.parse(source).body:
        if isinstance(node, ast.ClassDef) and node.name == pipeline:
            return next(
                (each for each in node.body if isinstance(each, ast.FunctionDef) and each.name == "__call__"), None
            )
    return None
