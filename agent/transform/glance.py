"""What the common line says, told without an object for each line: one flat JSON object, of whose members a few are wanted.

Eight bytes are looked at at a time, as one number. Compiled, that takes less than `msgspec` needs to make a view of the same line,
and of most lines nothing else has to be made; in the interpreter it would take the hundredfold, so there the views of
`parse.LineDecoder` serve alone.

Only what is plainly one of these lines is told. Whatever else `msgspec` might take (an object in the object, a number as a wanted
value, an exponent, a name twice, white space of an unusual kind) is left to it, and so is all that is no JSON.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from librt.strings import read_i32_le, read_i64_le
from mypy_extensions import i64

_ONES: Final = 0x0101010101010101
"""Times a byte: that byte, eight times."""
NOTHING: Final = b"\x01"
"""For a member that a line does not have. No text has this byte: JSON wants control characters escaped."""
_BETWEEN: Final = b"\x00"
_PADDING: Final = bytes(8)
"""Behind each remembered value, so that its last bytes can be read eight at a time too."""
_SHORTEST: Final = 16
_MOST_NAMES: Final = 62

_OPENING: Final = 0x7B
_COLON: Final = 0x3A
_CLOSING: Final = 0x7D
_2: Final = 0x02
"""Told from it, a quote differs by the lowest that is no control character."""
# As they are read, the first byte lowest.
_QUOTE_COLON: Final = 0x3A22
_QUOTE_COLON_SPACE: Final = 0x203A22
_COMMA_QUOTE: Final = 0x222C
_COMMA_SPACE_QUOTE: Final = 0x22202C
_TRUE: Final = 0x65757274
_FALS: Final = 0x736C6166
_NULL: Final = 0x6C6C756E
_QUOTE: Final = 0x22
_BACKSLASH: Final = 0x5C
_MINUS: Final = 0x2D
_POINT: Final = 0x2E
_ZERO: Final = 0x30
_LITTLE_E: Final = 0x65
_LITTLE_U: Final = 0x75

_ENTRY: Final = 24
"""Bytes of a name in the table: its length, its first eight bytes, its last eight."""


class Glancer:
    """Tells the texts of some members, those of most lines in a third of a microsecond.

    names: of the members, at most 62; with others only, no line is told.
    texts: of the line that was told last, in the order of the names; NOTHING itself for a member that it does not have.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._names = [name.encode("utf-8", "surrogatepass") for name in names[:_MOST_NAMES]]
        self._is_able = len(self._names) == len(names) and all(self._names)
        self._table = b"".join(_entry(name) for name in self._names)
        # Most names are told by one bit: whether a wanted one is as long and begins with the same letter.
        self._bits: i64 = 0
        for name in self._names:
            if name:
                self._bits |= _bit(name[0], len(name))
        self.texts = [NOTHING] * len(self._names)
        self._padded = [NOTHING + _PADDING] * len(self._names)
        self._found: i64 = 0
        self._is_whole = False  # whether the values are those of a line that was told
        self._is_same = False  # whether those of this line are, as far as it was read
        self._key = b""

    def look(self, line: bytes, begin: i64) -> bytes | None:
        """The texts of the wanted members, for `texts_of`; the same object as before when they are the same. None for a line that
        is to be looked at otherwise.

        begin: behind the first member, when that is known to be none of the wanted ones; else 0.
        """
        size: i64 = len(line)
        last: i64 = size - 1
        at: i64 = _first_name(line, begin, last)
        if at < 0 or not self._is_able:
            return None
        self._is_same = self._is_whole
        self._is_whole = False
        bits: i64 = self._bits
        found: i64 = 0
        while True:
            start: i64 = at + 1
            head: i64 = read_i64_le(line, start) if start + 8 <= size else _word(line, start, size)
            special: i64 = _specials(head)  # most names have at most eight bytes
            end: i64 = start + _first(special) if special else _end_of_text(line, start + 8, size)
            at = _value_behind(line, end, size)
            if at < 0:
                return None
            slot: i64 = -1
            if bits >> ((head & 0x3F) ^ (end - start & 0xF) << 2) & 1:
                slot = self._slot(line, start, end, head)
            if slot < 0:
                at = _end_of_value(line, at, size)
            elif found >> slot & 1:
                return None
            else:
                found |= _flag(slot)
                at = self._take(slot, line, at, size)
            if at == last:
                break
            at = _next_name(line, at, size)
            if at < 0:
                return None
        if not self._is_same or found != self._found:
            self._settle(found)
        self._is_whole = True
        return self._key

    def _take(self, slot: i64, line: bytes, at: i64, size: i64) -> i64:
        """Remembers the text that begins at `at`; gives where it ends, -1 when there is no simple text."""
        if line[at] != _QUOTE:
            return -1
        start: i64 = at + 1
        end: i64 = _end_of_text(line, start, size)
        if end < 0:
            return -1
        if not self._is_known(slot, line, start, end):
            value = line[start:end]
            self.texts[slot] = value
            self._padded[slot] = value + _PADDING
            self._is_same = False
        return end + 1

    def _slot(self, line: bytes, start: i64, end: i64, head: i64) -> i64:
        """Which of the names stands there; -1 for none."""
        table = self._table
        length: i64 = end - start
        entry: i64 = 0
        slot: i64 = 0
        size: i64 = len(table)
        while entry < size:
            if read_i64_le(table, entry) == length:
                if length < 8:
                    if not (head ^ read_i64_le(table, entry + 8)) & _flag(8 * length) - 1:
                        return slot
                elif (
                    head == read_i64_le(table, entry + 8)
                    and read_i64_le(line, end - 8) == read_i64_le(table, entry + 16)
                    and (length <= 16 or line[start:end] == self._names[slot])
                ):
                    return slot
            entry += _ENTRY
            slot += 1
        return -1

    def _is_known(self, slot: i64, line: bytes, start: i64, end: i64) -> bool:
        """Whether the value is the one that the line before had."""
        known = self._padded[slot]
        length: i64 = end - start
        if len(known) != length + 8:
            return False
        size: i64 = len(line)
        done: i64 = 0
        while done + 8 <= length:
            if read_i64_le(line, start + done) != read_i64_le(known, done):
                return False
            done += 8
        rest: i64 = length - done
        if rest == 0:
            return True
        return (_word(line, start + done, size) ^ read_i64_le(known, done)) & _flag(8 * rest) - 1 == 0

    def _settle(self, found: i64) -> None:
        for slot in range(len(self.texts)):
            if not found >> i64(slot) & 1:
                self.texts[slot] = NOTHING
                self._padded[slot] = NOTHING + _PADDING
        self._found = found
        self._key = _BETWEEN.join(self.texts)


