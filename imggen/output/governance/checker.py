"""An organisation's own program that looks at every picture before it is written."""

import os
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Final

from imggen.output import files
from imggen.plan.policy.policy import Refusal

RULE: Final = "safety.image_checker"
PASSED: Final = 0
REFUSED: Final = 1

_LONGEST_REASON: Final = 200


def check(picture: bytes, command: Sequence[str], *, folder: Path | None = None, seconds: float = 60) -> Refusal | None:
    """Return why the program `command` refuses the encoded `picture`, None where it passes it.

    The program is started without a shell and gets the picture's bytes on standard input. Exit 0 passes; exit 1
    refuses, with the first line of standard output as the reason. Everything else refuses as well: another exit code,
    a program that is missing or ended by a signal, and one that takes longer than `seconds`, which is ended then. A
    program that is named by a relative path is looked for in `folder`.
    """
    program = command[0]
    if folder is not None and (os.sep in program or (os.altsep or os.sep) in program):
        program = str(folder / program)
    words = [program, *command[1:]]
    with tempfile.TemporaryFile() as out:
        try:
            code = _run(words, picture, out, seconds)
        except subprocess.TimeoutExpired:
            return _failed(f"it took longer than {seconds:g} seconds", words)
        except (OSError, ValueError) as error:
            return _failed(files.reason(error), words)
        if code == PASSED:
            return None
        if code == REFUSED:
            return Refusal(rule=RULE, message=f"the image checker refuses the picture: {_reason(out)}")
        return _failed(f"it ended with {code}" if code >= 0 else f"it was ended by signal {-code}", words)


def _run(words: list[str], picture: bytes, out: IO[bytes], seconds: float) -> int:
    # A group of its own, so that what the program starts ends with it.
    started = subprocess.Popen(  # noqa: S603 - the policy's own words, and no shell
        words, stdin=subprocess.PIPE, stdout=out, stderr=subprocess.DEVNULL, start_new_session=True
    )
    with started:
        try:
            started.communicate(picture, timeout=seconds)
        except BaseException:
            _end(started)
            raise
    return started.returncode


def _end(started: "subprocess.Popen[bytes]") -> None:
    with suppress(OSError):
        if hasattr(os, "killpg"):
            os.killpg(started.pid, signal.SIGKILL)
    started.kill()


def _reason(out: IO[bytes]) -> str:
    out.seek(0)
    first = out.readline(4 * _LONGEST_REASON).decode(errors="replace").strip()
    return first[:_LONGEST_REASON] or "it gives no reason"


def _failed(why: str, words: Sequence[str]) -> Refusal:
    return Refusal(
        rule=RULE,
        message=f"the image checker {words[0]!r} gave no verdict, so the picture is refused: {why}",
        hint="exit 0 passes, exit 1 refuses; the encoded picture comes on standard input",
    )
