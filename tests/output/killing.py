"""Writers that are killed at a chosen step, or at any moment, and what they leave behind."""

import hashlib
import io
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from unittest import mock

from PIL import Image
from recipes import APPLE
from textures import textured

from imggen.output import writer
from imggen.output.governance import audit
from imggen.output.governance.means import Journal, WriteContext
from imggen.output.metadata import metadata
from imggen.output.provenance import keys, signing
from imggen.output.provenance.keys import Draft
from imggen.plan.schema.marking import MarkingPlan
from imggen.plan.schema.request import OutputPlan
from imggen.tasks import embed
from imggen.tasks.embed import EmbedRequest

STEPS = ("open", "fdopen", "write", "fsync", "replace", "rename", "link", "unlink", "chmod", "ftruncate", "mkdir")
OUTPUT = OutputPlan(
    template="a.png", format="png", quality=90, if_exists="overwrite", metadata="full", marking=MarkingPlan()
)
ENTRY = audit.AuditEntry(decision="allow", action="generate")


class StopAt:
    """Kills its own process as the step with a number begins, ends or, within a write, is half done."""

    def __init__(self, number: int) -> None:
        self._left = number

    def step(self) -> None:
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        self._left -= 1

    def around(self, do: Callable) -> Callable:
        def done(*given, **named):
            self.step()
            result = do(*given, **named)
            self.step()
            return result

        return done

    def in_halves(self, write: Callable) -> Callable:
        def written(data):
            for part in (data[: len(data) // 2], data[len(data) // 2 :]):
                self.step()
                write(part)
            self.step()
            return len(data)

        return written

    def opened(self, fdopen: Callable) -> Callable:
        def done(*given, **named):
            # Without a buffer, so that each half has left the process.
            file = fdopen(*given, buffering=0, **named)
            held = mock.Mock(wraps=file)
            held.write = self.in_halves(file.write)
            held.__enter__ = lambda _: held
            held.__exit__ = lambda _, *__: file.close()
            return held

        return done

    @contextmanager
    def watching(self) -> Iterator[None]:
        wrapped = {name: self.around(getattr(os, name)) for name in STEPS if name not in ("fdopen", "write")}
        real = os.write
        wrapped["fdopen"] = self.opened(os.fdopen)
        wrapped["write"] = lambda descriptor, data: self.in_halves(lambda part: real(descriptor, part))(data)
        with mock.patch.multiple(os, **wrapped):
            yield


@dataclass
class Found:
    """How often the writer was killed, and what it left."""

    tries: int = 0
    old: int = 0
    new: int = 0
    temporaries: int = 0
    most_temporaries: int = 0
    unlogged: int = 0
    torn: int = 0
    faults: list[str] = field(default_factory=list)


class Bench:
    """A folder with a log, and a way to write: over a signed picture (`write`), into it (`embed`), or a `new` one."""

    def __init__(self, folder: Path, way: str, size: tuple[int, int] = (64, 48)) -> None:
        self._keys = folder / "keys"
        self._identity = keys.load(self._keys) or keys.create(
            self._keys, Draft(organisation="Example Ltd"), check=signing.prove
        )
        self.folder = folder / way
        self.folder.mkdir()
        self.path, self.log = self.folder / "a.png", self.folder / "audit.jsonl"
        self._policy = folder / f"{way}.toml"
        self._policy.write_text(f'schema = 1\n[audit]\nlog = "{way}/audit.jsonl"\n')
        self._way = {"write": self._write, "embed": self._embed, "new": self._write}[way]
        self._kind = way
        self._image = textured(size)
        self._number = 0
        self._write()
        self._first = self.path.read_bytes()
        self._old: bytes | None = self._first

    def _write(self) -> None:
        by = WriteContext(identity=self._identity, journal=Journal(path=self.log, entry=ENTRY))
        told = replace(APPLE, seed=self._number, width=self._image.width, height=self._image.height)
        writer.write(self._image, told, OUTPUT, self.path, by=by)

    def _embed(self) -> None:
        os.environ["IMGGEN_KEYS"] = str(self._keys)
        pairs = (("creator", f"A. B. {self._number}"),)
        list(embed.embed(EmbedRequest(targets=(self.path,), pairs=pairs, policy=str(self._policy))))

    def at_every_step(self) -> Found:
        """Kill the writer at its first step, its second, and so on until one lives."""
        found = Found()
        while os.WIFSIGNALED(self._try(found, StopAt(found.tries), None)[0]):
            pass
        return found

    def at_moments(self, moments: list[float]) -> Found:
        """Kill the writer after each of these shares of the time that it takes."""
        lives = [self._try(Found(), None, None)[1] for _ in range(5)]
        seconds = sorted(lives)[2]
        found = Found()
        for moment in moments:
            self._try(found, None, moment * seconds)
        return found

    def _try(self, found: Found, stop: StopAt | None, seconds: float | None) -> tuple[int, float]:
        self._number += 1
        self._begin_anew()
        start = time.perf_counter()
        child = os.fork()
        if child == 0:
            self._child(stop)
        if seconds is not None:
            time.sleep(seconds)
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        lived = time.perf_counter() - start
        if os.WIFEXITED(status) and os.WEXITSTATUS(status):
            found.faults.append("the writer failed")
        found.tries += 1
        self._look(found)
        return status, lived

    def _begin_anew(self) -> None:
        """Have each try take as long as the others: what is edited in place keeps its parents, and so grows."""
        if self._kind == "new":
            self.path.unlink(missing_ok=True)
            self._old = None
        elif self._kind == "embed":
            self.path.write_bytes(self._first)
            self._old = self._first

    def _child(self, stop: StopAt | None) -> None:
        try:
            if stop is None:
                self._way()
            else:
                with stop.watching():
                    self._way()
        except BaseException as error:  # noqa: BLE001 - a child never goes back into the test
            os.write(2, f"{type(error).__name__}: {error}\n".encode())
            os._exit(3)
        os._exit(0)

    def _look(self, found: Found) -> None:
        left = [each for each in self.folder.iterdir() if each.name.startswith(".imggen-") and each.suffix == ".tmp"]
        others = {each.name for each in self.folder.iterdir()} - {each.name for each in left}
        found.temporaries += len(left)
        found.most_temporaries = max(found.most_temporaries, len(left))
        for each in left:
            each.unlink()
        if not others <= {"a.png", "audit.jsonl", "audit.jsonl.lock"}:
            found.faults.append(f"{sorted(others)} are left")
        data = self.path.read_bytes() if self.path.exists() else None
        if data == self._old:
            found.old += 1
        else:
            found.new += 1
            found.faults += self._why_not_whole(data or b"")
            found.unlogged += audit.find(self.log, hashlib.sha256(data or b"").hexdigest()) is None
            self._old = data
        found.torn += not self.log.read_bytes().endswith(b"\n")
        audit.append(self.log, replace(ENTRY, decision="deny"))
        checked = audit.verify(self.log)
        if checked.first_bad is not None:
            found.faults.append(f"the log breaks: {checked.first_bad}")

    def _why_not_whole(self, data: bytes) -> Iterator[str]:
        facts = metadata.read(data)
        checked = signing.read(data, "png")
        if checked is None or checked.state == "invalid":
            yield f"the new file's signature is {checked and checked.codes}"
        if facts.found is None or facts.found.recipe is None or facts.fits is not True:
            yield "the new file's record is not whole"
        with Image.open(io.BytesIO(data)) as image:
            image.load()
            if image.size != self._image.size:
                yield f"the new file has {image.size} pixels"
