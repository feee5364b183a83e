"""The commands about the audit log."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from imggen.cli import console, manual, options
from imggen.cli.options import argument, option
from imggen.errors import CheckError

if TYPE_CHECKING:
    from imggen.output.governance.audit import ChainCheck

audit = manual.group("Check the audit log: what was made and what was refused.")

Log = Annotated[Path, argument("LOG", "An audit log, such as audit.jsonl.")]
Head = Annotated[str | None, option("--head SHA256", "Head hash that was kept elsewhere; it must be in the chain.")]


@audit.command("check")
@manual.helped
def check(log: Log, head: Head = None, as_json: options.Json = False) -> None:
    """Check the hash chain of an audit log."""
    console.require_output()
    from imggen.tasks import audit as task

    checked = task.check(log, head=head)
    problem = task.problem(checked, head=head)
    if as_json:
        console.result_json(_facts(log, checked, problem))
    if problem:
        raise CheckError(f"the chain of {log} does not hold: {problem}", hint=_before(checked))
    if not as_json:
        console.result(_summary(checked))


def _facts(log: Path, checked: "ChainCheck", problem: str | None) -> dict[str, object]:
    return {
        "path": str(log),
        "holds": problem is None,
        "problem": problem,
        "first_bad_line": checked.first_bad[0] if checked.first_bad else None,
        "lines": checked.lines,
        "head": checked.head_sha256,
        "head_line": checked.head_line,
        "recovered": checked.recovered,
    }


def _before(checked: "ChainCheck") -> str | None:
    if not checked.lines:
        return None
    lines = "1 sound line comes" if checked.lines == 1 else f"{checked.lines:,} sound lines come"
    return f"{lines} before; the hash of the last is {checked.head_sha256}"


def _summary(checked: "ChainCheck") -> str:
    if not checked.lines:
        return "0 lines, the chain holds"
    lines = "1 line" if checked.lines == 1 else f"{checked.lines:,} lines"
    head = f"; the given head is line {checked.head_line:,}" if checked.head_line else ""
    times = "once, which is" if checked.recovered == 1 else f"{checked.recovered:,} times, all"
    crashes = f"; a crash left something {times} noted" if checked.recovered else ""
    return f"{lines}, head {checked.head_sha256}, the chain holds{head}{crashes}"
