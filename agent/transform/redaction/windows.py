"""Where in a long text to look: around what the finder has matched, and nowhere else."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate
from typing import NamedTuple

from agent.transform.redaction.rule import Hit

LONG = 65_536
"""A text of more characters is looked at in windows. A shorter one is looked at whole, which costs less than to choose."""
BEFORE, AFTER = 4_096, 2_048
EDGE = 512
"""A hit that comes so near to an end of its window may go on behind it, or begin before it."""

Places = list[tuple[int, int]]
"""Where a match of the finder ends, and the scan that it asks for; sorted."""

_LAST = 1 << 30
_CONTINUES = bytes(range(0x80, 0xC0))


class Window(NamedTuple):
    start: int
    end: int
    scans: frozenset[int]


def around(places: Iterable[tuple[int, int]], size: int) -> list[Window]:
    """Windows around `places`, apart from one another."""
    out: list[Window] = []
    start = end = -1
    scans: set[int] = set()
    for place, scan in places:
        if place - BEFORE > end and scans:
            out.append(Window(start, end, frozenset(scans)))
            scans = set()
        if not scans:
            start = max(0, place - BEFORE)
        end = min(size, place + AFTER)
        scans.add(scan)
    if scans:
        out.append(Window(start, end, frozenset(scans)))
    return out


def wider(window: Window, hits: Iterable[Hit], size: int) -> Window | None:
    """Twice as much to the side where one of the `hits`, in places of the window, comes near its end; None when none does."""
    start, end, scans = window
    length = end - start
    first = min((hit.start for hit in hits), default=length)
    last = max((hit.end for hit in hits), default=0)
    low = max(0, start - length) if first < EDGE else start
    high = min(size, end + length) if last > length - EDGE else end
    return None if (low, high) == (start, end) else Window(low, high, scans)


def within(places: Places, start: int, end: int) -> Places:
    """Those between `start` and `end`, counted from `start`. What ends a little behind belongs to it: a closing quote, say."""
    low, high = bisect_left(places, (start, -1)), bisect_left(places, (end + EDGE, -1))
    return [(min(place, end) - start, scan) for place, scan in places[low:high]]


def any_within(places: Places, start: int, end: int) -> bool:
    at = bisect_left(places, (start, -1))
    return at < len(places) and places[at][0] < end + EDGE


def apart_from(places: Places, hits: Sequence[Hit]) -> Places:
    """What is known of a text once `hits` in it are replaced: its places but for those that a hit may have had a part in."""
    out: Places = []
    at = moved = behind = 0
    for hit in hits:
        low = bisect_left(places, (hit.start, _LAST), at)
        out += [(place + moved, scan) for place, scan in places[at:low] if place >= behind]
        behind = hit.end + AFTER
        moved += len(hit.text or "") - (hit.end - hit.start)
        at = low
    out += [(place + moved, scan) for place, scan in places[at:] if place >= behind]
    return out


def beside(hits: Sequence[Hit]) -> Iterator[tuple[int, int]]:
    """The parts of the text with `hits` replaced in which `apart_from` says nothing: each from behind where a hit began."""
    start = end = -1
    moved = 0
    for hit in hits:
        first = hit.start + moved
        moved += len(hit.text or "") - (hit.end - hit.start)
        if first > end >= 0:
            yield start, end
            start = first
        elif start < 0:
            start = first
        end = hit.end + moved + AFTER
    if start >= 0:
        yield start, end


def in_characters(data: bytes, places: Iterable[tuple[int, int]]) -> Places:
    """Places of UTF-8 as places of the text it stands for."""
    ordered = sorted(places)
    if data.isascii():
        return ordered
    out: Places = []
    done = characters = 0
    for place, scan in ordered:
        characters += len(data[done:place].translate(None, _CONTINUES))
        done = place
        out.append((characters, scan))
    return out


def with_breaks_escaped(text: str) -> str:
    return text.replace("\n", "\\n").replace("\r", "\\r")


def unescaped(text: str, places: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Places in `text` of places in `with_breaks_escaped(text)`."""
    if not places:
        return
    # Where each escape begins: the lengths of the lines, and two for each escape before.
    lines = text.replace("\r", "\n").replace("\n", "\n\0\0").split("\n")
    breaks = list(accumulate(map(len, lines)))[:-1]
    for place, scan in places:
        yield place - bisect_left(breaks, place), scan


_PIECE, _OVERLAP = 8_192, 4_096


def places_by_piece(text: bytes, scans_of: Callable[[bytes], frozenset[int]]) -> Places:
    """For a finder that says which patterns match but not where: the ends of the pieces in which they do."""
    out: Places = []
    for start in range(0, len(text), _PIECE):
        end = min(start + _PIECE, len(text))
        scans = scans_of(text[max(0, start - _OVERLAP) : end])
        # So near to one another that their windows meet, and what comes before the piece is in them.
        ends = [*range(start + 1, end, AFTER), end]
        out += ((place, scan) for place in ends for scan in sorted(scans))
    return out
