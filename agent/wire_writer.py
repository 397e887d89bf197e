"""A push body, written and compressed piece by piece.

Compiled, a byte more costs next to nothing, and each piece of its own much: a third of what `wire` pays for the same bytes.
In the interpreter it is the other way round, so this module is only used where it is compiled.

Block snappy is the length of everything as a varint, and then blocks that refer to nothing outside of themselves when they are made of
64 KiB each, as its encoders make them (`format_description.txt` of google/snappy). So entries are compressed as soon as they fill a
block: they are in the processor's cache then, and what they push out of it is a block, not the body.
"""

from __future__ import annotations

from typing import Final

import cramjam
from librt.strings import BytesWriter
from mypy_extensions import i64, u8

_SECOND_NS: Final = 1_000_000_000
_LATEST_NS: Final = (1 << 62) - 1
_BLOCK_BYTES: Final = 64 * 1024
_ENOUGH_BYTES: Final = 63 * 1024
"""The next entry would hardly fit into the block."""
_KEPT_BYTES: Final = 512 * 1024
_ROOM_BYTES: Final[int] = cramjam.snappy.compress_raw_max_len(bytes(_BLOCK_BYTES))
_spare: Final[list[tuple[BytesWriter, bytearray]]] = []
"""What the body before was written to, and its blocks compressed into: memory that is new to the process costs more than what is written
into it. Taken out while it is in use, for threads encode too."""


def snappy_push_request(
    head: bytes, timestamps_ns: list[int], lines: list[bytes], metadata: list[bytes]
) -> bytes | None:
    """A compressed PushRequest of one stream, of which `head` is the field of its labels; see `wire` for the format. The lists are of
    one length. None when there is a time before 1970 or after 2116, which is not written here."""
    out, room = _spare.pop() if _spare else (BytesWriter(), bytearray(_ROOM_BYTES))
    out.truncate(0)
    blocks: list[bytes | bytearray] = [b"", b""]  # of these two the lengths of all others are a part
    entries_bytes: i64 = 0
    most: i64 = 0
    second: i64 = -1
    seconds = b""
    for ns, line, meta in zip(timestamps_ns, lines, metadata):  # noqa: B905 - one length, and `strict` is slow
        if ns < 0 or ns > _LATEST_NS:
            return None
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
        if len(out) >= _ENOUGH_BYTES:
            most = max(most, len(out))
            entries_bytes += len(out)
            blocks.append(_block(out, room))
    if len(out):
        entries_bytes += len(out)
        blocks.append(_block(out, room))
    out.append(0x0A)
    _put(out, len(head) + entries_bytes)
    out.write(head)
    whole_bytes: i64 = len(out) + entries_bytes
    blocks[1] = _block(out, room)
    _put(out, whole_bytes)
    blocks[0] = out.getvalue()
    if most <= _KEPT_BYTES:
        _spare.append((out, room))
    return b"".join(blocks)


def _block(out: BytesWriter, room: bytearray) -> bytearray:
    """What was written, compressed; the writer is empty then. Of more than fits one block it is several."""
    plain = out.getvalue()
    out.truncate(0)
    if len(plain) > _BLOCK_BYTES:
        room = bytearray(cramjam.snappy.compress_raw_max_len(plain))
    end: i64 = cramjam.snappy.compress_raw_into(plain, room)
    begin: i64 = _width(len(plain))  # behind the length of this part, which the length of all replaces
    return room[begin:end]


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
