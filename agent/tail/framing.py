"""Bytes → whole lines. Pure: a function of the bytes from a line's start, and nothing remembered between calls.

What is not yet a whole line is simply not taken; the caller reads it again with what has come since. A line longer than
the limit is taken in numbered parts, so that no line needs more memory than the limit. Where parts are cut depends on
the line alone, never on how much of it was there when it was read.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Piece:
    """Lines taken from the beginning of what was given.

    length:     raw bytes they occupy in the file.
    data:       the lines as UTF-8, each ended by one newline byte.
    first_part, last_part: as in `model.Chunk`. A piece with a part holds that part alone.
    times_ns, line_counts: as in `model.Chunk`.
    """

    length: int
    data: bytes
    first_part: int = 0
    last_part: int = 0
    times_ns: tuple[int, ...] | None = None
    line_counts: tuple[int, ...] | None = None


class Units(Protocol):
    """How text lies in bytes. Offsets are absolute in `data`; searches answer -1 when there is none.

    width: bytes of a newline.
    """

    @property
    def width(self) -> int: ...
    def most(self, limit: int) -> int:
        """How many bytes surely are at most `limit` bytes of UTF-8."""
        ...

    def first_newline(self, data: bytes, start: int, end: int) -> int: ...
    def last_newline(self, data: bytes, start: int, end: int) -> int: ...
    def has_return_before(self, data: bytes, at: int) -> bool: ...
    def cut(self, data: bytes, start: int, at: int) -> int:
        """The last border of a character in start+1..at."""
        ...

    def text(self, data: bytes) -> bytes:
        """As UTF-8, with carriage returns before newlines removed."""
        ...


class Utf8:
    """UTF-8, and whatever else is sent as it is."""

    width = 1

    def most(self, limit: int) -> int:
        return limit

    def first_newline(self, data: bytes, start: int, end: int) -> int:
        return data.find(b"\n", start, end)

    def last_newline(self, data: bytes, start: int, end: int) -> int:
        return data.rfind(b"\n", start, end)

    def has_return_before(self, data: bytes, at: int) -> bool:
        return data[at - 1 : at] == b"\r"

    def cut(self, data: bytes, start: int, at: int) -> int:
        return between_members(data, start, utf8_border(data, start, at))

    def text(self, data: bytes) -> bytes:
        return data.replace(b"\r\n", b"\n") if b"\r" in data else data


UTF8 = Utf8()


def utf8_border(data: bytes, start: int, at: int) -> int:
    """The last place in start+1..at where no character is cut; `at` itself where the bytes are not UTF-8."""
    for border in range(at, max(start, at - 4), -1):
        if border >= len(data) or data[border] & 0xC0 != 0x80:
            return border
    return at


_CUT_SEARCH_BYTES = 4096


# Borders of objects, of members, of parameters and lines, of words.
_BORDERS = tuple(
    re.compile(pattern) for pattern in (rb"\},(?= ?\\*\{)", rb",(?= ?\\*\")", rb"[;&,]|\\n", rb"(?<![:= ]) +(?![:= ])")
)
# What follows such a word may be a secret, which without the word would not be known for one.
_ANNOUNCES = re.compile(
    rb"(?i:pass|pwd|secret|token|key|cred|login|auth|cookie|bearer|basic|private|kennw|code|pin|name|header|field)"
)
_ANNOUNCED_BYTES = 120


def between_members(data: bytes, start: int, at: int) -> int:
    """A place shortly before `at` where a name and its value, or a token, are not torn apart; `at` if there is none.

    Each part is redacted by itself: half a secret, or one without its name, would not be known for what it is.
    """
    low = max(start + (at - start) // 2, at - _CUT_SEARCH_BYTES)
    second_best = at
    for border in _BORDERS:
        places = [found.end() for found in border.finditer(data, low, at)]
        for place in reversed(places):
            if _ANNOUNCES.search(data, max(low, place - _ANNOUNCED_BYTES), place) is None:
                return place
        if places and second_best == at:
            second_best = places[-1]
    return second_best


def frame(
    body: bytes, limit: int, part: int = 0, *, final: bool = False, units: Units = UTF8, start: int = 0
) -> list[Piece]:
    """Take what is complete from `body`, which from `start` on begins where a line begins, or after part `part` of one.

    `final` says that nothing will follow: the last line is then taken without its newline. Otherwise a line is cut only
    when limit + 2 newline widths of it are there, so that a carriage return and newline after exactly `limit` bytes
    do not make a part of their own.
    """
    pieces: list[Piece] = []
    at = start
    while at < len(body):
        if part == 0:
            end = _end_of_whole_lines(body, at, limit, units)
            if end > at:
                whole = body if end - at == len(body) else body[at:end]
                pieces.append(Piece(end - at, units.text(whole)))
                at = end
        piece = _next_part(body, at, limit, part, final, units)
        if piece is None:
            break
        pieces.append(piece)
        at += piece.length
        part = piece.last_part
    return pieces


def _end_of_whole_lines(body: bytes, start: int, limit: int, units: Units) -> int:
    """Where the run of whole lines ends none of which is over-long; `start` when there is none.

    Looks at one place per `limit` bytes, not at every line.
    """
    width = units.width
    last = units.last_newline(body, start, len(body))
    if last < 0:
        return start
    end = last + width
    while end - start > limit + width:
        newline = units.last_newline(body, start, start + limit + 2 * width)
        if newline - start > limit:
            earlier = units.last_newline(body, start, newline)
            if earlier >= 0:
                newline = earlier
            elif not units.has_return_before(body, newline):
                return start
        if newline < 0:
            return start
        start = newline + width
    return end


def _next_part(body: bytes, at: int, limit: int, part: int, final: bool, units: Units) -> Piece | None:
    """The next part of an over-long line, the end of one, or with `final` a last line without newline."""
    width = units.width
    newline = units.first_newline(body, at, at + limit + 2 * width)
    if newline >= 0:
        content = newline - at - (width if units.has_return_before(body, newline) and newline > at else 0)
        if content <= limit:
            end = newline + width
            return Piece(end - at, units.text(body[at:end]), part + 1 if part else 0)
    elif not final:
        if len(body) - at < limit + 2 * width:
            return None
    elif len(body) - at <= limit:
        return Piece(len(body) - at, units.text(body[at:]) + b"\n", part + 1 if part else 0) if at < len(body) else None
    cut = units.cut(body, at, at + limit)
    return Piece(cut - at, units.text(body[at:cut]) + b"\n", part + 1, part + 1)
