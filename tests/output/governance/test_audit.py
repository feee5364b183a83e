import errno
import hashlib
import json
import os
import random
import signal
import stat
import subprocess
import sys
import time
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import imggen
from imggen.errors import CheckError, ImggenError, RequestError
from imggen.output.governance import audit
from imggen.output.governance.audit import AuditEntry, Input, Model, Output

MOMENT = datetime(2026, 11, 26, 12, 30, 15, 250, tzinfo=UTC)
PICTURE = hashlib.sha256(b"picture").hexdigest()
ALLOWED = AuditEntry(decision="allow", action="generate", output=Output(path="a.png", sha256=PICTURE), marks=("iptc",))
DENIED = AuditEntry(decision="deny", action="generate", rule="prompt.deny[0]", reason="it says so")


@pytest.fixture(autouse=True)
def _nobody_writes(monkeypatch):
    monkeypatch.setattr(audit, "_WRITING_SECONDS", 0)


def clock():
    return MOMENT


def lines(path):
    return path.read_bytes().splitlines(keepends=True)


def told(path):
    return [json.loads(line) for line in lines(path)]


@pytest.fixture
def log(tmp_path):
    path = tmp_path / "audit.jsonl"
    for number in range(6):
        audit.append(path, AuditEntry(decision="allow", action=f"act{number}"), clock=clock)
    return path


def test_a_line_says_what_the_entry_says_and_nothing_empty(tmp_path):
    path = tmp_path / "audit.jsonl"
    head = audit.append(path, ALLOWED, clock=clock)
    (line,) = told(path)
    stated = line.pop("hash")
    assert line == {
        "schema": 1,
        "seq": 1,
        "previous": "0" * 64,
        "time": "2026-11-26T12:30:15.000250Z",
        "imggen": imggen.__version__,
        "decision": "allow",
        "action": "generate",
        "output": {"path": "a.png", "sha256": PICTURE},
        "marks": ["iptc"],
    }
    canonical = json.dumps(line, sort_keys=True, separators=(",", ":")).encode() + b"\n"
    assert stated == hashlib.sha256(canonical).hexdigest()
    assert head == hashlib.sha256(path.read_bytes()).hexdigest()


def test_each_line_holds_the_hash_of_the_bytes_before(log):
    written, said = lines(log), told(log)
    assert [each["seq"] for each in said] == [1, 2, 3, 4, 5, 6]
    hashes = [hashlib.sha256(each).hexdigest() for each in written]
    assert [each["previous"] for each in said] == ["0" * 64, *hashes[:-1]]
    assert audit.verify(log) == audit.ChainCheck(
        lines=6, head_sha256=hashes[-1], first_bad=None, recovered=0, head_line=None
    )


def test_a_line_is_ascii_on_one_line_whatever_it_says(tmp_path):
    path = tmp_path / "audit.jsonl"
    odd = "é\n\"'\u2028\udcff\0🍎"
    audit.append(path, AuditEntry(decision="deny", action=odd, prompt=odd, model=Model(reference=odd), user=odd))
    (raw,) = lines(path)
    assert raw.isascii()
    assert json.loads(raw)["prompt"] == odd
    assert audit.verify(path).first_bad is None


@given(text=st.text(max_size=3_000) | st.just("🍎" * 20_000) | st.just("\0" * 20_000))
@settings(max_examples=20)
def test_the_longest_entry_fits_a_line_and_says_where_it_was_cut(tmp_path_factory, text):
    path = tmp_path_factory.mktemp("log") / "audit.jsonl"
    entry = AuditEntry(
        **dict.fromkeys(("rule", "reason", "prompt", "negative_prompt", "unmarked", "user", "policy_sha256"), text),
        decision="deny",
        action=text,
        model=Model(reference=text, revision=text, sha256=text, license=text),
        inputs=(Input(sha256="0" * 64, source_type=text),) * 100,
        output=Output(path=text, sha256=text, guid=text, watermark=text),
    )
    audit.append(path, entry)
    audit.append(path, DENIED)
    assert audit.verify(path).lines == 2
    assert len(lines(path)[0]) < audit.MAX_LINE_BYTES // 2
    said = told(path)[0]
    assert said["inputs_left_out"] == 84
    assert said["prompt"] == text or said["prompt"].endswith(f" [cut here: {len(text)} characters in all]")


