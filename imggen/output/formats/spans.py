"""Stretches of bytes: which of them lie over others."""

from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass

Span = tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class Held:
    """Bytes that something else holds, as stretches in order that do not touch."""

    starts: tuple[int, ...]
    ends: tuple[int, ...]

    def touches(self, span: Span) -> bool:
        """Return whether any byte of the span, from its first to before its second number, is held."""
        before = bisect_left(self.starts, span[1]) - 1
        return span[0] < span[1] and before >= 0 and self.ends[before] > span[0]


def joined(spans: Iterable[Span]) -> list[Span]:
    """Return the same bytes in order, as spans that do not touch; empty ones are none."""
    found: list[Span] = []
    for start, end in sorted(span for span in spans if span[0] < span[1]):
        if found and start <= found[-1][1]:
            found[-1] = found[-1][0], max(end, found[-1][1])
        else:
            found.append((start, end))
    return found


def hold(spans: Iterable[Span]) -> Held:
    """Return what the spans hold together."""
    found = joined(spans)
    return Held(starts=tuple(start for start, _ in found), ends=tuple(end for _, end in found))
