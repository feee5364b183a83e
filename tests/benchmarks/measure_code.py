"""Measure the code: how it is sorted into folders, how long and how dense its functions are, what is told twice.

    python tests/benchmarks/measure_code.py            # this checkout
    python tests/benchmarks/measure_code.py DIR --json # another one, as JSON

A *floor* of a folder is a step of the longest chain of imports among the modules in it. An *arrow up* is an import
from a lower layer to a higher one, at the top of a file or inside a function. A *line of code* is no blank line, no
comment and no docstring.
"""

import argparse
import ast
import json
import tokenize
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from statistics import median

ROOT = Path(__file__).parents[2]
LAYERS = (
    ("cli",),
    ("tasks",),
    ("training", "evaluation"),
    ("engine",),
    ("store",),
    ("host", "inputs", "data", "output"),
    ("plan",),
    ("errors",),
)
POOR = ("each", "found", "told")
LONG = 12

Function = ast.FunctionDef | ast.AsyncFunctionDef


def modules(root: Path) -> dict[str, ast.Module]:
    """Return the syntax tree of every module, by its dotted name."""
    trees = {}
    for path in sorted((root / "imggen").rglob("*.py")):
        name = ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")
        trees[name] = ast.parse(path.read_text(encoding="utf-8"))
    return trees


def imports(name: str, tree: ast.Module, known: frozenset[str]) -> Iterator[str]:
    """Yield the modules of imggen that a module imports."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "imggen":
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                target = whole if whole in known else node.module
                if target != name:
                    yield target


def layer(module: str) -> int | None:
    """Return the number of a module's layer from the top, None for the package itself and the built-in models."""
    part = module.split(".")[1] if "." in module else ""
    return next((number for number, parts in enumerate(LAYERS) if part in parts), None)


def floors(folder: str, names: list[str], arrows: dict[str, set[str]]) -> int:
    """Return the number of modules in the longest chain of imports within a folder."""
    inside = {name for name in names if name.rpartition(".")[0] == folder}

    @cache
    def height(name: str) -> int:
        return 1 + max((height(target) for target in arrows[name] & inside if target != name), default=0)

    return max(map(height, inside), default=0)


def code_lines(path: Path) -> set[int]:
    """Return the numbers of the lines that hold code."""
    silent = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENCODING}
    held: set[int] = set()
    with path.open("rb") as file:
        for token in tokenize.tokenize(file.readline):
            if token.type not in silent and token.type != tokenize.ENDMARKER:
                held.update(range(token.start[0], token.end[0] + 1))
    return held - _docstring_lines(ast.parse(path.read_text(encoding="utf-8")))


def _docstring_lines(tree: ast.Module) -> set[int]:
    lines: set[int] = set()
    for node in ast.walk(tree):
        first = node.body[0] if isinstance(node, ast.Module | ast.ClassDef | Function) and node.body else None
        if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
            lines.update(range(first.lineno, (first.end_lineno or first.lineno) + 1))
    return lines


def functions(tree: ast.Module) -> list[Function]:
    """Return every function and method, nested ones too."""
    return [node for node in ast.walk(tree) if isinstance(node, Function)]


def length(function: Function) -> int:
    """Return how many lines a function takes, from `def` to its last."""
    return (function.end_lineno or function.lineno) - function.lineno + 1


def inner_imports(tree: ast.Module) -> int:
    """Return how many import statements stand inside functions."""
    lines = {
        node.lineno
        for function in functions(tree)
        for node in ast.walk(function)
        if isinstance(node, ast.Import | ast.ImportFrom)
    }
    return len(lines)


def measure(root: Path) -> dict[str, object]:
    """Return the figures of a checkout."""
    trees = modules(root)
    known = frozenset(trees)
    arrows = {name: set(imports(name, tree, known)) for name, tree in trees.items()}
    paths = sorted((root / "imggen").rglob("*.py"))
    every = [function for tree in trees.values() for function in functions(tree)]
    private = [function for function in every if function.name.startswith("_") and not function.name.endswith("__")]
    long = [function for function in private if length(function) > LONG]
    lengths = sorted(map(length, every))
    lines = {path: code_lines(path) for path in paths}
    nodes = sum(sum(1 for _ in ast.walk(tree)) for tree in trees.values())
    return {
        "lines": sum(len(path.read_text(encoding="utf-8").splitlines()) for path in paths),
        "lines of code": sum(map(len, lines.values())),
        "modules": len(trees),
        "folders": _folders(paths, root, arrows),
        "arrows": sum(map(len, arrows.values())),
        "arrows up": _arrows_up(arrows),
        "functions": len(every),
        "function length, median": median(lengths),
        "function length, 95 %": lengths[int(0.95 * len(lengths))],
        "function length, longest": lengths[-1],
        "syntax nodes a line of code": round(nodes / sum(map(len, lines.values())), 1),
        "private functions with a docstring, %": _share(private),
        f"private functions over {LONG} lines with a docstring, %": _share(long),
        "classes defined twice": _twice(trees),
        "imports inside functions, cli": _inner(trees, cli=True),
        "imports inside functions, elsewhere": _inner(trees, cli=False),
        "poor names": dict(sorted(_poor(trees).items())),
    }


def _folders(paths: list[Path], root: Path, arrows: dict[str, set[str]]) -> dict[str, dict[str, int]]:
    folders = {}
    for folder in sorted({path.parent for path in paths}):
        name = ".".join(folder.relative_to(root).parts)
        files = [path for path in folder.glob("*.py") if path.name != "__init__.py"]
        if files:
            folders[name] = {"modules": len(files), "floors": floors(name, list(arrows), arrows)}
    return folders


def _arrows_up(arrows: dict[str, set[str]]) -> list[str]:
    up = []
    for name, targets in sorted(arrows.items()):
        here = layer(name)
        for target in sorted(targets):
            there = layer(target)
            if here is not None and there is not None and there < here:
                up.append(f"{name} -> {target}")
    return up


def _share(chosen: list[Function]) -> int:
    return round(100 * sum(ast.get_docstring(function) is not None for function in chosen) / max(len(chosen), 1))


def _twice(trees: dict[str, ast.Module]) -> list[str]:
    names = Counter(node.name for tree in trees.values() for node in ast.walk(tree) if isinstance(node, ast.ClassDef))
    return sorted(name for name, number in names.items() if number > 1)


def _inner(trees: dict[str, ast.Module], *, cli: bool) -> int:
    return sum(inner_imports(tree) for name, tree in trees.items() if name.startswith("imggen.cli") == cli)


def _poor(trees: dict[str, ast.Module]) -> Counter[str]:
    return Counter(
        node.id for tree in trees.values() for node in ast.walk(tree) if isinstance(node, ast.Name) and node.id in POOR
    )


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", nargs="?", type=Path, default=ROOT, help="a checkout; this one when left out")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    figures = measure(options.root)
    if options.json:
        print(json.dumps(figures, indent=2))
        return
    for name, value in figures.items():
        if name == "folders" and isinstance(value, dict):
            print("modules and floors, by folder:")
            for folder, sizes in value.items():
                print(f"  {folder:<36} {sizes['modules']:>3} {sizes['floors']:>3}")
        else:
            print(f"{name}: {', '.join(value) or 'none' if isinstance(value, list) else value}")


if __name__ == "__main__":
    main()
