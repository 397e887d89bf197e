"""The log: its segments, its end, and the thread that writes, syncs and deletes, one thing after the other.

Knows nothing of delivery. What a job in the thread did is taken over on the event loop, also when whoever waited for it
was cancelled meanwhile: what is durable is part of the log.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import Path
from typing import TypeVar

from agent.buffer.backlog import Pending
from agent.buffer.errors import CorruptRecord
from agent.buffer.lock import FILE_NAME as LOCK_NAME
from agent.buffer.lookahead import pending_of
from agent.buffer.meta import RecordMeta, decode_bodies, record_meta
from agent.buffer.record import Corrupt, Draft, Frame, decode, draft_record
from agent.buffer.recovery import Recovered
from agent.buffer.replay import lost_in
from agent.buffer.segment import Mark, Place, Segment, Storage, reading
from agent.buffer.writer import Writer, gone
from agent.model import Batch, Body, Record, Span

# What passes, or what an operator mends while the agent waits. Anything else is a bug and ends the process.
PASSING_ERRORS = frozenset(
    {
        errno.ENOSPC,
        errno.EDQUOT,
        errno.EIO,
        errno.EROFS,
        errno.EFBIG,
        errno.EACCES,
        errno.EPERM,
        errno.ENOENT,
        errno.EMFILE,
        errno.ENFILE,
        errno.ENOMEM,
        errno.ESTALE,
    }
)

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Drafts:
    """Batches with their places in the tally, ready to be written behind the end they were drafted for."""

    batches: Sequence[Batch]
    metas: Sequence[RecordMeta]
    frames: Sequence[Draft]
    size: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a job. error: one that passes. cancelled: to be raised once the outcome is taken over."""

    error: OSError | None
    cancelled: asyncio.CancelledError | None

    @property
    def disk_full(self) -> bool:
        return self.error is not None and self.error.errno in (errno.ENOSPC, errno.EDQUOT)


