"""What is settled behind the cursor: records that were faster than one before them, and the first bodies of a record.

A hint like the cursor, and written without a sync like it: losing it repeats, never loses. Yet what is repeated late is not
always taken again: Loki refuses what is an hour older than the newest of its stream, and what it has would then count as
refused. So a start sends nothing of which is known that Loki has it.

A segment between unsettled ones that is settled as a whole is deleted, or one stream that Loki refuses would fill the buffer
for all. Only then this file is synced, before the deletion.

The file is a row of slots, each for one record:

    offset length
         0      8  segment
         8      8  sequence
        16      4  tag of the segment
        20      4  entries of the record
        24      4  how many of its bodies are settled, from the first; FFFFFFFF: all of it
        28      4  entries among these that were refused for good
        32      4  checksum of bytes 0..32
"""

from __future__ import annotations

import contextlib
import os
import struct
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from zlib_ng.zlib_ng import crc32

from agent.buffer.segment import Mark, Segment

FILE_NAME = "settled"
ALL_BODIES = 0xFFFFFFFF

_SLOT = struct.Struct("<QQIIII")
SLOT_BYTES = _SLOT.size + 4
assert SLOT_BYTES == 36
_SMALLEST_TIDIED_BYTES = 64 * 1024
_MAX_BYTES = 250_000 * SLOT_BYTES


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a record is settled."""

    segment: int
    sequence: int
    tag: int
    entries: int
    bodies: int = ALL_BODIES
    refused: int = 0

    @property
    def whole(self) -> bool:
        return self.bodies == ALL_BODIES


def encode(progress: Progress) -> bytes:
    data = _SLOT.pack(
        progress.segment, progress.sequence, progress.tag, progress.entries, progress.bodies, progress.refused
    )
    return data + crc32(data).to_bytes(4, "little")


def decode(data: bytes) -> Iterator[Progress]:
    """The intact slots."""
    for at in range(0, len(data) - SLOT_BYTES + 1, SLOT_BYTES):
        slot = data[at : at + _SLOT.size]
        if crc32(slot) == int.from_bytes(data[at + _SLOT.size : at + SLOT_BYTES], "little"):
            yield Progress(*_SLOT.unpack(slot))


def last_segment(directory: Path) -> int:
    """The newest segment that the file speaks of, 0 where it speaks of none. A number is not given twice while it does."""
    with contextlib.suppress(OSError):
        data = (directory / FILE_NAME).read_bytes()[:_MAX_BYTES]
        return max((progress.segment for progress in decode(data)), default=0)
    return 0


@dataclass(slots=True)
class Done:
    """What an earlier run got done of records still to be looked at. entries, records: of those done wholly."""

    whole: dict[int, int] = field(default_factory=dict)
    begun: dict[int, Progress] = field(default_factory=dict)
    entries: int = 0

    @property
    def records(self) -> int:
        return len(self.whole)

    def take_whole(self, sequence: int) -> int | None:
        """The entries of a record that is done wholly, None for another. It is forgotten."""
        entries = self.whole.pop(sequence, None)
        self.entries -= entries or 0
        return entries

    def cover(self, begin: int, end: int, records: int) -> bool:
        """Whether all the `records` from sequence `begin` to `end` are done wholly."""
        return bool(self.whole) and sum(sequence in self.whole for sequence in range(begin, end)) == records

    def take_among(self, begin: int, end: int) -> tuple[int, int]:
        """How many records, and entries, from sequence `begin` to `end` are done wholly. They are forgotten."""
        taken = [self.take_whole(sequence) for sequence in range(begin, end)] if self.whole else []
        entries = [each for each in taken if each is not None]
        return len(entries), sum(entries)


def fitting(found: Iterable[Progress], segments: Sequence[Segment], start: Mark, end: Mark) -> Done:
    """What is said of records of these segments, and of segments gone from between them, from `start` to `end`.

    A sequence can come again when the log lost its end, but not in the same segment.
    """
    ends = [*(segment.tally.sequence for segment in segments[1:]), end.tally.sequence]
    known = {
        (segment.number, segment.tag): range(max(segment.tally.sequence, start.tally.sequence), stop)
        for segment, stop in zip(segments, ends, strict=False)
    }
    # A segment that was deleted because all in it is settled leaves its sequences to the one before it.
    gaps = {
        number: range(max(segment.tally.sequence, start.tally.sequence), following.tally.sequence)
        for segment, following in pairwise(segments)
        for number in range(segment.number + 1, following.number)
    }
    # So does one behind which only an empty one came, which is not among these.
    last = segments[-1] if segments else None
    behind = range(max(last.tally.sequence, start.tally.sequence), end.tally.sequence) if last else range(0)
    done = Done()
    for progress in found:
        sequences = known.get((progress.segment, progress.tag)) or gaps.get(progress.segment, range(0))
        if last is not None and progress.segment > last.number:
            sequences = behind
        if progress.sequence not in sequences:
            continue
        if progress.whole:
            done.whole[progress.sequence] = progress.entries
        else:
            done.begun[progress.sequence] = progress
    done.entries = sum(done.whole.values())
    return done


class Settled:
    """The open file. Raises OSError when it cannot be opened.

    Of more than 250,000 records nothing is noted: then more is sent again.
    """

    def __init__(self, directory: Path) -> None:
        self._fd = os.open(directory / FILE_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._size = min(os.fstat(self._fd).st_size // SLOT_BYTES * SLOT_BYTES, _MAX_BYTES)
        there = set(self.found())
        self._last = max((progress.sequence for progress in there), default=0)
        self._whole_in = Counter(progress.segment for progress in there if progress.whole)
        self._tidy_at = _SMALLEST_TIDIED_BYTES

    def found(self) -> Iterator[Progress]:
        """What it says. What cannot be read, it does not say."""
        with contextlib.suppress(OSError):
            yield from decode(os.pread(self._fd, self._size, 0))

    def note(self, progress: Progress) -> None:
        """Not written is no harm: more is sent again."""
        if self._size >= _MAX_BYTES:
            return
        with contextlib.suppress(OSError):
            if os.pwrite(self._fd, encode(progress), self._size) == SLOT_BYTES:
                self._size += SLOT_BYTES
                self._last = max(self._last, progress.sequence)
                self._whole_in[progress.segment] += progress.whole

    def whole_in(self, segment: int) -> int:
        """Of how many records of a segment it says that all of them is settled."""
        return self._whole_in[segment]

    def sync(self) -> None:
        """Makes durable what is noted: from now on it is no hint, for what it speaks of may go. Raises OSError."""
        os.fdatasync(self._fd)

    def pass_to(self, sequence: int) -> None:
        """Everything before this record is settled: nothing need be said of it any more."""
        if not self._size or (sequence <= self._last and self._size < self._tidy_at):
            return
        with contextlib.suppress(OSError):
            there = self.found() if sequence <= self._last else ()
            kept = b"".join(encode(progress) for progress in there if progress.sequence >= sequence)
            # Cut short in between, some slots are there twice, which says no more than once.
            os.pwrite(self._fd, kept, 0)
            os.ftruncate(self._fd, len(kept))
            self._size = len(kept)
        self._tidy_at = max(_SMALLEST_TIDIED_BYTES, 2 * self._size)

    def close(self) -> None:
        os.close(self._fd)
