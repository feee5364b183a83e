"""The table of families: that it is not stale, and that it ticks what is tested."""

import subprocess
import sys
from pathlib import Path

from imggen.plan.generation import capabilities
from imggen.plan.models import catalog
from tests.documents import catalogue

CHECKOUT = Path(__file__).parents[2]


def rows(title):
    """The cells of the table under a heading, without its head."""
    section = catalogue.text().split(f"## {title}\n")[1].split("\n## ")[0]
    lines = [each for each in section.splitlines() if each.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:]]


def test_the_document_says_what_the_catalogue_says():
    document = (CHECKOUT / catalogue.PATH).read_text(encoding="utf-8")
    assert document == catalogue.text(), "run python -m tests.documents.catalogue"


def test_a_family_and_a_task_are_ticked_where_they_are_possible():
    ticked = rows("What each can do")
    assert len(ticked) == len(catalog.FAMILIES)
    for (name, *cells), family in zip(ticked, catalog.FAMILIES, strict=True):
        assert name.startswith(f"`{family.name}`")
        can = capabilities.abilities(family)
        assert [each.startswith("✅") for each in cells] == [each.refusal is None for each in can]
        assert [each.endswith("*") for each in cells] == [each.is_stand_in for each in can]


def test_every_table_has_a_row_per_family():
    for title in ("What suits each", "Models and pipelines"):
        assert [name.split("`")[1] for name, *_ in rows(title)] == [each.name for each in catalog.FAMILIES]


def test_writing_it_imports_nothing_heavy():
    code = (
        "import sys; from tests.documents import catalogue; catalogue.text();"
        "print([name for name in ('torch', 'diffusers', 'numpy', 'PIL') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