class Log:
    """All but `read` is called on the event loop, and one of `commit` and `roll` at a time.

    segments: by number, oldest first. end: everything before is durable. size_bytes: of all segments.
    """

    def __init__(self, directory: Path, segment_bytes: int, recovered: Recovered, storage: Storage) -> None:
        self.segments = {segment.number: segment for segment in recovered.segments}
        self.size_bytes = sum(segment.end for segment in recovered.segments)
        self.end = recovered.end
        self.memory = recovered.memory
        self._directory = directory
        self._vacant = recovered.vacant
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="buffer-write")
        self._writer = Writer(directory, segment_bytes, storage, recovered.next_number, self.memory.head)

    def begin(self) -> None:
        """A new segment: nothing is ever appended to a file that saw a crash. Raises OSError; `commit` tries again."""
        self._writer.open(self.end.tally)
        self._adopt()

    def close(self) -> None:
        self._thread.shutdown()
        self._writer.close()

    # --- writing --------------------------------------------------------------------------------------------------

    def draft(self, batches: Sequence[Batch]) -> Drafts:
        self.memory.forget_now()
        metas: list[RecordMeta] = []
        tally = self.end.tally
        for batch in batches:
            metas.append(record_meta(batch, tally))
            tally = metas[-1].after
        frames = [draft_record(meta, batch) for meta, batch in zip(metas, batches, strict=True)]
        return Drafts(batches, metas, frames, sum(frame.length for frame in frames))

    async def commit(self, drafts: Drafts, visible: Callable[[Mark, list[Pending]], None]) -> Outcome:
        """Writes and syncs. visible: called with where they begin and the records that have bodies, once durable."""
        job = self._start(lambda: self._writer.commit(drafts.frames, self.end.tally))
        outcome = await self._concluded(job)
        if outcome.error is None:
            begin = Mark(Place(self.end.place.segment, job.result()), self.end.tally)
            visible(begin, self._extend(drafts, job.result()))
        return outcome

    async def roll(self) -> Outcome:
        """Begins a new segment, so that the one before can go."""
        return await self._concluded(self._start(lambda: self._writer.open(self.end.tally)))

    def _start(self, work: Callable[[], Result]) -> asyncio.Future[Result]:
        return asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def _concluded(self, job: asyncio.Future[Result]) -> Outcome:
        """Waits until the thread is done, whatever happens. Raises what the job raised when that is a bug."""
        cancelled = None
        while not job.done():
            try:
                await asyncio.wait((job,))
            except asyncio.CancelledError as error:
                cancelled = error
        # A new segment may stand, also when the write to it then failed.
        self._adopt()
        failure = job.exception()
        if failure is None:
            return Outcome(None, cancelled)
        if isinstance(failure, OSError) and failure.errno in PASSING_ERRORS:
            return Outcome(failure, cancelled)
        raise failure

    def _adopt(self) -> None:
        segment = self._writer.segment
        if segment is None or segment.number in self.segments:
            return
        segment = replace(segment, end=segment.start)
        self.segments[segment.number] = segment
        self.size_bytes += segment.end
        self.end = segment.beginning
        # Every start begins a segment; what the last ones left empty goes as soon as there is a newer head.
        for path in self._vacant:
            self._thread.submit(_remove, path)
        self._vacant = ()

    def _extend(self, drafts: Drafts, offset: int) -> list[Pending]:
        number = self.end.place.segment
        pendings = []
        for batch, meta, frame in zip(drafts.batches, drafts.metas, drafts.frames, strict=True):
            if meta.bodies:
                pendings.append(pending_of(meta, Place(number, offset), frame.length))
            offset += frame.length
            self.memory.apply(batch.spans, meta.clocks())
            self.end = Mark(Place(number, offset), meta.after)
        self.segments[number] = replace(self.segments[number], end=offset)
        self.size_bytes += drafts.size
        return pendings

    # --- room -----------------------------------------------------------------------------------------------------

    def growth(self, size: int) -> tuple[int, bool]:
        """Bytes the log grows by when `size` bytes are committed, and whether that begins a segment."""
        if not self._writer.wants_new_segment(size):
            return size, False
        newest = self.segments.get(self.end.place.segment)
        return size + (newest.start if newest is not None else 0), True

    @property
    def bare(self) -> bool:
        """No file holds a record."""
        return all(segment.end == segment.start for segment in self.segments.values())

    def abandon_segment(self) -> None:
        """Nothing is needed of the segment that is written to: the next commit begins a new one."""
        self._writer.abandon()

    def delete_before(self, number: int, once: Callable[[], None]) -> bool:
        """Deletes the older segments, as `delete` does; whether there were any."""
        settled = list(takewhile(lambda segment: segment.number < number, self.segments.values()))
        if settled:
            self._delete(settled, once)
        return bool(settled)

    def delete(self, number: int, once: Callable[[], None]) -> None:
        """Deletes one segment, once `once` has worked; when it fails (OSError) the file stays until the next start."""
        self._delete([self.segments[number]], once)

    def _delete(self, segments: Sequence[Segment], once: Callable[[], None]) -> None:
        for segment in segments:
            del self.segments[segment.number]
            self.size_bytes -= segment.end

        def job() -> None:
            with contextlib.suppress(OSError):
                once()
                for segment in segments:
                    _remove(segment.path)

        self._thread.submit(job)

    def in_background(self, work: Callable[[], None]) -> Future[None]:
        """Done in its turn: behind the writes and deletions asked for earlier, before those asked for later."""
        return self._thread.submit(work)

    # --- reading --------------------------------------------------------------------------------------------------

    def behind(self, mark: Mark) -> list[Segment]:
        """The segments from the one of `mark` on."""
        return [segment for segment in self.segments.values() if segment.number >= mark.place.segment]

    def check_there(self) -> None:
        """When a segment is missing: raises StateGone unless the rest of the buffer is there. In any thread."""
        if not (self._directory / LOCK_NAME).exists():
            raise gone(self._directory)

    def lost_in(self, damages: Iterable[Mark]) -> Callable[[], tuple[Span, ...]]:
        """A job for a thread: the spans that stood in what is damaged of the marks' segments, each from its mark on.

        It raises OSError.
        """
        segments, positions, tally = list(self.segments.values()), dict(self.memory.positions), self.end.tally
        chosen = list(damages)

        def job() -> tuple[Span, ...]:
            lost = (lost_in(segments, mark.place.segment, mark, positions, tally) for mark in chosen)
            return tuple(span for spans in lost for span in spans)

        return job

    def read(self, record: Record) -> tuple[Body, ...]:
        """In any thread. Raises CorruptRecord, StateGone, and OSError when the file cannot be opened just now."""
        segment = self.segments.get(record.segment)
        if segment is None:
            raise CorruptRecord(f"record {record.sequence}: its segment {record.segment} was given up")
        try:
            with reading(segment.path) as read:
                found = decode(read, record.offset, record.offset + record.length, segment.tag, payload=True)
        except FileNotFoundError:
            self.check_there()
            raise CorruptRecord(f"record {record.sequence}: {segment.path} is gone") from None
        meta = found.meta if isinstance(found, Frame) else None
        if isinstance(found, Frame) and isinstance(meta, RecordMeta) and meta.tally.sequence == record.sequence:
            return decode_bodies(meta, found.payload)
        known = found.meta if isinstance(found, Corrupt) else None
        message = f"{segment.path} at {record.offset}: record {record.sequence} is not what was written"
        raise CorruptRecord(
            message, known.spans if known is not None and known.tally.sequence == record.sequence else ()
        )


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        os.unlink(path)
