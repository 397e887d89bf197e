"""Where in a long text to look: around what the finder has matched, and nowhere else."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate
from typing import NamedTuple

from agent.transform.redaction.rule import Hit

LONG = 65_536
"""A text of more characters is looked at in windows. A shorter one is looked at whole, which costs less than to choose."""


class Reach(NamedTuple):
    """How far around a match to look."""

    before: int
    after: int


FAR = Reach(4_096, 2_048)
"""For decoding, and for procedures that put together what stands apart: a heading and its rows, a statement and its values."""
NEAR = Reach(1_024, 1_024)
CLOSE = Reach(320, 320)
"""For words in a sentence."""
EDGE = 512
"""A hit that comes so near to an end of its window may go on behind it, or begin before it."""

Places = list[tuple[int, int]]
"""Where a match of the finder ends, and the scan that it asks for; sorted."""

_LAST = 1 << 30
_CHANGES = FAR.before + FAR.after + EDGE
"""So far from a hit its replacement may change what is found."""
_CONTINUES = bytes(range(0x80, 0xC0))


class Window(NamedTuple):
    start: int
    end: int


def around(places: Iterable[int], size: int, reach: Reach = FAR) -> list[Window]:
    """Windows around `places`, which are sorted; apart from one another."""
    out: list[Window] = []
    start = end = -1
    for place in places:
        if place - reach.before > end or start < 0:
            if start >= 0:
                out.append(Window(start, end))
            start = max(0, place - reach.before)
        end = min(size, place + reach.after)
    if start >= 0:
        out.append(Window(start, end))
    return out


def wider(window: Window, hits: Iterable[Hit], size: int) -> Window | None:
    """Twice as much to the side where one of the `hits`, in places of the window, comes near its end; None when none does."""
    start, end = window
    length = end - start
    edge = min(EDGE, length // 4)
    first = min((hit.start for hit in hits), default=length)
    last = max((hit.end for hit in hits), default=0)
    low = max(0, start - length) if first < edge else start
    high = min(size, end + length) if last > length - edge else end
    return None if (low, high) == (start, end) else Window(low, high)


def within(places: Places, start: int, end: int) -> Places:
    """Those between `start` and `end`, counted from `start`. What ends a little behind belongs to it: a closing quote, say."""
    low, behind, high = (bisect_left(places, (place, -1)) for place in (start, end, end + EDGE))
    inside = [(place - start, scan) for place, scan in places[low:behind]]
    return inside + [(end - start, scan) for _, scan in places[behind:high]] if behind < high else inside


def between(places: Places, start: int, end: int) -> Places:
    return places[bisect_left(places, (start, -1)) : bisect_left(places, (end, _LAST))]


def near(places: Places, hits: Sequence[Hit]) -> Places:
    """What is known of a text once `hits` in it are replaced: of its places those near to a hit, but for those that a hit may
    have had a part in. Around others all is as it was."""
    out: Places = []
    moved = behind = 0
    for hit, following in zip(hits, [*(hit.start for hit in hits[1:]), _LAST], strict=False):
        known = between(places, max(behind, hit.start - _CHANGES), hit.start)
        out += [(place + moved, scan) for place, scan in known]
        moved += len(hit.text or "") - (hit.end - hit.start)
        behind = hit.end + FAR.after
        end = min(hit.end + _CHANGES, following - _CHANGES - 1)
        out += [(place + moved, scan) for place, scan in between(places, behind, end)]
        behind = max(behind, end + 1)
    return out


def beside(text: str, hits: Sequence[Hit]) -> Iterator[tuple[int, int]]:
    """The parts of the text, with `hits` replaced, in which `near` says nothing: each from behind where a hit began.

    What was a part of a run of base64 characters may be base64 by itself now. Of that the finder tells at the end.
    """
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
        behind = hit.end + moved
        rest = _REST_OF_RUN.match(text, behind)
        end = behind + FAR.after if rest is None else max(behind + FAR.after, rest.end() + 2)
    if start >= 0:
        yield start, end


_REST_OF_RUN = re.compile(r"[A-Za-z0-9+/_\-]{24,}+=?")
_LONGEST_ESCAPE = len(r"\ud83d\ude00")
_FREE = re.compile(rf"[^\\]{{{_LONGEST_ESCAPE},}}")
_AT_ONCE = 8_192


def apart_from_escapes(content: str, start: int, end: int) -> tuple[int, int]:
    """A part of a JSON string's inside, a little more where it would begin or end within a word or an escape."""
    start = content.rfind(" ", max(0, start - EDGE), start) + 1 or start
    start = _behind_escapes(content, start)
    space = content.find(" ", end, end + EDGE)
    end = space if space >= 0 else end
    free = _FREE.search(content, max(0, end - _LONGEST_ESCAPE))
    return start, max(end, free.start() + _LONGEST_ESCAPE) if free else len(content)


def _behind_escapes(content: str, at: int) -> int:
    """The last place up to `at` with no escape shortly before it, which could reach over it."""
    while at > 0:
        low = max(0, at - _AT_ONCE)
        ends = [free.end() for free in _FREE.finditer(content, low, at)]
        if ends:
            return ends[-1]
        at = low
    return 0


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


def unescaped(text: str, places: Sequence[tuple[int, int]]) -> Places:
    """Places in `text` of places in `with_breaks_escaped(text)`, which are sorted."""
    out: Places = []
    if not places:
        return out
    # Where each escape begins: the lengths of the lines, and two for each escape before.
    lines = text.replace("\r", "\n").replace("\n", "\n\0\0").split("\n")
    breaks = [*accumulate(map(len, lines[:-1])), places[-1][0]]
    before = 0
    for place, scan in places:
        while breaks[before] < place:
            before += 1
        out.append((place - before, scan))
    out.sort()
    return out


_PIECE, _OVERLAP = 8_192, 4_096


def places_by_piece(text: bytes, scans_of: Callable[[bytes], frozenset[int]]) -> Places:
    """For a finder that says which patterns match but not where: the ends of the pieces in which they do."""
    out: Places = []
    for start in range(0, len(text), _PIECE):
        end = min(start + _PIECE, len(text))
        scans = scans_of(text[max(0, start - _OVERLAP) : end])
        # So near to one another that their windows meet, and what comes before the piece is in them.
        ends = [*range(start + 1, end, CLOSE.before), end]
        out += ((place, scan) for place in ends for scan in sorted(scans))
    return out
