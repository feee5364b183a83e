"""How a picture says what it is, beside its metadata's level: what was asked, and what is decided."""

from collections.abc import Container
from dataclasses import dataclass
from typing import Final, Literal

from imggen.errors import RequestError

Watermarking = Literal["auto", "on", "off"]
Signing = Literal["auto", "on", "off"]
PromptRecord = Literal["full", "hash", "omit"]
Mining = Literal["allowed", "constrained", "not-allowed"]

LONGEST_LABEL: Final = 40
LONGEST_ALT: Final = 4000

_SAID: Final = ("alt", "record_prompt", "training_mining")


@dataclass(frozen=True, kw_only=True)
class MarkingPlan:
    """What is done so that a picture says what it is.

    `watermark` `auto` marks the pictures that can carry a mark unseen; `sign` `auto` signs where a key is set up.
    `label` is text drawn into a corner, empty for none. `prompt` says how the prompt is recorded, `alt` is the
    alternative text, `mining` what the picture may be used for by those who train models, None where that is not said.
    """

    watermark: Watermarking = "auto"
    sign: Signing = "auto"
    label: str = ""
    prompt: PromptRecord = "full"
    alt: str = ""
    mining: Mining | None = None


@dataclass(frozen=True, kw_only=True)
class MarkingRequest:
    """What any request for pictures says of marks and rules: None means that nobody said.

    The names are those of the options, but for `consent` (`--i-have-rights`). `policy` is the file whose rules hold.
    """

    watermark: Watermarking | None = None
    sign: Signing | None = None
    label: str | None = None
    record_prompt: PromptRecord | None = None
    alt: str | None = None
    training_mining: Mining | None = None
    policy: str | None = None
    consent: bool | None = None


def choose(asked: MarkingRequest, *, metadata: str, typed: Container[str]) -> MarkingPlan:
    """Return the plan for what was asked; raise RequestError for a label or a text that cannot be written.

    `metadata` is the level of what the file says. Of what was `typed`, nothing is dropped in silence.
    """
    if asked.label is not None and not asked.label.strip() and "label" in typed:
        raise RequestError(f"--label {asked.label!r} has no letters", hint="--label AI, or leave it out")
    for name in _SAID if metadata == "none" else ():
        signed = name == "training_mining" and asked.sign == "on"
        if name in typed and getattr(asked, name) is not None and not signed:
            option = f"--{name.replace('_', '-')}"
            message = f"{option} goes into the metadata, and --metadata none leaves these out"
            raise RequestError(message, hint=f"leave {option} out")
    _check("--label", asked.label or "", LONGEST_LABEL, lines=False)
    _check("--alt", asked.alt or "", LONGEST_ALT, lines=True)
    return MarkingPlan(
        watermark=asked.watermark or "auto",
        sign=asked.sign or "auto",
        label=(asked.label or "").strip(),
        prompt=asked.record_prompt or "full",
        alt=(asked.alt or "").strip(),
        mining=asked.training_mining,
    )


def _check(option: str, text: str, longest: int, *, lines: bool) -> None:
    if len(text) > longest:
        raise RequestError(f"{option} has {len(text):,} characters; at most {longest:,} are taken")
    if not all(character.isprintable() or (lines and character in "\n\t") for character in text):
        raise RequestError(f"{option} {text[:LONGEST_LABEL]!r} holds characters that cannot be shown")
    if not lines and not text.isascii():
        strange = next(character for character in text if not character.isascii())
        raise RequestError(f"{option} {text!r}: the letters of the label have no {strange!r}", hint=f"{option} AI")
