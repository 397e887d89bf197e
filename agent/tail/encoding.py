"""Text that is not UTF-8: where its newlines are, where a character ends, and what it is in UTF-8. Pure.

Encodings in which a newline is the one byte 0x0A that is part of no other character (latin-1, cp1252, shift-jis, …) are
framed as bytes and decoded afterwards. In UTF-16 and UTF-32 a newline is a whole unit: U+0A0A holds two such bytes and no
newline, so searches look at unit borders only. What cannot be decoded becomes U+FFFD.
"""

from __future__ import annotations

import codecs
from functools import cache

from agent.tail.framing import UTF8, Units, Utf8

REPLACEMENT = "\N{REPLACEMENT CHARACTER}".encode()

# In this order: the mark of UTF-32 little endian begins with that of UTF-16 little endian.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_NATIVE_ORDER = {"utf-16": "utf-16-le", "utf-32": "utf-32-le"}


class Narrow(Utf8):
    """An encoding whose newline is one byte."""

    def __init__(self, name: str) -> None:
        self._name = name

    def most(self, limit: int) -> int:
        return limit // (2 if self._name == "iso8859-1" else 3)

    def cut(self, data: bytes, start: int, at: int) -> int:
        decoder = codecs.getincrementaldecoder(self._name)("replace")
        decoder.decode(data[start:at])
        begun = len(decoder.getstate()[0])  # of a character of several bytes
        return at - begun if at - begun > start else at

    def text(self, data: bytes) -> bytes:
        return super().text(data.decode(self._name, "replace").encode())


class Wide:
    """UTF-16 or UTF-32 of a known byte order. Lines begin at multiples of the width, as given bytes do."""

    def __init__(self, name: str, width: int) -> None:
        self._name = name
        self._newline = "\n".encode(name)
        self._return = "\r".encode(name)
        self.width = width

    def most(self, limit: int) -> int:
        return (limit * 2 // 3 if self.width == 2 else limit) // self.width * self.width

    def first_newline(self, data: bytes, start: int, end: int) -> int:
        at = data.find(self._newline, start, end)
        while at >= 0 and (at - start) % self.width:
            at = data.find(self._newline, at + 1, end)
        return at

    def last_newline(self, data: bytes, start: int, end: int) -> int:
        at = data.rfind(self._newline, start, end)
        while at >= 0 and (at - start) % self.width:
            at = data.rfind(self._newline, start, at + self.width - 1)
        return at

    def has_return_before(self, data: bytes, at: int) -> bool:
        return data[at - self.width : at] == self._return if at >= self.width else False

    def cut(self, data: bytes, start: int, at: int) -> int:
        border = at - (at - start) % self.width
        if self.width == 2:
            last = int.from_bytes(data[border - 2 : border], "little" if self._name.endswith("le") else "big")
            if 0xD800 <= last < 0xDC00 and border - 2 > start:  # a high surrogate stays with its low one
                border -= 2
        return border

    def text(self, data: bytes) -> bytes:
        return UTF8.text(data.decode(self._name, "replace").encode())


def valid(data: bytes, limit: int) -> tuple[bytes, int]:
    """The lines as UTF-8, and how many characters were none and are replaced. Each becomes three bytes; should a line
    then exceed the limit, each bad byte becomes a question mark instead."""
    if data.isascii():
        return data, 0
    try:
        data.decode()
    except UnicodeDecodeError:
        replaced = data.decode("utf-8", "replace").encode()
        count = replaced.count(REPLACEMENT) - data.count(REPLACEMENT)
        if max(map(len, replaced.split(b"\n"))) > limit:
            replaced = data.decode("utf-8", _ONE_FOR_ONE).encode()
        return replaced, count
    return data, 0


_ONE_FOR_ONE = "greenstack-one-for-one"
codecs.register_error(_ONE_FOR_ONE, lambda error: ("?" * (error.end - error.start), error.end))  # type: ignore[attr-defined]


def units_for(configured: str, head: bytes) -> tuple[Units, int]:
    """How the text of a file lies in its bytes, and the length of its byte-order mark. `head`: its first 4 bytes."""
    for mark, name in _MARKS:
        if head.startswith(mark):
            return _units(name), len(mark)
    return _units(configured), 0


@cache
def _units(name: str) -> Units:
    """The same for the same encoding."""
    name = codecs.lookup(name).name
    name = _NATIVE_ORDER.get(name, name)
    if name in ("utf-8", "utf-8-sig", "ascii"):
        return UTF8
    if name.startswith(("utf-16", "utf-32")):
        return Wide(name, 2 if "16" in name else 4)
    return Narrow(name)