@pytest.mark.skipif(os.name == "nt", reason="permissions of POSIX")
def test_only_the_owner_reads_it(tmp_path):
    path = tmp_path / "audit.jsonl"
    audit.append(path, DENIED)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(0o640)
    audit.append(path, DENIED)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_a_link_is_followed(tmp_path):
    (tmp_path / "logs").mkdir()
    link = tmp_path / "audit.jsonl"
    link.symlink_to(tmp_path / "logs" / "real.jsonl")
    audit.append(link, DENIED)
    audit.append(tmp_path / "logs" / "real.jsonl", DENIED)
    assert audit.verify(link).lines == 2


def test_the_disk_has_it_before_the_call_returns(tmp_path, monkeypatch):
    synced = []
    real = os.fsync
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(os.fstat(descriptor)) or real(descriptor))
    audit.append(tmp_path / "audit.jsonl", DENIED)
    assert [stat.S_ISDIR(each.st_mode) for each in synced] == [True, False]
    assert synced[-1].st_size == (tmp_path / "audit.jsonl").stat().st_size
    synced.clear()
    audit.append(tmp_path / "audit.jsonl", DENIED)
    assert len(synced) == 1


def test_only_the_end_of_a_long_log_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda _: None)
    path = tmp_path / "audit.jsonl"
    for _ in range(900):
        audit.append(path, ALLOWED)
    assert path.stat().st_size > audit._TAIL_BYTES
    counted = []
    real = os.read
    monkeypatch.setattr(os, "read", lambda descriptor, count: counted.append(count) or real(descriptor, count))
    audit.append(path, ALLOWED)
    assert sum(counted) <= audit._TAIL_BYTES
    assert audit.verify(path).lines == 901


# -- what is no log, or cannot be written


@pytest.mark.parametrize(
    "content",
    [b"hello\n", b"hello", b"{}\n", b'{"action":"x"}\n', b"\n", b"\n\n", b"a" * 300_000, b"\0" * 10, b'{"acting":1}'],
)
def test_what_is_no_log_is_refused_and_stays(tmp_path, content):
    path = tmp_path / "notes.txt"
    path.write_bytes(content)
    for call in (lambda: audit.append(path, DENIED), lambda: audit.check_writable(path)):
        with pytest.raises(RequestError, match=r"notes.txt is not an audit log") as caught:
            call()
        assert caught.value.hint == "name another file, or move this one away"
    assert path.read_bytes() == content
    assert audit.verify(path).first_bad[0] == 1


def test_what_is_no_file_is_refused(tmp_path):
    with pytest.raises(RequestError, match="a folder"):
        audit.append(tmp_path, DENIED)
    with pytest.raises(RequestError, match="a folder"):
        audit.verify(tmp_path)
    with pytest.raises(RequestError, match=r"cannot use the audit log .*none: No such file"):
        audit.verify(tmp_path / "none")
    with pytest.raises(RequestError, match="is not a folder") as caught:
        audit.append(tmp_path / "none" / "audit.jsonl", DENIED)
    assert caught.value.hint == f"mkdir -p {tmp_path / 'none'}"
    with pytest.raises(RequestError, match="null"):
        audit.append(tmp_path / "a\0b", DENIED)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names")
def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for call in (lambda path: audit.append(path, DENIED), audit.verify, lambda path: audit.find(path, PICTURE)):
        with pytest.raises(RequestError, match="not a regular file"):
            call(tmp_path / "pipe")


def test_checking_changes_nothing_and_makes_no_log(tmp_path, log):
    before = log.read_bytes()
    audit.check_writable(log)
    assert log.read_bytes() == before
    audit.check_writable(tmp_path / "new.jsonl")
    assert not (tmp_path / "new.jsonl").exists()
    with pytest.raises(RequestError, match="is not a folder"):
        audit.check_writable(tmp_path / "none" / "audit.jsonl")


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write everywhere")
def test_a_log_that_may_not_be_written_is_refused(log):
    log.chmod(0o400)
    with pytest.raises(RequestError, match="Permission denied"):
        audit.check_writable(log)


