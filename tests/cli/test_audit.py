import json

import pytest

from imggen.output.governance import audit
from imggen.output.governance.audit import AuditEntry


@pytest.fixture
def log(tmp_path):
    path = tmp_path / "audit.jsonl"
    for number in range(3):
        audit.append(path, AuditEntry(decision="allow", action=f"act{number}"))
    return path


def test_a_whole_log_is_told_with_its_head(run, log):
    ended = run("audit", "check", log)
    head = audit.verify(log).head_sha256
    assert (ended.code, ended.err) == (0, "")
    assert ended.lines == [f"3 lines, head {head}, the chain holds"]
    given = run("audit", "check", log, "--head", head.upper())
    assert (given.code, given.lines) == (0, [f"3 lines, head {head}, the chain holds; the given head is line 3"])


def test_the_facts_come_as_json_too(run, log):
    head = audit.verify(log).head_sha256
    assert json.loads(run("audit", "check", log, "--json").out) == {
        "path": str(log),
        "holds": True,
        "problem": None,
        "first_bad_line": None,
        "lines": 3,
        "head": head,
        "head_line": None,
        "recovered": 0,
    }


def test_a_changed_line_exits_with_5_and_is_named(run, log):
    log.write_bytes(log.read_bytes().replace(b"act1", b"act9"))
    ended = run("audit", "check", log)
    assert (ended.code, ended.out) == (5, b"")
    assert f"the chain of {log} does not hold: line 2 was changed" in ended.err
    assert "1 sound line comes before" in ended.err
    as_json = run("audit", "check", log, "--json")
    facts = json.loads(as_json.out)
    assert (as_json.code, facts["holds"], facts["first_bad_line"], facts["lines"]) == (5, False, 2, 1)


def test_a_cut_off_end_exits_with_5_where_the_head_was_kept(run, log):
    head = audit.verify(log).head_sha256
    log.write_bytes(b"".join(log.read_bytes().splitlines(keepends=True)[:2]))
    assert run("audit", "check", log).code == 0
    ended = run("audit", "check", log, "--head", head)
    assert ended.code == 5
    assert "the given head is not in it" in ended.err
    assert json.loads(run("audit", "check", log, "--head", head, "--json").out)["holds"] is False


def test_crashes_that_were_noted_are_told(run, log):
    log.write_bytes(log.read_bytes()[:-30])
    assert run("audit", "check", log).code == 5
    audit.append(log, AuditEntry(decision="deny", action="generate"))
    ended = run("audit", "check", log)
    assert ended.code == 0
    assert ended.lines[0].endswith("the chain holds; a crash left something once, which is noted")


@pytest.mark.parametrize("arguments", [["none.jsonl"], ["."], ["audit.jsonl", "--head", "12ab"]])
def test_what_cannot_be_read_or_is_no_hash_exits_with_2(run, log, arguments):
    ended = run("audit", "check", *arguments)
    assert (ended.code, ended.out) == (2, b"")
    assert arguments[-1] in ended.err


def test_an_empty_log_holds_and_has_no_head(run, tmp_path):
    (tmp_path / "audit.jsonl").touch()
    ended = run("audit", "check", "audit.jsonl")
    assert (ended.code, ended.lines) == (0, ["0 lines, the chain holds"])


def test_the_group_alone_shows_its_commands(run):
    assert "check" in run("audit", "--help").out.decode()
