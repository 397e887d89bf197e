"""Distinct nanoseconds for the entries of a stream.

Loki stores an entry once per stream, timestamp, line and metadata: two honest lines that are equal in all of these would
become one. So every entry of a stream gets a timestamp of its own, and keeps the one it has wherever that is possible:

    later than all before      kept
    in the last run of ties    the next nanosecond after the run: ties and what follows them stay in file order
    earlier (out of order)     kept when it is free; else the next free nanosecond; when too old to know, kept too,
                               with metadata `line_id` that no other line has

What must survive a restart is a `StreamClock`: two numbers. The timestamps given out since are remembered up to a bound.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Final

from agent.model import StreamClock

REMEMBERED = 1024
"""Timestamps known at least, per stream with out-of-order lines; 8 bytes each."""

START: Final = StreamClock(tie_ns=-1, high_ns=-1)


class Stamper:
    """Gives out the timestamps of one stream."""

    def __init__(self, clock: StreamClock = START) -> None:
        self._tie = clock.tie_ns
        self._high = clock.high_ns
        self._floor = clock.high_ns  # at or below it, what was given out is not known
        self._given: array[int] = array("q")
        self.in_order = True
        """Whether the timestamps given last rise."""

    @property
    def clock(self) -> StreamClock:
        return StreamClock(self._tie, self._high)

    def stamp(self, wanted: Sequence[int]) -> tuple[list[int], list[int]]:
        """(timestamps, indexes of entries that need a `line_id`) for entries that want these times, in file order."""
        high = self._high
        self.in_order = True
        for ns in wanted:
            if ns <= high:
                stamps, unsure = self._stamp_slowly(wanted)
                self.in_order = False
                break
            high = ns
        else:
            stamps, unsure = list(wanted), list[int]()
            self._tie = self._high = high
        self._remember(stamps)
        return stamps, unsure

    def _stamp_slowly(self, wanted: Sequence[int]) -> tuple[list[int], list[int]]:
        tie, high, floor = self._tie, self._high, self._floor
        taken: set[int] | None = None
        stamps: list[int] = []
        unsure: list[int] = []
        for index, want in enumerate(wanted):
            ns = want
            if ns > high:
                tie = high = ns
            elif ns >= tie:
                ns = high = high + 1
            elif ns <= floor:
                unsure.append(index)
            else:
                if taken is None:
                    taken = {*self._given, *stamps}
                while ns in taken:
                    ns += 1
                # Bumped into the last run of ties: the run's end is the next free place.
                if ns >= tie:
                    ns = high = high + 1
            stamps.append(ns)
            if taken is not None:
                taken.add(ns)
        self._tie, self._high = tie, high
        return stamps, unsure

    def _remember(self, stamps: list[int]) -> None:
        """Keeps the last ones; of those before only the highest is known."""
        given = self._given
        if len(stamps) <= REMEMBERED:
            given.extend(stamps)
            if len(given) > 2 * REMEMBERED:
                highest = max(given[:-REMEMBERED])
                self._floor = max(self._floor, highest)
                self._given = given[-REMEMBERED:]
        elif self.in_order:
            self._floor = stamps[-REMEMBERED - 1]  # higher than all before
            self._given = array("q", stamps[-REMEMBERED:])
        else:
            before, highest = max(given, default=-1), max(stamps[:-REMEMBERED])
            self._floor = max(self._floor, before, highest)
            self._given = array("q", stamps[-REMEMBERED:])