@pytest.mark.skipif(os.name == "nt", reason="limits of POSIX")
def test_a_full_disk_leaves_the_log_as_it_was(tmp_path, log):
    before = log.read_bytes()
    code = (
        "import resource, signal, sys; from pathlib import Path; from imggen.output.governance import audit\n"
        "from imggen.errors import ImggenError\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({len(before) + 100}, resource.RLIM_INFINITY))\n"
        "try:\n"
        f"    audit.append(Path({str(log)!r}), audit.AuditEntry(decision='deny', action='x'))\n"
        "except ImggenError as error:\n"
        "    sys.exit(f'{error.exit_code} {error.message}')\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert f"1 cannot use the audit log {log}: " in ended.stderr
    assert log.read_bytes() == before


@pytest.mark.parametrize("failure", [None, errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG, errno.EACCES])
def test_a_line_that_was_not_written_whole_is_taken_back(log, monkeypatch, failure):
    before, write = log.read_bytes(), os.write

    def part(descriptor, data):
        write(descriptor, data[:10])
        if failure is not None:
            raise OSError(failure, "the reason")
        return 10

    monkeypatch.setattr(os, "write", part)
    reason = "No space left on device" if failure is None else "the reason"
    with pytest.raises(ImggenError, match=f"cannot use the audit log .*jsonl: {reason}") as caught:
        audit.append(log, DENIED)
    assert isinstance(caught.value, RequestError) == (failure == errno.EACCES)
    assert log.read_bytes() == before


def test_a_log_that_is_read_in_pieces_is_read_whole(log, monkeypatch):
    real = os.read
    monkeypatch.setattr(os, "read", lambda descriptor, count: real(descriptor, min(count, 100)))
    audit.append(log, DENIED)
    assert audit.verify(log).lines == 7


@pytest.mark.parametrize(("name", "most"), [("reason", 1_000), ("prompt", 6_000), ("negative_prompt", 3_000)])
def test_a_text_is_cut_where_its_json_is_longer_than_its_limit(tmp_path, name, most):
    path = tmp_path / "audit.jsonl"
    for length in (most - 2, most - 1):
        audit.append(path, AuditEntry(decision="deny", action="x", **{name: "a" * length}))
    whole, cut = (line[name] for line in told(path))
    assert whole == "a" * (most - 2)
    assert cut == f"{'a' * (most - 60)} [cut here: {most - 1} characters in all]"


@pytest.mark.parametrize(("count", "left_out"), [(16, None), (17, 1)])
def test_the_first_inputs_are_written_and_the_others_counted(tmp_path, count, left_out):
    path = tmp_path / "audit.jsonl"
    inputs = tuple(Input(sha256=f"{number}", source_type="s" * 300) for number in range(count))
    audit.append(path, AuditEntry(decision="deny", action="x", inputs=inputs))
    (line,) = told(path)
    assert [record["sha256"] for record in line["inputs"]] == [str(number) for number in range(16)]
    assert {record["source_type"] for record in line["inputs"]} == {"s" * 140 + " [cut here: 300 characters in all]"}
    assert line.get("inputs_left_out") == left_out


TORN = "is cut off, as a crash leaves it; the next line that is added will note it"
CHANGED = "was changed: it does not match its own hash"


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (b'{"action":"x', TORN),
        (b"hello", TORN),
        (b"hello\n", "is not a line of an audit log"),
        (b'{"action":"x"}\n', CHANGED),
        (b'{"action":"' + b"x" * audit.MAX_LINE_BYTES, CHANGED),
        (b"x" * (audit.MAX_LINE_BYTES + 1), "is not a line of an audit log"),
    ],
)
def test_the_check_says_why_a_line_is_none(log, raw, why):
    with log.open("ab") as file:
        file.write(raw)
    assert audit.verify(log).first_bad == (7, why)


def test_a_lock_that_is_held_too_long_is_said(log, monkeypatch):
    monkeypatch.setattr(audit, "_LOCK_SECONDS", 0.2)
    with audit._locked(log), pytest.raises(ImggenError, match=r"audit\.jsonl was held by another process for 0 sec"):
        audit.append(log, DENIED)


# -- crashes


def test_a_torn_end_is_kept_and_noted_wherever_it_tore(tmp_path, log):
    whole = log.read_bytes()
    last = len(lines(log)[-1])
    torn = tmp_path / "torn.jsonl"
    for cut in range(1, last):
        torn.write_bytes(whole[:-cut])
        before = audit.verify(torn)
        assert (before.lines, before.first_bad is None) == ((6, True) if cut == 1 else (5, False))
        audit.append(torn, DENIED, clock=clock)
        assert torn.read_bytes().startswith(whole[:-cut] + b"\n"), "nothing is dropped"
        after = audit.verify(torn)
        assert (after.first_bad, after.recovered) == (None, 0 if cut == 1 else 1)
        assert after.lines == 7
        torn.unlink()


