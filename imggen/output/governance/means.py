"""By whose means a picture is marked, and under whose rules: keys, a policy, and the log that tells of it."""

from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Literal

from PIL import Image

from imggen.errors import CheckError, ImggenError
from imggen.output.governance import audit
from imggen.output.governance.audit import AuditEntry, Output
from imggen.output.provenance.keys import Identity
from imggen.output.provenance.signing import Parent
from imggen.output.watermark.marking import MarkRequest
from imggen.plan.policy.policy import Policy, Refusal
from imggen.plan.schema.request import OutputPlan


@dataclass(frozen=True, kw_only=True)
class Journal:
    """A log, and what is known of the picture before it is made."""

    path: Path
    entry: AuditEntry


@dataclass(frozen=True, kw_only=True)
class LoggedPicture:
    """What the log tells of a picture that was made."""

    path: str
    sha256: str
    guid: str = ""
    watermark: str = ""
    marks: tuple[str, ...] = ()
    unmarked: str = ""
    recipe_sha256: str | None = None


@dataclass(frozen=True, kw_only=True)
class WriteContext:
    """What a picture's plan does not hold: who signs, what is kept to, and what is known of where it comes from.

    `where` (mode L) is 0 at pixels that were given and must come back bit for bit; `parents` are the given files.
    `subject` is what messages call the policy, `folder` is its own. `created` is the time to record; without it, now or
    SOURCE_DATE_EPOCH.
    """

    identity: Identity | None = None
    policy: Policy | None = None
    subject: str = "the policy"
    folder: Path | None = None
    journal: Journal | None = None
    where: Image.Image | None = None
    parents: tuple[Parent, ...] = ()
    created: datetime | None = None

    def wish(self, output: OutputPlan) -> MarkRequest:
        """Return what marks the picture is to have."""
        telling = output.metadata == "full" and output.marking.prompt == "full"
        wish = MarkRequest(plan=output.marking, where=self.where, telling=telling)
        if self.identity is None:
            return wish
        return replace(wish, key=self.identity.watermark_key, organisation=self.identity.organisation)

    def refuse(self, refusal: Refusal | None) -> None:
        """Log the refusal and raise it as CheckError; return where there is none."""
        if refusal is None:
            return
        self._add("deny", rule=refusal.rule, reason=refusal.message)
        raise CheckError(f"{refusal.message} ({self.subject}: {refusal.rule})", hint=refusal.hint)

    def log(self, picture: LoggedPicture) -> None:
        """Add the line of a picture that was made."""
        guid, watermark, unmarked = (text or None for text in (picture.guid, picture.watermark, picture.unmarked))
        output = Output(path=picture.path, sha256=picture.sha256, guid=guid, watermark=watermark)
        self._add("allow", output=output, marks=picture.marks, unmarked=unmarked, recipe_sha256=picture.recipe_sha256)

    def _add(self, decision: Literal["allow", "deny"], **facts: object) -> None:
        if self.journal is None:
            return
        entry = replace(self.journal.entry, decision=decision, **facts)  # type: ignore[arg-type]  # an entry's own names
        try:
            audit.append(self.journal.path, entry)
        except ImggenError as error:
            what = "the refusal" if decision == "deny" else "the picture"
            raise type(error)(f"{what} could not be logged: {error.message}", hint=error.hint) from error


NONE = WriteContext()
