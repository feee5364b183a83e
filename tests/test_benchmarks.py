"""The scripts that are run by hand: that what they import is where they look for it."""

import ast
import importlib.util
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[1]
SCRIPTS = sorted((CHECKOUT / "tests" / "benchmarks").glob("*.py"))
OWN = {"imggen", "tests", *(path.stem for path in (CHECKOUT / "tests").rglob("*.py"))} - {"__init__", "conftest"}


def imported(tree):
    """The modules of this checkout that a script imports, by their whole names."""
    for node in ast.walk(tree):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module]
        yield from (name for name in names if name.split(".")[0] in OWN)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_a_script_imports_modules_that_are_there(script):
    for name in imported(ast.parse(script.read_text(encoding="utf-8"))):
        assert importlib.util.find_spec(name) is not None, name
