"""The durable queue: `append` on one side, `unsent` and `ack` on the other, one log on disk between them.

Invariants:

 1. A record is visible to `unsent` only once it is durable, and `append` returns only then.
 2. Records of one group leave in the order they came, one at a time.
 3. A segment is deleted only when everything in it is settled, or dropped by policy, and a later head is durable.
 4. waiting = recovered + appended - delivered - dropped - damaged, in entries, at any moment.
 5. At most `index_records` records are known in memory; the others are found by looking ahead, oldest first.

 6. What is sent is what is on the disk: as it was made durable a moment ago, or read back and verified.

All state belongs to the event loop. Threads write, look ahead and read bodies, and see only values that do not change.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

from agent import config
from agent.buffer.at_hand import AtHand
from agent.buffer.backlog import Pending
from agent.buffer.cursor import Cursor
from agent.buffer.damaged import Damaged
from agent.buffer.errors import CorruptRecord, FutureFormat, StateGone, StateHeld, StateUnusable
from agent.buffer.lock import Lock, make_private
from agent.buffer.log import PASSING_ERRORS, Log, Outcome
from agent.buffer.outbox import Outbox
from agent.buffer.recovery import Recovered, recover, survey
from agent.buffer.segment import Mark, Storage
from agent.buffer.settled import Settled
from agent.model import Batch, Body, FileId, Record, Resume, Span
from agent.observe.events import (
    BufferFull,
    BufferHasRoom,
    BufferRecovered,
    BufferWriteFailed,
    Emit,
)

__all__ = ["BufferStatistics", "CorruptRecord", "DiskBuffer", "FutureFormat", "StateGone", "StateHeld", "StateUnusable"]

_INDEX_RECORDS = 50_000
_DELIVERING_S = 1.0
"""So long after the last delivery the next one is still thought to come."""
_AT_HAND_BYTES = 1024 * 1024
_LONGEST_PAUSE = 16
_REAL_STORAGE = Storage()


@dataclass(frozen=True, slots=True)
class BufferStatistics:
    """waiting_entries = recovered + appended - delivered - dropped - damaged, these counted since the opening.

    bytes: of all segments. oldest_ns: the oldest entry of the oldest waiting record, None when none is known.
    full: `append` waits, for room or for a disk that can be written.
    """

    waiting_entries: int
    waiting_records: int
    bytes: int
    limit_bytes: int
    segments: int
    oldest_ns: int | None
    recovered_entries: int
    appended_entries: int
    delivered_entries: int
    dropped_entries: int
    damaged_entries: int
    full: bool


class DiskBuffer:
    """Open with `DiskBuffer.open`. Everything but `read` is called on the event loop."""

    def __init__(
        self,
        directory: Path,
        settings: config.Buffer,
        emit: Emit,
        recovered: Recovered,
        log: Log,
        outbox: Outbox,
        *,
        free_bytes: Callable[[Path], int],
        pause_s: float,
        moment_s: float,
        monotonic: Callable[[], float],
    ) -> None:
        self._directory = directory
        self._settings = settings
        self._emit = emit
        self._log = log
        self._outbox = outbox
        self._lost = recovered.lost
        self._is_first = recovered.next_number == 1
        self._recovered = outbox.waiting_entries
        self._appended = 0
        self._at_hand = AtHand(_AT_HAND_BYTES)
        self._taken = asyncio.Event()
        self._acked_at = float("-inf")
        self._appending = asyncio.Lock()
        self._pause_s = pause_s
        self._moment_s = moment_s
        self._full = False
        self._failing = False
        self._free_bytes = free_bytes
        self._free_looked_at = float("-inf")
        self._free_left = 0
        self._monotonic = monotonic
        self._held = contextlib.ExitStack()

    # --- life -----------------------------------------------------------------------------------------------------

    @classmethod
    def open(
        cls,
        directory: Path,
        settings: config.Buffer,
        emit: Emit,
        *,
        storage: Storage = _REAL_STORAGE,
        pause_s: float = 1.0,
        moment_s: float = 0.05,
        index_records: int = _INDEX_RECORDS,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> Self:
        """Takes the lock, recovers, begins a new segment. Raises StateHeld, StateUnusable and FutureFormat.

        pause_s:       how long `append` waits before it looks again for room, or tries again to write; then twice that
                       and so on up to 16 times.
        moment_s:      how long it waits at most, where records are delivered, for those in memory to be sent.
        index_records: bound of the records known in memory.
        """
        make_private(directory)
        with contextlib.ExitStack() as held:
            held.callback(Lock(directory).close)
            found = survey(directory)
            try:
                cursor = Cursor(directory)
                held.callback(cursor.close)
                settled = Settled(directory)
            except OSError as error:
                raise StateUnusable(f"cannot open {error.filename}: {error.strerror}; free space or mend it") from error
            held.callback(settled.close)
            recovered = recover(directory, found, cursor.hint, Damaged(directory), emit)
            log = Log(directory, settings.segment_bytes, recovered, storage)
            held.callback(log.close)
            outbox = Outbox(
                log, recovered, cursor, settled, directory, emit, pause_s=pause_s, index_records=index_records
            )
            held.callback(outbox.close)
            buffer = cls(
                directory,
                settings,
                emit,
                recovered,
                log,
                outbox,
                free_bytes=storage.free_bytes,
                pause_s=pause_s,
                moment_s=moment_s,
                monotonic=monotonic,
            )
            buffer._begin()
            buffer._held = held.pop_all()
        return buffer

    def _begin(self) -> None:
        try:
            self._log.begin()
        except OSError as error:
            if error.errno not in PASSING_ERRORS:
                raise StateUnusable(f"cannot write to {self._directory}: {error}") from error
            self._note_failure(error)
        self._outbox.begin()
        if self._recovered:
            size, segments = self._log.size_bytes, len(self._log.segments)
            self._emit(BufferRecovered(str(self._directory), self._recovered, segments, size))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends `unsent` and lets the directory go. What waits is there at the next opening."""
        self._held.close()

    def resume(self) -> Resume:
        """Where reading goes on, which timestamps are taken, and what damage makes worth reading again."""
        return self._log.memory.resume(self._lost, is_first=self._is_first)

    def forget(self, files: Iterable[FileId]) -> None:
        """Positions of these files, and clocks of the streams they fed last, are left out of the heads to come."""
        self._log.memory.forget(files)

    # --- append ---------------------------------------------------------------------------------------------------

    async def append(self, batches: Sequence[Batch]) -> None:
        """Makes the batches durable, in order, with one write and one sync for as many as take half of the buffer. Waits while that is
        full or unwritable; and then a moment for those written before to be sent, as long as any are.

        Cancelled, either all of a write are durable and visible or none is. Raises StateGone.
        """
        if not batches:
            return
        async with self._appending:
            for some in _portions(batches, self._settings.max_bytes // 2):
                await self._write(some)
        await self._until_sent()

    async def _write(self, batches: Sequence[Batch]) -> None:
        drafts = self._log.draft(batches)
        publish = partial(self._publish, [batch.bodies for batch in batches if batch.bodies])
        pause_s = self._pause_s
        growth = await self._until_room(drafts.size)
        while not self._concluded(outcome := await self._log.commit(drafts, publish)):
            if not (outcome.disk_full and await self._make_room()):
                await self._pause(pause_s)
                pause_s = min(2 * pause_s, _LONGEST_PAUSE * self._pause_s)
            growth = await self._until_room(drafts.size)
        self._free_left -= growth
        if self._full:
            self._full = self._failing = False
            self._emit(BufferHasRoom())

    async def _until_sent(self) -> None:
        """Bodies leave memory before so many more come that they would have to be read back from the disk to be sent.

        Not while nothing is delivered, and no longer than a moment: then they are given up, and what waits in the files comes first.
        """
        if not self._at_hand.is_crowded or self._monotonic() - self._acked_at > _DELIVERING_S:
            return
        try:
            async with asyncio.timeout(self._moment_s):
                while self._at_hand.is_crowded:
                    self._taken.clear()
                    await self._taken.wait()
        except TimeoutError:
            self._at_hand.clear()

    def _publish(self, bodies: list[tuple[Body, ...]], begin: Mark, pendings: list[Pending]) -> None:
        """The records are durable: they count, and they can be sent."""
        self._appended += self._log.end.tally.entries - begin.tally.entries
        for pending, its in zip(pendings, bodies, strict=True):
            self._at_hand.keep(pending.record.sequence, its)
        self._outbox.extend(begin, pendings)

    def _concluded(self, outcome: Outcome) -> bool:
        """Takes over what a job in the thread did; whether it worked."""
        self._outbox.follow()
        if outcome.error is not None:
            self._note_failure(outcome.error)
        if outcome.cancelled is not None:
            raise outcome.cancelled
        return outcome.error is None

    def _note_failure(self, error: OSError) -> None:
        self._full = True
        if not self._failing:
            self._failing = True
            self._emit(BufferWriteFailed(str(self._directory), error.strerror or str(error)))
        if self._outbox.all_settled:
            # A new segment needs less room than the old one gives back.
            self._log.abandon_segment()

    # --- room -----------------------------------------------------------------------------------------------------

    async def _until_room(self, size: int) -> int:
        """Waits until `size` bytes may be written; gives what the log grows by then."""
        while not self._fits(size):
            if await self._make_room():
                continue
            if not self._full:
                self._full = True
                self._look_at_free_space()
                self._emit(BufferFull(self._log.size_bytes, self._settings.max_bytes, self._free_left))
            await self._pause(self._pause_s)
        return self._log.growth(size)[0]

    def _fits(self, size: int) -> bool:
        growth, rolls = self._log.growth(size)
        # With nothing but empty segments there is nothing to wait for: a batch bigger than the limit passes alone.
        if self._log.size_bytes + growth > self._settings.max_bytes and not self._log.bare:
            return False
        return self._leaves_reserve(growth, look=rolls)

    def _leaves_reserve(self, growth: int, *, look: bool) -> bool:
        """Whether the reserve is still free when the log has grown by so much.

        What was written since the last look is counted; only the next look shows what others took or gave back meanwhile.
        """
        if not self._settings.min_free_bytes:
            return True
        needed = self._settings.min_free_bytes + growth
        is_old = self._monotonic() - self._free_looked_at >= min(1.0, self._pause_s)
        if look or is_old or self._free_left < needed:
            self._look_at_free_space()
        return self._free_left >= needed

    def _look_at_free_space(self) -> None:
        self._free_looked_at = self._monotonic()
        with contextlib.suppress(OSError):
            self._free_left = self._free_bytes(self._directory)

    async def _make_room(self) -> bool:
        """Does what can be done without waiting for deliveries; whether that was anything."""
        if self._log.bare:
            return False
        if self._outbox.all_settled:
            return await self._roll()
        return self._settings.when_full == "drop_oldest" and await self._drop_oldest()

    async def _roll(self) -> bool:
        worked = self._concluded(await self._log.roll())
        await self._deleted()
        return worked

    async def _drop_oldest(self) -> bool:
        """Gives up the oldest segment; False when it is the only one and no new one can be begun."""
        if len(self._log.segments) == 1 and not await self._roll():
            return False
        if len(self._log.segments) > 1:  # else all in it was delivered while the new one was begun
            self._outbox.drop_oldest()
        await self._deleted()
        return True

    async def _deleted(self) -> None:
        """Until the files are gone: only then does the free space tell."""
        await asyncio.wrap_future(self._log.in_background(_nothing))
        self._free_looked_at = float("-inf")

    async def _pause(self, longest_s: float) -> None:
        """Until a segment was freed or all is settled, or `longest_s` have passed."""
        self._outbox.freed.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(longest_s):
                await self._outbox.freed.wait()

    # --- deliver --------------------------------------------------------------------------------------------------

    def unsent(self) -> AsyncIterator[Record]:
        """The oldest record whose group is not in flight, again and again; it is in flight until `ack` or `set_aside`.

        Waits when there is none. Ends when the buffer is closed.
        """
        return self._outbox.unsent()

    def at_hand(self, record: Record) -> tuple[Body, ...] | None:
        """The bodies of a record that was appended a moment ago and not asked for since, as `read` would give them."""
        self._taken.set()
        return self._at_hand.take(record.sequence)

    def read(self, record: Record) -> tuple[Body, ...]:
        """The record's bodies, verified; in any thread.

        Raises CorruptRecord, which asks for `set_aside`, StateGone, and OSError when the file cannot be opened just now.
        """
        return self._log.read(record)

    def ack(self, record: Record) -> None:
        """Loki has it, or has refused it for good: its group may go on.

        That it was dropped meanwhile is no error. Behind `close` it is as if it had not come: the record is sent again.
        """
        self._acked_at = self._monotonic()
        self._outbox.ack(record)

    def note_progress(self, record: Record, bodies: int, refused: int) -> None:
        """The first `bodies` of the record are settled, `refused` entries of them refused for good: a hint for a restart."""
        self._outbox.note_progress(record, bodies, refused)

    def set_aside(self, record: Record, spans: Sequence[Span] = ()) -> None:
        """`read` found it corrupt: its bytes are kept in `damaged`, its entries counted, its group may go on.

        spans: what it says it held; they are worth reading again.
        """
        self._outbox.set_aside(record, spans)

    def take_lost(self) -> tuple[Span, ...]:
        """Spans that stood in records found damaged since the last call: worth reading again, as `resume().lost` are."""
        lost, self._outbox.lost = tuple(self._outbox.lost), []
        return lost

    def statistics(self) -> BufferStatistics:
        return BufferStatistics(
            waiting_entries=self._outbox.waiting_entries,
            waiting_records=self._outbox.waiting_records,
            bytes=self._log.size_bytes,
            limit_bytes=self._settings.max_bytes,
            segments=len(self._log.segments),
            oldest_ns=self._outbox.oldest_ns,
            recovered_entries=self._recovered,
            appended_entries=self._appended,
            delivered_entries=self._outbox.delivered_entries,
            dropped_entries=self._outbox.dropped_entries,
            damaged_entries=self._outbox.damaged_entries,
            full=self._full,
        )


def _portions(batches: Sequence[Batch], most_bytes: int) -> Iterator[list[Batch]]:
    """Of `most_bytes` of payload at most, or one batch that has more by itself. What is written at once may pass the limit of the
    buffer alone (`_fits`), and that is to be one batch."""
    portion: list[Batch] = []
    size = 0
    for batch in batches:
        payload = sum(len(body.payload) for body in batch.bodies)
        if portion and size + payload > most_bytes:
            yield portion
            portion, size = [], 0
        portion.append(batch)
        size += payload
    if portion:
        yield portion


def _nothing() -> None:
    pass