def texts_of(key: bytes) -> list[bytes]:
    """What `Glancer.look` gave, in the order of its names; NOTHING for a member that the line does not have."""
    return key.split(_BETWEEN)


def values_of(key: bytes) -> tuple[str | None, ...]:
    """The same as text; None for a member that the line does not have."""
    return tuple([None if text == NOTHING else text.decode() for text in texts_of(key)])


def _bit(first: i64, length: i64) -> i64:
    return _flag((first & 0x3F) ^ (length & 0xF) << 2)


def _flag(number: i64) -> i64:
    ones: i64 = _ONES
    return (ones >> 56) << number  # mypyc writes a bare 1 as one of 32 bits


def _entry(name: bytes) -> bytes:
    head, tail = name[:8].ljust(8, b"\0"), name[-8:].ljust(8, b"\0")
    return len(name).to_bytes(8, "little") + head + tail


def _word(line: bytes, at: i64, size: i64) -> i64:
    """The eight bytes from `at` on, the first one lowest; 0 for those behind the end. The line has eight, and ends in ASCII."""
    if at + 8 <= size:
        return read_i64_le(line, at)
    if at >= size:
        return 0
    return read_i64_le(line, size - 8) >> (8 * (at + 8 - size))


def _first(flags: i64) -> i64:
    """How many bytes stand before the first whose highest bit is set; there is one."""
    lowest: i64 = flags & -flags
    ones: i64 = _ONES
    return ((lowest - 1 & ones) * ones >> 56 & 0xF) - 1


def _specials(word: i64) -> i64:
    """The highest bits of the bytes that are a quote, a backslash, or a control character."""
    ones: i64 = _ONES
    low: i64 = ones * 0x7F
    seven: i64 = word & low
    plain: i64 = ((seven ^ ones * _2) + ones * 0x5F) & ((seven ^ ones * _BACKSLASH) + low) | word
    return (ones << 7) & ~plain


def _mark(line: bytes, at: i64, size: i64, tight: i64, spaced: i64) -> i64:
    """How many bytes the two of `tight` or the three of `spaced` are that stand at `at`; 0 for others. Behind each of them a line has
    one byte more at least, so four can be read."""
    if at < 0 or at + 4 > size:
        return 0
    four: i64 = i64(read_i32_le(line, at))
    if four & 0xFFFFFF == spaced:
        return 3
    if four & 0xFFFF == tight:
        return 2
    return 0


def _value_behind(line: bytes, at: i64, size: i64) -> i64:
    """Where the value of the name begins that ends in a quote at `at`; -1 without a colon, or behind more than a space."""
    bytes_between: i64 = _mark(line, at, size, _QUOTE_COLON, _QUOTE_COLON_SPACE)
    if bytes_between == 0:
        return -1
    return at + bytes_between