@given(st.data())
@settings(max_examples=60)
def test_crash_upon_crash_leaves_a_chain_that_holds(kept, data):
    path, left = kept[0], b""
    path.write_bytes(left)
    for _ in range(data.draw(st.integers(1, 6))):
        audit.append(path, DENIED, clock=clock)
        added = len(path.read_bytes()) - len(left)
        path.write_bytes(path.read_bytes()[: len(left) + data.draw(st.integers(1, added))])
        left = path.read_bytes()
    audit.append(path, ALLOWED, clock=clock)
    assert path.read_bytes().startswith(left)
    assert audit.verify(path).first_bad is None
    assert audit.find(path, PICTURE) is not None


def test_the_note_of_a_crash_says_how_many_bytes_it_left_and_their_hash(log):
    log.write_bytes(log.read_bytes()[:-20])
    left = lines(log)[-1] + b"\n"
    audit.append(log, DENIED, clock=clock)
    note = json.loads(lines(log)[-2])
    assert (note["action"], note["seq"]) == ("recovered", 6)
    assert note["remains"] == {"bytes": len(left), "sha256": hashlib.sha256(left).hexdigest()}


@pytest.mark.skipif(os.name == "nt", reason="flags of POSIX")
def test_a_log_is_only_ever_added_to(tmp_path, monkeypatch):
    import fcntl

    flags, write = [], os.write

    def watched(descriptor, data):
        flags.append(fcntl.fcntl(descriptor, fcntl.F_GETFL))
        return write(descriptor, data)

    monkeypatch.setattr(os, "write", watched)
    for _ in range(2):
        audit.append(tmp_path / "audit.jsonl", DENIED)
    assert [bool(flag & os.O_APPEND) for flag in flags] == [True, True]


def test_zeros_that_a_power_cut_leaves_are_noted(log):
    with log.open("ab") as file:
        file.write(b"\0" * 500)
    assert audit.verify(log).first_bad[0] == 7
    audit.append(log, DENIED)
    checked = audit.verify(log)
    assert (checked.lines, checked.recovered, checked.first_bad) == (8, 1, None)


def test_a_note_of_a_crash_is_bound_to_what_was_left(log):
    log.write_bytes(log.read_bytes()[:-20])
    audit.append(log, DENIED)
    whole = log.read_bytes()
    place = whole.index(lines(log)[5]) + 30
    log.write_bytes(whole[:place] + b"X" + whole[place + 1 :])
    assert "remains" in audit.verify(log).first_bad[1] or audit.verify(log).first_bad[0] == 6
    log.write_bytes(b"".join(each for number, each in enumerate(lines(log)) if number != 5))
    assert "remains" in audit.verify(log).first_bad[1]


@pytest.mark.parametrize(
    "added", [b"hello\n", b"hello", b"{}\n", b'{"action":"x"}', b'{"action":"x"}\n', b"X\0X\n", b'{"act ']
)
def test_what_no_crash_leaves_at_the_end_stops_the_log(log, added):
    with log.open("ab") as file:
        file.write(added)
    with pytest.raises(CheckError, match="was changed") as caught:
        audit.append(log, DENIED)
    assert caught.value.hint == f"imggen audit check {log}"
    assert audit.verify(log).first_bad[0] == 7


def test_a_changed_last_line_stops_the_log(log):
    log.write_bytes(log.read_bytes().replace(b'"act5"', b'"act9"'))
    with pytest.raises(CheckError, match="was changed"):
        audit.append(log, DENIED)
    with pytest.raises(CheckError, match="was changed"):
        audit.check_writable(log)


