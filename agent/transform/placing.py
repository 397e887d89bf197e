"""When a line happened that does not say so, or says what Loki would refuse.

Loki takes nothing older than one hour before the newest entry it has of a stream (`max_chunk_age`/2,
`pkg/ingester/stream.go`). So a line of an old file that is given the time of reading shuts the door on every line behind it.
Lines of a file are in order, hence such a line takes the time of its neighbour:

    a line with a time before it, in the chunk      its time
    else one behind it, in the chunk                its time
    else, while the file is read long after it was written, the time last seen in it
    else, when the lines are too old for Loki       just young enough for it: what follows them may be younger still
    else                                            the time of reading
"""

from __future__ import annotations

from dataclasses import dataclass

from agent.model import Chunk, FileId

UNTIMED = -(1 << 63)
"""Stands for the time of a line that tells none, with none before it in its chunk."""

_MINUTE_NS = 60 * 1_000_000_000
# Less than this behind, what is read is what was just written: nothing Loki would refuse can follow.
_FAR_NS = 30 * _MINUTE_NS
# How much younger than the oldest that Loki takes: it may wait that long, and lines that are that old may still follow.
_EDGE_NS = 50 * _MINUTE_NS
# A chunk of fewer bytes took all that was there. When a second one follows in the same file, it was written meanwhile.
_SMALL_BYTES = 64 * 1024
# 2001-09-09. What is below counts seconds of something else, or comes from a clock that was never set.
_FIRST_BELIEVED_NS = 10**18


# What a 64-bit count of nanoseconds holds with room to spare (years 1823 to 2116); Loki stores no other times.
_REPRESENTABLE = range(-(1 << 62) + 1, 1 << 62)


@dataclass(slots=True)
class _Seen:
    """The last time a group's lines told, and the file of which a small chunk without any time came since."""

    ns: int
    caught_up: FileId | None = None


class Placer:
    """Remembers of each group the last time that its lines told.

    keeps_odd: a time that Loki would refuse stays as it is; no other line goes by it.
    """

    def __init__(self, *, keeps_odd: bool = False) -> None:
        self._keeps_odd = keeps_odd
        self._seen: dict[str, _Seen] = {}

    def place(self, times: list[int], chunk: Chunk, group: str, oldest_ns: int, newest_ns: int) -> dict[int, int]:
        """Gives lines a time from oldest to newest. Returns index → what the line said, where that is another."""
        if not times:
            return {}
        if oldest_ns <= min(times) and max(times) <= newest_ns:
            self.note(group, times[-1])
            return {}
        kept = _REPRESENTABLE if self._keeps_odd else range(0)
        told = {index: ns for index, ns in enumerate(times) if ns != UNTIMED and not oldest_ns <= ns <= newest_ns}
        replaced = {index: ns for index, ns in told.items() if ns not in kept}
        first_ns = next((ns for ns in times if oldest_ns <= ns <= newest_ns), None)
        if first_ns is not None:
            last_ns = first_ns
        else:
            are_old = any(_FIRST_BELIEVED_NS <= ns < oldest_ns for ns in told.values())
            last_ns = self._alone(chunk, group, oldest_ns, are_old=are_old)
        for index, ns in enumerate(times):
            if oldest_ns <= ns <= newest_ns:
                last_ns = ns
            elif ns not in kept:
                times[index] = last_ns
        if first_ns is not None:
            self.note(group, last_ns)
        return replaced

    def note(self, group: str, ns: int) -> None:
        """A group's lines told this time last."""
        self._seen[group] = _Seen(ns)

    def _alone(self, chunk: Chunk, group: str, oldest_ns: int, *, are_old: bool) -> int:
        """The time of a chunk of which no line tells one."""
        seen = self._seen.get(group)
        if seen is None and are_old:
            edge_ns = oldest_ns + min(_EDGE_NS, (chunk.read_ns - oldest_ns) // 2)
            self.note(group, edge_ns)
            return edge_ns
        if seen is None:
            return chunk.read_ns
        if chunk.read_ns - seen.ns <= _FAR_NS:
            return chunk.read_ns
        if len(chunk.data) < _SMALL_BYTES:
            if seen.caught_up == chunk.span.file:
                return chunk.read_ns
            seen.caught_up = chunk.span.file
        return max(seen.ns, oldest_ns)
