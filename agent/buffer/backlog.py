"""Which records wait, which are on their way, and how far everything is settled. Pure.

Records enter in the order of the log. Of each group one is in flight at most, the oldest. What has left in front of the
first that is still here is settled: the contiguous prefix the cursor may pass.
"""

from __future__ import annotations

import heapq
from collections import Counter, OrderedDict, deque
from collections.abc import Sequence
from dataclasses import dataclass

from agent.buffer.meta import Tally
from agent.buffer.segment import Mark, Place
from agent.model import FileId, Record


@dataclass(frozen=True, slots=True)
class Pending:
    """A record that waits. before: the tally in front of it. oldest_ns: of its entries. places: bytes of files (from, to)
    that it covers, to be read again when it is gone from the disk."""

    record: Record
    before: Tally
    oldest_ns: int
    places: tuple[tuple[FileId, int, int], ...] = ()

    @property
    def mark(self) -> Mark:
        return Mark(Place(self.record.segment, self.record.offset), self.before)


class Backlog:
    """len(): records here, those in flight included. entries: theirs."""

    def __init__(self) -> None:
        self.entries = 0
        # An OrderedDict finds its first key in constant time also after many deletions, a dict does not.
        self._in_order: OrderedDict[int, Pending] = OrderedDict()
        self._waiting: dict[str, deque[Pending]] = {}
        self._in_flight: dict[int, Pending] = {}
        self._busy: dict[str, int] = {}
        self._ready: list[tuple[int, str]] = []
        self._orphans = 0
        self._by_segment: Counter[int] = Counter()

    def __len__(self) -> int:
        return len(self._in_order) + self._orphans

    def add(self, pending: Pending) -> None:
        """The newest so far."""
        record = pending.record
        self._in_order[record.sequence] = pending
        self._by_segment[record.segment] += 1
        self.entries += record.entries
        queue = self._waiting.setdefault(record.group, deque())
        queue.append(pending)
        if len(queue) == 1 and record.group not in self._busy:
            heapq.heappush(self._ready, (record.sequence, record.group))

    def take(self) -> Record | None:
        """The oldest whose group is not in flight; it is from now on."""
        while self._ready:
            sequence, group = heapq.heappop(self._ready)
            queue = self._waiting.get(group)
            # Dropping a segment leaves entries of the heap behind.
            if group in self._busy or not queue or queue[0].record.sequence != sequence:
                continue
            pending = queue.popleft()
            self._busy[group] = sequence
            self._in_flight[sequence] = pending
            return pending.record
        return None

    def settle(self, record: Record) -> bool:
        """The record is done with and its group may go on. False when it was not in flight: nothing changes."""
        pending = self._in_flight.pop(record.sequence, None)
        if pending is None:
            return False
        if self._in_order.pop(record.sequence, None) is None:
            self._orphans -= 1
        else:
            self._by_segment[record.segment] -= 1
        self.entries -= pending.record.entries
        del self._busy[record.group]
        queue = self._waiting[record.group]
        if queue:
            heapq.heappush(self._ready, (queue[0].record.sequence, record.group))
        else:
            del self._waiting[record.group]
        return True

    def drop_segment(self, number: int) -> Sequence[Record]:
        """Forgets the records up to the end of this segment and returns them. Those in flight stay until settled."""
        dropped = []
        while self._in_order:
            sequence, pending = next(iter(self._in_order.items()))
            record = pending.record
            if record.segment > number:
                break
            del self._in_order[sequence]
            self._by_segment[record.segment] -= 1
            if sequence in self._in_flight:
                self._orphans += 1
                continue
            dropped.append(record)
            self.entries -= record.entries
            self._waiting[record.group].popleft()
        for group in {record.group for record in dropped} - self._busy.keys():
            queue = self._waiting[group]
            if queue:
                heapq.heappush(self._ready, (queue[0].record.sequence, group))
            else:
                del self._waiting[group]
        return dropped

    def is_in(self, segment: int) -> bool:
        """Whether a record of this segment is here."""
        return self._by_segment[segment] > 0

    def in_flight(self, record: Record) -> Pending | None:
        return self._in_flight.get(record.sequence)

    @property
    def first(self) -> Pending | None:
        """The oldest still here, of those whose segment is."""
        return next(iter(self._in_order.values()), None)

    @property
    def oldest_ns(self) -> int | None:
        first = self.first
        return first.oldest_ns if first is not None else None