def _first_name(line: bytes, begin: i64, last: i64) -> i64:
    """Where the quote of the first name of an object stands, or of the next one behind `begin`; -1 when there is none."""
    if last < _SHORTEST or line[0] != _OPENING or line[last] != _CLOSING:
        return -1
    if begin:
        return _next_name(line, begin, last + 1)
    if line[1] != _QUOTE:
        return -1
    return 1


def _next_name(line: bytes, at: i64, size: i64) -> i64:
    """Where the next name's quote stands behind a comma and at most one space; -1 when there is none."""
    bytes_between: i64 = _mark(line, at, size, _COMMA_QUOTE, _COMMA_SPACE_QUOTE)
    if bytes_between == 0:
        return -1
    return at + bytes_between - 1


def _end_of_value(line: bytes, at: i64, size: i64) -> i64:
    """Behind a string, a number or a word; -1 for anything else."""
    byte: i64 = line[at]
    if byte == _QUOTE:
        at = _end_of_string(line, at + 1, size)
        if at < 0:
            return -1
        return at + 1
    if byte < _COLON:
        return _end_of_number(line, at, size)
    return _end_of_literal(line, at, size)


def _end_of_text(line: bytes, start: i64, size: i64) -> i64:
    """Where the quote is that ends an ASCII string without escapes; -1 when there is something else in it."""
    ones: i64 = _ONES
    at: i64 = start
    while at < size:
        word: i64 = read_i64_le(line, at) if at + 8 <= size else _word(line, at, size)
        special: i64 = _specials(word) | word & ones << 7
        if special:
            at += _first(special)
            if at >= size or line[at] != _QUOTE:
                return -1
            return at
        at += 8
    return -1


def _end_of_string(line: bytes, start: i64, size: i64) -> i64:
    """Where the quote is that ends the string; -1 for one that is none."""
    at: i64 = start
    while at < size:
        word: i64 = read_i64_le(line, at) if at + 8 <= size else _word(line, at, size)
        special: i64 = _specials(word)
        if not special:
            at += 8
            continue
        at += _first(special)
        if at >= size or line[at] != _BACKSLASH:
            break
        at = _behind_escape(line, at + 1, size)
        if at < 0:
            return -1
    if at >= size or line[at] != _QUOTE:
        return -1
    return at


def _behind_escape(line: bytes, at: i64, size: i64) -> i64:
    """Behind the escape whose backslash stands before `at`; -1 for none that `msgspec` is sure to take."""
    if at >= size:
        return -1
    byte: i64 = line[at]
    if byte == _LITTLE_U:
        if at + 5 > size:
            return -1
        end: i64 = at + 5
        is_surrogate = line[at + 1] in (0x44, 0x64) and line[at + 2] >= 0x38
        while at + 1 < end:
            at += 1
            byte = line[at]
            if not (0x30 <= byte <= 0x39 or 0x41 <= byte <= 0x46 or 0x61 <= byte <= 0x66):
                return -1
        if is_surrogate:
            return -1
        return end
    if byte in (0x22, 0x5C, 0x2F, 0x62, 0x66, 0x6E, 0x72, 0x74):  # " \ / b f n r t
        return at + 1
    return -1


def _end_of_number(line: bytes, start: i64, size: i64) -> i64:
    """Behind a number without an exponent; -1 for anything else."""
    begin: i64 = start + 1 if line[start] == _MINUS else start
    at: i64 = _end_of_digits(line, begin, size)
    if at == begin or (at > begin + 1 and line[begin] == _ZERO):
        return -1
    if line[at] != _POINT:
        return at
    end: i64 = _end_of_digits(line, at + 1, size)
    if end == at + 1:
        return -1
    return end


def _end_of_digits(line: bytes, start: i64, size: i64) -> i64:
    """Behind the digits that begin at `start`; the line does not end in one."""
    ones: i64 = _ONES
    low: i64 = ones * 0x7F
    at: i64 = start
    while True:
        # A digit differs from 0 in its low bits alone, which come to nine at most.
        word: i64 = read_i64_le(line, at) if at + 8 <= size else _word(line, at, size)
        differs: i64 = word ^ ones * _ZERO
        others: i64 = ((differs & low) + ones * 0x76 | differs) & ones << 7
        if others:
            return at + _first(others)
        at += 8


def _end_of_literal(line: bytes, start: i64, size: i64) -> i64:
    """Behind `true`, `false` or `null`; -1 for anything else."""
    word: i64 = _word(line, start, size) & 0xFFFFFFFF
    if word in (_TRUE, _NULL):
        return start + 4
    if word == _FALS and start + 4 < size and line[start + 4] == _LITTLE_E:
        return start + 5
    return -1


IS_COMPILED: Final = not hasattr(_first, "__code__")
