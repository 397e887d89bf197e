"""Where the number of a payment card or of a bank account may begin: told by rows of digits, capitals, spaces and hyphens.

The patterns of such numbers begin with no literal. In one automaton with all others they cost more than half of what those cost
together; asked in rows of thirteen such characters, which few lines have, they cost a sixth. Compiled, that is: in the interpreter
looking for rows would cost the hundredfold, so there the patterns stand among the others.
"""

from __future__ import annotations

from typing import Final

from librt.strings import read_i64_le
from mypy_extensions import i64

_SPACE: Final = 0x20
_HYPHEN: Final = 0x2D
_DOT: Final = 0x2E
_0: Final = 0x30
_2: Final = 0x32
_6: Final = 0x36
_9: Final = 0x39
_A: Final = 0x41
_Z: Final = 0x5A
_LITTLE_A: Final = 0x61
_LITTLE_Z: Final = 0x7A
# What may end an escape (n, r, t) or a terminal colour (m): numbers are looked for behind these.
_LITTLE_M: Final = 0x6D
_LITTLE_N: Final = 0x6E
_LITTLE_R: Final = 0x72
_LITTLE_T: Final = 0x74

SHORTEST: Final = 13
"""Bytes of the shortest number: a card's without spaces."""


def next_number(data: bytes, start: i64) -> i64:
    """Where the next row ends that may hold a number; -1 where there is none.

    start: where a line begins. Each text with a match of the gated patterns of `rules_pii` has such a row.
    """
    # What a row is made of is written out three times, for a call would cost more than the comparison.
    size: i64 = len(data)
    at: i64 = start + SHORTEST - 1  # each row from here on covers one of the bytes looked at
    while at < size:
        byte: i64 = data[at]
        if byte > _Z or (byte < _0 and byte not in (_SPACE, _HYPHEN)) or _9 < byte < _A:
            at += SHORTEST
            continue
        # A row of thirteen has seven bytes up to this one, or seven from it on. Most of either hold a small letter.
        if (
            at + 8 <= size
            and _has_small_letter(read_i64_le(data, at))
            and _has_small_letter(read_i64_le(data, at - 7) >> 8)
        ):
            at += SHORTEST
            continue
        begin: i64 = at
        while begin > start:
            byte = data[begin - 1]
            if byte > _Z or (byte < _0 and byte not in (_SPACE, _HYPHEN)) or _9 < byte < _A:
                break
            begin -= 1
        end: i64 = at + 1
        while end < size:
            byte = data[end]
            if byte > _Z or (byte < _0 and byte not in (_SPACE, _HYPHEN)) or _9 < byte < _A:
                break
            end += 1
        if end - begin >= SHORTEST and _holds_number(data, begin, end):
            return end
        at = end + SHORTEST
    return -1


def _has_small_letter(word: i64) -> bool:
    """Whether one of the lowest seven bytes has the bits that all small letters have, and nothing in a row."""
    return word & word << 1 & 0x40404040404040 != 0


def _holds_number(data: bytes, begin: i64, end: i64) -> bool:
    """Whether any place of a row, at its beginning or behind a space or a hyphen in it, begins a number."""
    at: i64 = begin
    if begin > 0 and not _is_edge(data[begin - 1]):
        at = _behind_next(data, begin, end)
    while at + SHORTEST <= end:
        byte: i64 = data[at]
        if _2 <= byte <= _6:
            if _begins_card(data, at, end):
                return True
        elif byte >= _A and _begins_account(data, at, end):
            return True
        at = _behind_next(data, at, end)
    return False


def _is_edge(byte: i64) -> bool:
    if _0 <= byte <= _9 or _A <= byte <= _Z or byte == _DOT:
        return False
    if byte < _LITTLE_A or byte > _LITTLE_Z:
        return True
    return byte in (_LITTLE_M, _LITTLE_N, _LITTLE_R, _LITTLE_T)


def _behind_next(data: bytes, at: i64, end: i64) -> i64:
    """Behind the next space or hyphen."""
    while at < end:
        byte: i64 = data[at]
        at += 1
        if byte in (_SPACE, _HYPHEN):
            return at
    return end


def _digits(data: bytes, at: i64, end: i64) -> i64:
    begin: i64 = at
    while at < end and _0 <= data[at] <= _9:
        at += 1
    return at - begin


def _begins_card(data: bytes, at: i64, end: i64) -> bool:
    """Thirteen digits, or in groups as on the card: 4-4-4-4 and 4-6-5, of which the last need not be complete."""
    first: i64 = _digits(data, at, end)
    if first != 4:
        return first >= SHORTEST
    second: i64 = _digits(data, at + 5, end)
    if second == 6:
        return _digits(data, at + 12, end) >= 4
    return second == 4 and _digits(data, at + 10, end) == 4 and _digits(data, at + 15, end) >= 1


def _begins_account(data: bytes, at: i64, end: i64) -> bool:
    """Two capitals, two digits and eleven more characters; a space may stand before each four of them."""
    if data[at + 1] < _A or _digits(data, at + 2, at + 4) < 2:
        return False
    at += 4
    left: i64 = 11
    while left > 0:
        if left in (11, 7, 3) and at < end and data[at] == _SPACE:
            at += 1
        if at >= end or data[at] < _0:
            return False
        at += 1
        left -= 1
    return True


IS_COMPILED: Final = not hasattr(next_number, "__code__")
