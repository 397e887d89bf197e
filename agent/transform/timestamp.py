"""When a line says it happened, in nanoseconds, with every digit that was written.

Epoch numbers are told apart by magnitude: below 1e11 seconds, below 1e14 milliseconds, below 1e17 microseconds, else
nanoseconds (1e11 seconds is the year 5138; 1e11 milliseconds is 1973). Text is ISO 8601, with `T` or a space and `.` or
`,` before the fraction as Python's `asctime` writes it; without a zone it is UTC.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from typing import Final

from librt.strings import read_i64_le
from mypy_extensions import i64

_POINT: Final = 0x2E
_COMMA: Final = 0x2C
_QUOTE: Final = 0x22
_SPACE: Final = 0x20
_ZERO: Final = 0x30
_NINE: Final = 0x39
_SECOND_NS: Final = 1_000_000_000
_LATEST_NS: Final = (1 << 62) - 1
_ONES: Final = 0x0101010101010101
"""Times a byte: that byte, eight times."""
_POWERS: Final[list[int]] = [10**n for n in range(10)]
_SCALES: Final = ((11, 9), (14, 6), (17, 3))  # integer digits at most → decimal places up to nanoseconds

_ISO: Final = re.compile(r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)(?:[.,](\d+))?\s*(Z|z|[+-]\d\d(?::?\d\d)?)?")
# A time stamp in a line that is not whole JSON: torn, or a part of a long one.
_TORN: Final = re.compile(rb'"(?:timestamp|time|ts|@timestamp)":\s*("[^"\\]{1,40}"|-?\d{1,19}(?:\.\d{1,12})?)')


def from_json(raw: bytes) -> int | None:
    """Nanoseconds of a JSON value's own text, None when it is no time."""
    # Epoch seconds with a fraction, as GreenStack writes them.
    if 11 <= len(raw) <= 20 and raw[10] == _POINT:
        try:
            return int(raw[:10] + raw[11:]) * _POWERS[20 - len(raw)]
        except ValueError:
            pass  # an exponent, or text: the general way below
    if len(raw) > 1 and raw[0] == _QUOTE:
        return from_text(raw[1:-1].decode("utf-8", "replace"))
    return from_number(raw.decode("ascii", "replace"))


def in_place(line: bytes, at: int) -> int:
    """Nanoseconds of the epoch seconds with a fraction that begin at `at` and end at a comma; -1 for anything else.

    For a line that is JSON: what reads like a number there is one.
    """
    return by_digit(line, at) if _IS_COMPILED else by_text(line, at)


def by_text(line: bytes, at: int) -> int:
    """In the interpreter each step costs the same, so few steps that do much."""
    comma = line.find(b",", at + 12, at + 21)
    if comma < 0 or line[at + 10] != _POINT:
        return -1
    second, fraction = line[at : at + 10], line[at + 11 : comma]
    if not (second.isdigit() and fraction.isdigit()):
        return -1
    return int(second) * 1_000_000_000 + int(fraction) * _POWERS[at + 20 - comma]


def by_digit(line: bytes, at: int) -> int:
    """Compiled, a step on small numbers costs next to nothing, and a piece of text much. Shifts, for a product of numbers
    beyond 2^30 is a slow one there."""
    if len(line) < at + 13 or line[at + 10] != _POINT:
        return -1
    number = 0
    place = at
    end = at + 20
    length = len(line)
    while place < end:
        byte = line[place] if place < length else 0
        if 0x30 <= byte <= 0x39:
            number = (number << 3) + (number << 1) + byte - 0x30
        elif byte == _COMMA and place > at + 11:
            while place < end:
                number = (number << 3) + (number << 1)
                place += 1
            return number
        elif place != at + 10:
            return -1
        place += 1
    return number if place < length and line[place] == _COMMA else -1


_IS_COMPILED: Final = not hasattr(by_digit, "__code__")


def fraction_in_place(line: bytes, start: i64) -> i64:
    """Nanoseconds of the decimals, nine at most, that begin at `start` and end at a comma; -1 for anything else."""
    end: i64 = min(start + 10, len(line))
    last: i64 = start + 9
    number: i64 = 0
    at: i64 = start
    while at < end:
        byte: i64 = line[at]
        if byte == _COMMA and at > start:
            while at < last:
                number *= 10
                at += 1
            return number
        if byte < _ZERO or byte > _NINE or at == last:
            return -1
        number = 10 * number + byte - _ZERO
        at += 1
    return -1


