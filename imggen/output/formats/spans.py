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
    stretches: list[Span] = []
    for start, end in sorted(span for span in spans if span[0] < span[1]):
        if stretches and start <= stretches[-1][1]:
            stretches[-1] = stretches[-1][0], max(end, stretches[-1][1])
        else:
            stretches.append((start, end))
    return stretches


def hold(spans: Iterable[Span]) -> Held:
    """Return what the spans hold together."""
    stretches = joined(spans)
    return Held(starts=tuple(start for start, _ in stretches), ends=tuple(end for _, end in stretches))
