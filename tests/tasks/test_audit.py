import pytest

from imggen.errors import RequestError
from imggen.output.governance import audit
from imggen.output.governance.audit import AuditEntry
from imggen.tasks import audit as task


@pytest.fixture
def log(tmp_path):
    path = tmp_path / "audit.jsonl"
    audit.append(path, AuditEntry(decision="allow", action="generate"))
    audit.append(path, AuditEntry(decision="deny", action="generate"))
    return path


def test_a_whole_log_has_no_problem(log):
    checked = task.check(log)
    assert (checked.lines, task.problem(checked)) == (2, None)
    found = task.check(log, head=f" {checked.head_sha256.upper()}\n")
    assert (found.head_line, task.problem(found, head=checked.head_sha256)) == (2, None)


def test_the_first_bad_line_comes_before_a_missing_head(log):
    lines = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(lines[1])
    checked = task.check(log, head="0" * 64)
    assert task.problem(checked, head="0" * 64).startswith("line 1 has number 2")


def test_another_logs_head_is_not_found(log):
    checked = task.check(log, head="0" * 64)
    assert "not in it" in task.problem(checked, head="0" * 64)


@pytest.mark.parametrize("head", ["", "12ab", "g" * 64, "0" * 65])
def test_what_is_no_hash_is_refused(log, head):
    with pytest.raises(RequestError, match="not a SHA-256"):
        task.check(log, head=head)
