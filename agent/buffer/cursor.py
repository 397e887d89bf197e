"""The cursor: how far everything is delivered. A hint: losing it repeats, never loses. So it is written without a sync.

Only before a segment is deleted it is made durable. So where it speaks of records in front of the oldest segment, these
were not deleted by the buffer: they are lost.

The file has two slots, at 0 and 512, written in turn, so that a torn write leaves the other:

    offset length
         0      4  magic "GSC1"
         4      4  tag of the segment; a cursor of another buffer, or of a segment long gone, does not fit
         8      8  generation: the higher of two intact slots counts
        16      8  segment
        24      8  offset in it; everything before is delivered
        32     24  tally there: sequence of the next record, entries, records
        56      4  checksum of bytes 0..56
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from pathlib import Path

from zlib_ng.zlib_ng import crc32

from agent.buffer.meta import Tally
from agent.buffer.segment import Mark, Place

FILE_NAME = "cursor"
_SLOT = struct.Struct("<4sIQQQQQQ")
_MAGIC = b"GSC1"
_SLOT_BYTES = _SLOT.size + 4
_SLOT_OFFSETS = (0, 512)
assert _SLOT_BYTES == 60


@dataclass(frozen=True, slots=True)
class Hint:
    """A mark and the tag of its segment."""

    generation: int
    tag: int
    mark: Mark


def encode_slot(hint: Hint) -> bytes:
    place, tally = hint.mark.place, hint.mark.tally
    data = _SLOT.pack(
        _MAGIC, hint.tag, hint.generation, place.segment, place.offset, tally.sequence, tally.entries, tally.records
    )
    return data + crc32(data).to_bytes(4, "little")


def decode_slot(data: bytes) -> Hint | None:
    if len(data) < _SLOT_BYTES or not data.startswith(_MAGIC):
        return None
    if crc32(data[: _SLOT.size]) != int.from_bytes(data[_SLOT.size : _SLOT_BYTES], "little"):
        return None
    _, tag, generation, segment, offset, sequence, entries, records = _SLOT.unpack_from(data)
    return Hint(generation, tag, Mark(Place(segment, offset), Tally(sequence, entries, records)))


def decode(data: bytes) -> Hint | None:
    """The newer of the intact slots; None when there is none."""
    slots = (decode_slot(data[offset : offset + _SLOT_BYTES]) for offset in _SLOT_OFFSETS)
    return max((slot for slot in slots if slot is not None), key=lambda slot: slot.generation, default=None)


class Cursor:
    """The open file. Raises OSError when it cannot be opened."""

    def __init__(self, directory: Path) -> None:
        self._fd = os.open(directory / FILE_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self.hint = decode(os.pread(self._fd, 1024, 0))
        self._generation = self.hint.generation if self.hint is not None else 0
        self._last: Mark | None = None
        self._failure: OSError | None = None

    def write(self, mark: Mark, tag: int) -> None:
        """Not written is no harm: more is sent again."""
        if mark == self._last:
            return
        self._last = mark
        self._generation += 1
        slot = encode_slot(Hint(self._generation, tag, mark))
        try:
            os.pwrite(self._fd, slot, _SLOT_OFFSETS[self._generation % 2])
            self._failure = None
        except OSError as error:
            self._failure = error

    def sync(self) -> None:
        """Makes durable what was written, also from another thread. Raises OSError, that of the last write too."""
        if self._failure is not None:
            raise self._failure
        os.fdatasync(self._fd)

    def close(self) -> None:
        os.close(self._fd)
