"""The sending side of the buffer: what waits, what is in flight, what is settled.

Everything before the frontier is in the backlog, settled, or known to be lost; between it and the log's end lie durable
records that are not in memory. So what waits is known exactly, however little of it is in memory.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path

from agent.buffer.backlog import Backlog, Pending
from agent.buffer.cursor import Cursor
from agent.buffer.damaged import Damaged
from agent.buffer.log import PASSING_ERRORS, Log
from agent.buffer.lookahead import Ahead, Damage, look_ahead
from agent.buffer.recovery import Recovered
from agent.buffer.segment import Mark
from agent.buffer.settled import ALL_BODIES, Progress, Settled, fitting
from agent.model import Record, Span
from agent.observe.events import BufferDamaged, BufferDropped, BufferReadFailed, BufferSpansLost, Emit

_STEP_RECORDS = 512
_FIRST_STEP_RECORDS = 64


class Outbox:
    """index_records: bound of the records known in memory.

    Counts entries since the opening. freed: set whenever a segment was deleted or all is settled. lost: spans that stood
    in records found damaged since the opening.
    """

    def __init__(
        self,
        log: Log,
        recovered: Recovered,
        cursor: Cursor,
        settled: Settled,
        directory: Path,
        emit: Emit,
        *,
        pause_s: float,
        index_records: int,
    ) -> None:
        self._log = log
        self._frontier = recovered.start
        self._verified = recovered.judged[-1] if recovered.judged else 0
        self._judged = set(recovered.judged)
        self._cursor = cursor
        self._settled = settled
        # Of records behind the frontier.
        self._done = fitting(settled.found(), recovered.segments, recovered.start, recovered.end)
        self._directory = directory
        self._aside = Damaged(directory)
        self._emit = emit
        self._pause_s = pause_s
        self._index_records = index_records
        self._backlog = Backlog()
        self._looking_ahead = asyncio.Lock()
        self._arrived = asyncio.Event()
        self._closed = False
        self.freed = asyncio.Event()
        self.lost: list[Span] = []
        self.delivered_entries = 0
        self.dropped_entries = 0
        self.damaged_entries = 0

    def close(self) -> None:
        """Ends `unsent`."""
        self._closed = True
        self._arrived.set()

    @property
    def waiting_entries(self) -> int:
        return self._backlog.entries + self._log.end.tally.entries - self._frontier.tally.entries - self._done.entries

    @property
    def waiting_records(self) -> int:
        return len(self._backlog) + self._log.end.tally.records - self._frontier.tally.records - self._done.records

    @property
    def oldest_ns(self) -> int | None:
        return self._backlog.oldest_ns

    @property
    def all_settled(self) -> bool:
        return self._backlog.first is None and self._caught_up

    # --- in -------------------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Knows the oldest records without waiting; a file that cannot be opened just now is left to `unsent`."""
        self.follow()
        if not self._caught_up:
            with contextlib.suppress(OSError):
                ahead = self._look(min(_FIRST_STEP_RECORDS, self._index_records))()
                lost = self._judge(ahead.damages)()
                self._take_in(ahead)
                self._note_lost(lost)

    def extend(self, begin: Mark, pendings: list[Pending]) -> None:
        """The log has grown from `begin` on by records, these among them that have bodies."""
        caught_up = self._frontier.tally.sequence == begin.tally.sequence
        if caught_up and len(self._backlog) + len(pendings) <= self._index_records:
            for pending in pendings:
                self._backlog.add(pending)
            self._frontier = self._log.end
        self._arrived.set()

    def follow(self) -> None:
        """Goes along to the log's end, into a new segment too, when no record lies between."""
        if self._frontier.tally == self._log.end.tally:
            is_further = self._log.end.place.segment > self._frontier.place.segment
            self._frontier = self._log.end
            if is_further:
                self._free_between()
        self._settle()

    async def _look_further(self) -> None:
        async with self._looking_ahead:
            start, room = self._frontier, self._index_records - len(self._backlog)
            if self._caught_up or room <= 0:
                return
            try:
                ahead = await asyncio.to_thread(self._look(min(_STEP_RECORDS, room)))
            except OSError as error:
                if error.errno not in PASSING_ERRORS:
                    raise
                self._emit(BufferReadFailed(str(self._directory), error.strerror or str(error)))
                await asyncio.sleep(self._pause_s)
                return
            lost: tuple[Span, ...] = ()
            if ahead.damages:
                self._log.check_there()
                lost = await asyncio.to_thread(self._judge(ahead.damages))
            # Meanwhile the segment may have been dropped: then what was found in it does not count.
            if self._frontier == start and not self._closed:
                self._take_in(ahead)
                self._note_lost(lost)

    def _look(self, limit: int) -> Callable[[], Ahead]:
        start = self._frontier
        return partial(look_ahead, self._log.behind(start), start, self._log.end, limit)

    def _judge(self, damages: Sequence[Damage]) -> Callable[[], tuple[Span, ...]]:
        """A job that finds what stood in the damaged places; each segment is judged once, from its first damage on."""
        first: dict[int, Mark] = {}
        for damage in damages:
            number = damage.before.place.segment
            is_done = self._done.cover(damage.before.tally.sequence, damage.following, damage.records)
            if number not in self._judged and not is_done:
                first.setdefault(number, damage.before)
        self._judged |= first.keys()
        return self._log.lost_in(first.values())

    def _note_lost(self, spans: Sequence[Span]) -> None:
        if spans:
            self.lost += spans
            self._emit(BufferSpansLost(len(spans)))

    def _take_in(self, ahead: Ahead) -> None:
        for pending in ahead.pendings:
            self._add_undone(pending)
        is_further = ahead.mark.place.segment > self._frontier.place.segment
        self._frontier = ahead.mark
        for damage in ahead.damages:
            self._note_damage(damage)
        if is_further:
            self._free_between()
        self._settle()
        self._arrived.set()

    def _add_undone(self, pending: Pending) -> None:
        record = pending.record
        if self._done.take_whole(record.sequence) is not None:
            return
        begun = self._done.begun.pop(record.sequence, None)
        if begun is not None:
            record = replace(record, bodies_done=begun.bodies, refused_before=begun.refused)
            pending = replace(pending, record=record)
        self._backlog.add(pending)

    # --- out ------------------------------------------------------------------------------------------------------

    async def unsent(self) -> AsyncIterator[Record]:
        while not self._closed:
            record = self._backlog.take()
            if record is not None:
                yield record
            elif not self._caught_up and len(self._backlog) < self._index_records:
                await self._look_further()
            else:
                self._arrived.clear()
                await self._arrived.wait()

    def ack(self, record: Record) -> None:
        if not self._closed and self._backlog.settle(record):
            self.delivered_entries += record.entries
            first = self._backlog.first
            if first is not None and first.record.sequence < record.sequence:
                self.note_progress(record, ALL_BODIES, 0)
                if not self._backlog.is_in(record.segment):
                    self._free_between()
            self._settle()
            self._arrived.set()

    def note_progress(self, record: Record, bodies: int, refused: int) -> None:
        segment = self._log.segments.get(record.segment)
        if segment is not None and not self._closed:
            self._settled.note(Progress(record.segment, record.sequence, segment.tag, record.entries, bodies, refused))

    def set_aside(self, record: Record, spans: Sequence[Span]) -> None:
        """spans: what the record says it held; without them, what it said when it was found counts."""
        pending = self._backlog.in_flight(record)
        if self._closed or pending is None or not self._backlog.settle(record):
            return
        segment = self._log.segments.get(record.segment)
        if segment is None:
            self._note_drop(1, record.entries, 0)
        else:
            damage = Damage(pending.mark, segment.path, record.length, 1, record.entries, record.sequence + 1)
            self._note_damage(damage)
            if not spans:
                self._note_lost([span for place in pending.places for span in self._log.memory.span(*place)])
            elif record.segment != self._verified:
                self._note_lost(spans)
        self._settle()
        self._arrived.set()

    def drop_oldest(self) -> None:
        """Gives up the oldest segment; there is a newer one. Its records in flight stay until they are settled."""
        oldest, following = list(self._log.segments.values())[:2]
        dropped = self._backlog.drop_segment(oldest.number)
        records, entries = len(dropped), sum(record.entries for record in dropped)
        if self._frontier.place.segment <= oldest.number:
            before = self._frontier.tally
            done_records, done_entries = self._done.take_among(before.sequence, following.tally.sequence)
            records += following.tally.records - before.records - done_records
            entries += following.tally.entries - before.entries - done_entries
            self._frontier = following.beginning
        self._note_drop(records, entries, oldest.end)
        self._settle()

    # --- how far it is --------------------------------------------------------------------------------------------

    @property
    def _caught_up(self) -> bool:
        return self._frontier == self._log.end

    def _settle(self) -> None:
        """Moves the cursor over the settled prefix and deletes the segments wholly in it.

        The cursor is a hint: losing it re-sends identical bytes, which Loki discards. So no sync, but before a deletion.
        """
        first = self._backlog.first
        mark = first.mark if first is not None else self._frontier
        segment = self._log.segments.get(mark.place.segment)
        if segment is None:
            return
        self._cursor.write(mark, segment.tag)
        self._settled.pass_to(mark.tally.sequence)
        if self._log.delete_before(segment.number, self._cursor.sync) or self.all_settled:
            self.freed.set()

    def _free_between(self) -> None:
        """Deletes segments behind an unsettled record in which everything is settled, and noted to be."""
        first = self._backlog.first
        if first is None:
            return
        for segment, following in pairwise(list(self._log.segments.values())):
            is_between = first.record.segment < segment.number < self._frontier.place.segment
            if is_between and not self._backlog.is_in(segment.number):
                records = following.tally.records - segment.tally.records
                if self._settled.whole_in(segment.number) == records:
                    self._log.delete(segment.number, self._settled.sync)
                    self.freed.set()

    def _note_drop(self, records: int, entries: int, size_bytes: int) -> None:
        self.dropped_entries += entries
        self._emit(BufferDropped(records, entries, size_bytes))

    def _note_damage(self, damage: Damage) -> None:
        done_records, done_entries = self._done.take_among(damage.before.tally.sequence, damage.following)
        records, entries = damage.records - done_records, damage.entries - done_entries
        if not records and not entries:  # what is gone was settled before
            return
        self.damaged_entries += entries
        offset = damage.before.place.offset
        self._emit(BufferDamaged(str(damage.path), offset, records, entries))
        self._log.in_background(partial(self._aside.keep_bytes, damage.path, offset, damage.length))