# Writes a few bytes at a time, so that a kill finds it in the middle of a line.
SLOW = """
import os, sys, time
from pathlib import Path
from imggen.output.governance import audit
real = os.write
def write(descriptor, data):
    for first in range(0, len(data), 9):
        real(descriptor, data[first:first + 9])
        time.sleep(0.0005)
    return len(data)
os.write = write
print("ready", flush=True)
while True:
    audit.append(Path(sys.argv[1]), audit.AuditEntry(decision="allow", action="kill", user="x" * 300))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kill -9")
def test_killed_in_the_middle_many_times_it_goes_on_and_the_check_tells_the_truth(tmp_path):
    path = tmp_path / "audit.jsonl"
    chance = random.Random(4)
    torn = 0
    for _ in range(12):
        worker = subprocess.Popen([sys.executable, "-c", SLOW, str(path)], stdout=subprocess.PIPE)
        worker.stdout.readline()
        time.sleep(chance.uniform(0.01, 0.1))
        worker.send_signal(signal.SIGKILL)
        worker.wait()
        worker.stdout.close()
        left = path.read_bytes() if path.exists() else b""
        is_whole = left.endswith(b"\n") or not left
        torn += not is_whole
        checked = audit.verify(path) if path.exists() else None
        assert checked is None or (checked.first_bad is None) == is_whole or left.endswith(b"}")
        audit.append(path, DENIED)
        assert path.read_bytes().startswith(left)
        assert audit.verify(path).first_bad is None
    assert torn > 0, "no kill came in the middle of a line"
    assert audit.verify(path).recovered > 0


MANY = """
import sys
from pathlib import Path
from imggen.output.governance import audit
for number in range(int(sys.argv[2])):
    audit.append(Path(sys.argv[1]), audit.AuditEntry(decision="allow", action="many", user=f"{sys.argv[3]}.{number}"))