def digits_of(word: i64, count: i64) -> i64:
    """The number that `count` digits say, one to eight, of which the first is the lowest byte; -1 when they are none.

    All at once: neighbours are added up in pairs, those in fours, those in eights.
    """
    ones: i64 = _ONES
    low: i64 = ones * 0x7F
    digits: i64 = (word ^ ones * _ZERO) << 8 * (8 - count)
    if ((digits & low) + ones * 0x76 | digits) & ones << 7:  # more than nine
        return -1
    digits = (10 * digits + (digits >> 8)) & 0x00FF00FF00FF00FF
    digits = (100 * digits + (digits >> 16)) & 0x0000FFFF0000FFFF
    return (10_000 * digits + (digits >> 32)) & 0xFFFFFFFF


class Clock:
    """Reads the times of lines that begin with `head` and epoch seconds with a fraction. Lines of one second have the same
    beginning up to the point, so of most only the decimals are read.

    behind: where the comma stands after the time that was read last.
    """

    def __init__(self, head: bytes) -> None:
        self._head = head
        self._same = b""
        self._same_bytes: i64 = 0
        self._second_ns: i64 = 0
        self.behind: i64 = 0

    def read(self, line: bytes) -> i64:
        """Nanoseconds; -1 for a line of another kind, or whose time is beyond 2116."""
        if self._same_bytes and line.startswith(self._same):
            start = self._same_bytes
            fraction_ns: i64 = -1
            if _IS_COMPILED and start + 8 <= len(line):
                # Python writes a time as short as it can: mostly seven decimals, or six.
                word = read_i64_le(line, start)
                if word >> 56 == _COMMA:
                    fraction_ns = 100 * digits_of(word, 7)
                    self.behind = start + 7
                elif word >> 48 & 0xFF == _COMMA:
                    fraction_ns = 1_000 * digits_of(word, 6)
                    self.behind = start + 6
            if fraction_ns < 0:
                fraction_ns = fraction_in_place(line, start)
                self.behind = line.find(b",", start)
            return self._second_ns + fraction_ns if fraction_ns >= 0 else -1
        at = len(self._head)
        if not line.startswith(self._head) or len(line) == at:
            return -1
        if line[at] == _SPACE:
            at += 1
        ns = in_place(line, at)
        if ns < 0 or ns > _LATEST_NS - _SECOND_NS or line[at] == _ZERO:
            return -1
        self._same, self._same_bytes = line[: at + 11], at + 11
        self._second_ns = ns - ns % _SECOND_NS
        self.behind = line.find(b",", at)
        return ns


def from_number(text: str) -> int | None:
    """Nanoseconds of an epoch number in decimal digits, by magnitude."""
    try:
        number = Decimal(text)
    except InvalidOperation:
        return None
    if not number.is_finite():
        return None
    digits = number.adjusted() + 1
    if digits > 19:
        return None
    places = next((places for limit, places in _SCALES if digits <= limit), 0)
    return int(number.scaleb(places))


def from_text(text: str) -> int | None:
    """Nanoseconds of ISO 8601 text or of a number in quotes."""
    match = _ISO.fullmatch(text.strip())
    if match is None:
        return from_number(text) if text[:1].isdigit() else None
    date, clock, fraction, zone = match.groups()
    seconds = _epoch_seconds(f"{date}T{clock}", zone or "Z")
    if seconds is None:
        return None
    return seconds * 1_000_000_000 + int((fraction or "0")[:9].ljust(9, "0"))


@lru_cache(maxsize=1024)
def _epoch_seconds(moment: str, zone: str) -> int | None:
    offset = "+00:00" if zone in "Zz" else zone
    try:
        when = datetime.fromisoformat(moment + offset)
    except ValueError:
        return None
    return int((when - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds())


def from_torn(line: bytes) -> int | None:
    """The first time stamp in what is left of a JSON line."""
    match = _TORN.search(line, 0, 4096)
    return None if match is None else from_json(match[1])
