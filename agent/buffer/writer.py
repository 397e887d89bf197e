"""The end of the log that is written to: one segment at a time, one commit at a time.

Runs in the buffer's writing thread. What is in a segment behind its durable end was never acknowledged to anybody, and
the head of the next segment says so: its tally begins with the sequence that was not made durable.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from agent.buffer.errors import StateGone
from agent.buffer.meta import Tally
from agent.buffer.record import Draft, encode
from agent.buffer.segment import Segment, Storage, create, write_all


def gone(directory: Path) -> StateGone:
    return StateGone(
        f"{directory} was deleted while the agent ran; start it again: what was not delivered is read again from the files"
    )


class Writer:
    """Not thread-safe: the caller sees to it that one call at a time is under way.

    head: makes the head of a new segment for a tally; called only when there is to be one.
    """

    def __init__(
        self, directory: Path, segment_bytes: int, storage: Storage, number: int, head: Callable[[Tally], Draft]
    ) -> None:
        self._directory = directory
        self._segment_bytes = segment_bytes
        self._storage = storage
        self._next_number = number
        self._head = head
        self._fd = -1
        self._spoiled = False
        self.segment: Segment | None = None

    def open(self, tally: Tally) -> None:
        """Begins a new segment. Raises OSError; then the old one, if any, stays the one written to."""
        number, self._next_number = self._next_number, self._next_number + 1
        tag = int.from_bytes(os.urandom(4), "little")
        segment, fd = create(self._directory, number, tag, tally, self._head(tally), self._storage)
        self.close()
        self.segment, self._fd, self._spoiled = segment, fd, False

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def wants_new_segment(self, size: int) -> bool:
        """Whether `size` more bytes belong in a new segment. A commit bigger than a segment gets one of its own."""
        segment = self.segment
        if segment is None or self._spoiled:
            return True
        if segment.end == segment.start:
            return False
        # A head that fills a segment must not make each record a segment of its own.
        return segment.end + size > max(self._segment_bytes, 2 * segment.start)

    def commit(self, drafts: Sequence[Draft], tally: Tally) -> int:
        """Writes the frames with one write and one sync; returns where in `self.segment` they begin.

        tally: before the first of them. Raises OSError; then none of them counts as written. Raises StateGone.
        """
        self._check_there()
        if self.wants_new_segment(sum(draft.length for draft in drafts)):
            self.open(tally)
        segment = self.segment
        assert segment is not None
        data = b"".join(piece for draft in drafts for piece in encode(draft, segment.tag))
        # Until the sync has succeeded the tail is not to be trusted. A failed sync may have thrown the bytes away and
        # call the next one a success, so there is no second try in this file.
        written = False
        try:
            write_all(self._storage, self._fd, data, segment.end)
            written = True
            self._storage.sync(self._fd)
        except OSError:
            self._spoiled = not self._cut(segment.end) or written
            raise
        self.segment = replace(segment, end=segment.end + len(data))
        return segment.end

    def _check_there(self) -> None:
        """What is written to a deleted file is durable for nobody."""
        if self._fd >= 0 and os.fstat(self._fd).st_nlink == 0:
            raise gone(self._directory)

    def abandon(self) -> None:
        """Nothing in this segment is needed any more: the next commit begins a new one, and this one can go."""
        self._spoiled = True

    def _cut(self, end: int) -> bool:
        """Takes off what lies behind the durable end; whether that worked."""
        with contextlib.suppress(OSError):
            os.ftruncate(self._fd, end)
            return True
        return False
