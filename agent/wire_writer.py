"""The entries of a push body, written one after the other into one buffer.

Compiled, a byte more costs next to nothing, and each piece of its own much: a third of what `wire` pays for the same bytes.
In the interpreter it is the other way round, so this module is only used where it is compiled.
"""

from __future__ import annotations

from typing import Final

from librt.strings import BytesWriter
from mypy_extensions import i64, u8

_SECOND_NS: Final = 1_000_000_000
_LATEST_NS: Final = (1 << 62) - 1
_COMMON_WIDTH: Final = 3
"""Bytes of a length between 16 KiB and 2 MiB."""
_KEPT_BYTES: Final = 2 * 1024 * 1024
_spare: Final[list[BytesWriter]] = []
"""The buffer of the body before, for memory that is new to the process costs more than what is written into it."""


def push_request(head: bytes, timestamps_ns: list[int], lines: list[bytes], metadata: list[bytes]) -> bytes | None:
    """A PushRequest of one stream, of which `head` is the field of its labels; see `wire` for the format. The lists are of one
    length. None when there is a time before 1970 or after 2116, which is not written here."""
    out = _spare.pop() if _spare else BytesWriter()
    width: i64 = _COMMON_WIDTH
    size: i64 = 0
    while True:
        out.truncate(0)
        out.append(0x0A)
        for _ in range(width):
            out.append(0)
        out.write(head)
        if not _entries(out, timestamps_ns, lines, metadata):
            return None
        size = len(out) - 1 - width
        if _width(size) == width:
            break
        width = _width(size)
    at: i64 = 1
    while size > 0x7F:
        out[at] = u8(size & 0x7F | 0x80)
        size >>= 7
        at += 1
    out[at] = u8(size)
    body = out.getvalue()
    if len(body) <= _KEPT_BYTES:
        _spare.append(out)
    return body


def _entries(out: BytesWriter, timestamps_ns: list[int], lines: list[bytes], metadata: list[bytes]) -> bool:
    second: i64 = -1
    seconds = b""
    for ns, line, meta in zip(timestamps_ns, lines, metadata):  # noqa: B905 - one length, and `strict` is slow
        if ns < 0 or ns > _LATEST_NS:
            return False
        time: i64 = ns
        whole: i64 = time // _SECOND_NS
        nanos: i64 = time - whole * _SECOND_NS
        if whole != second:
            second = whole
            seconds = _seconds(whole)
        stamp: i64 = len(seconds)
        if nanos:
            stamp += 1 + _width(nanos)
        length: i64 = len(line)
        out.append(0x12)
        _put(out, 3 + stamp + _width(length) + length + len(meta))
        out.append(0x0A)
        out.append(u8(stamp))
        out.write(seconds)
        if nanos:
            out.append(0x10)
            _put(out, nanos)
        out.append(0x12)
        _put(out, length)
        out.write(line)
        if meta:
            out.write(meta)
    return True


def _seconds(number: i64) -> bytes:
    out = BytesWriter()
    out.append(0x08)
    _put(out, number)
    return out.getvalue()


def _put(out: BytesWriter, number: i64) -> None:
    """A base-128 varint."""
    while number > 0x7F:
        out.append(u8(number & 0x7F | 0x80))
        number >>= 7
    out.append(u8(number))


def _width(number: i64) -> i64:
    """How many bytes `_put` writes."""
    width: i64 = 1
    while number > 0x7F:
        number >>= 7
        width += 1
    return width