"""


def test_many_processes_at_once_leave_one_chain_with_every_line(tmp_path, monkeypatch):
    monkeypatch.setattr(audit, "_WRITING_SECONDS", 0.1)
    path = tmp_path / "audit.jsonl"
    workers = [subprocess.Popen([sys.executable, "-c", MANY, str(path), "50", str(each)]) for each in range(8)]
    while any(worker.poll() is None for worker in workers):
        assert not path.exists() or audit.verify(path).first_bad is None, "also while it is written"
    assert [worker.wait(120) for worker in workers] == [0] * 8
    checked = audit.verify(path)
    assert (checked.lines, checked.first_bad, checked.recovered) == (400, None, 0)
    said = [line["user"] for line in told(path)]
    assert sorted(said) == sorted(f"{worker}.{number}" for worker in range(8) for number in range(50))
    for worker in range(8):
        own = [each for each in said if each.startswith(f"{worker}.")]
        assert own == [f"{worker}.{number}" for number in range(50)], "each process's lines are in their order"


# -- tampering


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """A file, and the bytes of a log of five lines: made once, written there for each example."""
    path = tmp_path_factory.mktemp("log") / "audit.jsonl"
    for number in range(5):
        audit.append(path, AuditEntry(decision="allow", action=f"act{number}", user="me"), clock=clock)
    return path, path.read_bytes()


@given(st.data())
@settings(max_examples=300)
def test_a_changed_byte_is_found_wherever_it_is(kept, data):
    path, before = kept
    place = data.draw(st.integers(0, len(before) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda each: each != before[place]))
    path.write_bytes(before[:place] + bytes([byte]) + before[place + 1 :])
    number, _ = audit.verify(path).first_bad
    assert number == before[:place].count(b"\n") + 1


@given(st.data())
@settings(max_examples=200)
def test_lines_removed_doubled_or_exchanged_are_found(kept, data):
    path, before = kept[0], kept[1].splitlines(keepends=True)
    order = data.draw(st.lists(st.integers(0, 4), max_size=7))
    path.write_bytes(b"".join(before[each] for each in order))
    checked = audit.verify(path)
    # A cut-off end is all that a chain does not show by itself.
    assert (checked.first_bad is None) == (order == list(range(len(order))))
    found = audit.verify(path, head=hashlib.sha256(before[4]).hexdigest())
    assert (found.head_line == 5) == (order[:5] == [0, 1, 2, 3, 4])


@given(st.data())
@settings(max_examples=100)
def test_bytes_put_in_or_taken_out_are_found(kept, data):
    path, before = kept
    start = data.draw(st.integers(0, len(before) - 2))
    end = data.draw(st.integers(start, len(before) - 2))
    put = data.draw(st.binary(max_size=20))
    after = before[:start] + put + before[end:]
    path.write_bytes(after)
    sound = after == before or after + b"\n" == before or before.startswith(after)
    assert sound or audit.verify(path).first_bad is not None


def test_a_line_forged_with_its_own_hash_breaks_the_one_behind(log):
    written = lines(log)
    values = json.loads(written[2]) | {"user": "another"}
    del values["hash"]
    values["hash"] = hashlib.sha256(audit._encoded(values)).hexdigest()
    written[2] = audit._encoded(values)
    log.write_bytes(b"".join(written))
    assert audit.verify(log).first_bad == (4, "does not follow the line before it, which was changed or swapped")


def test_a_start_that_was_cut_off_is_found(log):
    log.write_bytes(b"".join(lines(log)[2:]))
    number, why = audit.verify(log).first_bad
    assert (number, why.startswith("has number 3 in the chain, not 1")) == (1, True)


def test_a_cut_off_end_shows_by_the_head_alone(log):
    head = audit.verify(log).head_sha256
    assert audit.verify(log, head=head).head_line == 6
    audit.append(log, DENIED)
    assert audit.verify(log, head=head).head_line == 6
    log.write_bytes(b"".join(lines(log)[:4]))
    cut = audit.verify(log, head=head)
    assert (cut.first_bad, cut.head_line, cut.lines) == (None, None, 4)


ODD_HASH = rb'{"action":"x","hash":"\ud800","previous":"","schema":1,"seq":1}'


@pytest.mark.parametrize(
    "raw",
    [
        ODD_HASH,
        b'{"action":NaN}',
        b'{"action":"x","action":"x"}',
        b"[" * 100_000,
        b'{"action":"' + b"[" * 60_000,
        b"\xff",
    ],
)
def test_strange_lines_are_found_without_harm(log, raw):
    log.write_bytes(log.read_bytes() + raw + b"\n")
    checked = audit.verify(log)
    assert (checked.lines, checked.first_bad[0]) == (6, 7)


@given(st.binary(max_size=300))
def test_any_bytes_are_read_without_harm(kept, data):
    path, _ = kept
    path.write_bytes(data)
    assert (audit.verify(path).first_bad is None) == (not data)
    assert audit.find(path, PICTURE) is None


def test_a_line_without_end_is_not_held_in_memory(tmp_path):
    path = tmp_path / "audit.jsonl"
    with path.open("wb") as file:
        file.truncate(1 << 33)
    began = time.process_time()
    assert audit.verify(path).first_bad[0] == 1
    with pytest.raises(RequestError, match="not an audit log"):
        audit.append(path, DENIED)
    assert time.process_time() - began < 5


# -- looking up


def test_a_picture_is_found_by_its_hash(log):
    audit.append(log, ALLOWED)
    audit.append(log, AuditEntry(decision="allow", action="later", output=Output(path="b.png", sha256=PICTURE)))
    other = AuditEntry(decision="allow", action="img2img", inputs=(Input(sha256=PICTURE),))
    audit.append(log, other)
    found = audit.find(log, PICTURE)
    assert (found.number, found.seq, found.values["action"]) == (8, 8, "later")
    assert found.sha256 == hashlib.sha256(lines(log)[7]).hexdigest()
    assert audit.find(log, "0" * 64) is None


def test_time_in_the_log_is_the_true_one(tmp_path, monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1")
    path = tmp_path / "audit.jsonl"
    audit.append(path, DENIED)
    assert told(path)[0]["time"] > "2020"


def test_a_picture_is_found_by_its_watermark(log):
    for number, mark in enumerate(("0a1b", "ffff", "0a1b")):
        output = Output(path=f"{number}.png", sha256=PICTURE, watermark=mark)
        audit.append(log, AuditEntry(decision="allow", action="generate", output=output))
    audit.append(log, AuditEntry(decision="allow", action="0a1b"))
    line = audit.find_mark(log, "0a1b")
    assert (line.number, line.values["output"]["path"]) == (9, "2.png")
    assert audit.find_mark(log, "0a1c") is audit.find(log, "0a1b") is None


@pytest.mark.parametrize(("length", "lines"), [(audit.MAX_LINE_BYTES, 1), (audit.MAX_LINE_BYTES + 1, 0)])
def test_a_line_of_the_greatest_length_is_one(tmp_path, length, lines):
    def encoded(values):
        return json.dumps(values, sort_keys=True, separators=(",", ":")).encode() + b"\n"

    values = {"action": "x", "previous": audit.NO_LINE, "schema": 1, "seq": 1, "user": ""}
    signed = values | {"hash": "0" * 64}
    values["user"] = "u" * (length - len(encoded(signed)))
    raw = encoded(values | {"hash": hashlib.sha256(encoded(values)).hexdigest()})
    assert len(raw) == length
    path = tmp_path / "audit.jsonl"
    path.write_bytes(raw)
    assert audit.verify(path).lines == lines
