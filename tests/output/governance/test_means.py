"""By whose means pictures are marked: what is wished for, refused and logged."""

import json
from dataclasses import replace

import pytest

from imggen.errors import CheckError, RequestError
from imggen.output.governance import audit
from imggen.output.governance.audit import AuditEntry
from imggen.output.governance.means import Journal, LoggedPicture, WriteContext
from imggen.output.provenance.keys import Identity
from imggen.plan.policy.policy import Refusal
from imggen.plan.schema.marking import MarkingPlan
from imggen.plan.schema.request import OutputPlan

OUTPUT = OutputPlan(template="x", format="png", quality=100, if_exists="auto", metadata="full")
PICTURE = LoggedPicture(path="a.png", sha256="1a" * 32, guid="urn:uuid:1", marks=("iptc",))
REFUSAL = Refusal(rule="prompt.deny[0]", message="it says so", hint="say something else")


@pytest.fixture
def journal(tmp_path):
    return Journal(path=tmp_path / "audit.jsonl", entry=AuditEntry(decision="allow", action="generate"))


def logged(journal):
    return [json.loads(line) for line in journal.path.read_bytes().splitlines()]


@pytest.mark.parametrize(
    ("level", "prompt", "telling"),
    [("full", "full", True), ("full", "hash", False), ("minimal", "full", False), ("none", "full", False)],
)
def test_only_a_file_that_tells_its_prompt_may_be_named_after_it(level, prompt, telling):
    output = replace(OUTPUT, metadata=level, marking=MarkingPlan(prompt=prompt))
    assert WriteContext().wish(output).telling is telling


def test_marks_are_an_organisations_where_there_is_one():
    own = Identity(organisation="Example Ltd", chain_pem=b"", watermark_key=b"k" * 32)
    wish = WriteContext(identity=own).wish(OUTPUT)
    assert (wish.key, wish.organisation) == (b"k" * 32, "Example Ltd")
    assert (WriteContext().wish(OUTPUT).key, WriteContext().wish(OUTPUT).organisation) == (None, "")


def test_refusal_is_logged_and_raised_with_its_rule(journal):
    by = WriteContext(journal=journal, subject="policy.toml")
    by.refuse(None)
    with pytest.raises(CheckError) as caught:
        by.refuse(REFUSAL)
    assert caught.value.message == "it says so (policy.toml: prompt.deny[0])"
    assert caught.value.hint == "say something else"
    (line,) = logged(journal)
    assert (line["decision"], line["rule"], line["reason"]) == ("deny", "prompt.deny[0]", "it says so")


def test_picture_is_logged_with_what_is_known_of_it(journal):
    WriteContext(journal=journal).log(PICTURE)
    (line,) = logged(journal)
    assert (line["decision"], line["marks"]) == ("allow", ["iptc"])
    assert line["output"] == {"path": "a.png", "sha256": "1a" * 32, "guid": "urn:uuid:1"}
    assert "unmarked" not in line


def test_without_a_log_nothing_is_logged(monkeypatch):
    monkeypatch.setattr(audit, "append", None)
    WriteContext().log(PICTURE)
    with pytest.raises(CheckError):
        WriteContext().refuse(REFUSAL)


@pytest.mark.parametrize(
    ("act", "what"), [(lambda by: by.log(PICTURE), "the picture"), (lambda by: by.refuse(REFUSAL), "the refusal")]
)
def test_line_that_cannot_be_added_says_of_what(journal, act, what):
    journal.path.write_text("mine")
    with pytest.raises(RequestError, match=f"{what} could not be logged: .*not an audit log"):
        act(WriteContext(journal=journal))
