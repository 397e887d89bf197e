"""Entries → sealed batches, grouped by where they come from.

A group is one file of one host (with all its rotated generations). When a group is sealed, all its streams are sealed
together into one batch, so that a file's span is in the buffer completely or not at all.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from agent import config, wire
from agent.batch.stamp import START, Stamper
from agent.model import Batch, Body, Entries, FileId, Span, StreamClock, StreamEntries

# What an entry adds to its line on the wire, and in Loki between distributor and ingester: measured 47 bytes.
ENTRY_OVERHEAD_BYTES: Final = 47

# What all groups together may have open: with many busy files the oldest group goes early, so that memory does not grow with
# their number.
OPEN_BYTES = 16 * 1024 * 1024

# Loki takes nothing older than one hour before the newest entry it has of a stream (`max_chunk_age`/2, `pkg/ingester/stream.go`).
# A body that is sent again after its reply was lost must not refuse its own beginning.
MAX_BODY_NS: Final = 50 * 60 * 1_000_000_000

# A stream's single timestamps take up to 128 KiB. Of the streams that were fed longest ago only the clock is kept, as over a
# restart: streams come and go for as long as the agent runs.
REMEMBERED_STREAMS = 256


@dataclass(slots=True)
class _Group:
    """What a group has open. `since` is when its oldest line came; `line_bytes` are those of each stream."""

    since: float
    spans: dict[FileId, Span] = field(default_factory=dict)
    streams: dict[str, StreamEntries] = field(default_factory=dict)
    line_bytes: dict[str, int] = field(default_factory=dict)
    size: int = 0
    entries: int = 0


class Batcher:
    """Collects entries until a group is large or old enough.

    clocks: the streams' clocks at the last stop.
    The time is given by the caller, in seconds of any monotonic clock.
    """

    def __init__(
        self, settings: config.Batch, encoding: str = wire.PROTOBUF, clocks: Mapping[str, StreamClock] | None = None
    ) -> None:
        self._max_bytes = settings.max_bytes
        self._max_entries = settings.max_entries
        self._max_wait_s = settings.max_wait
        self._encoding = encoding
        self._clocks = dict(clocks or {})
        # The one fed last comes last. An OrderedDict finds its first key in constant time also after many deletions.
        self._stampers: OrderedDict[str, Stamper] = OrderedDict()
        self._open: dict[str, _Group] = {}
        self._open_bytes = 0
        self.sealed_entries = 0
        """Entries of all batches given out so far."""

    @property
    def waiting(self) -> int:
        """Entries not yet sealed."""
        return sum(group.entries for group in self._open.values())

    def add(self, entries: Entries, now: float) -> list[Batch]:
        """Takes a chunk's entries; gives the batches that are full, or have to make room for them."""
        line_bytes = [_bytes_in(stream.lines) for stream in entries.streams]
        size = sum(line_bytes)
        for stream in entries.streams:
            size += _bytes_in(stream.metadata) + ENTRY_OVERHEAD_BYTES * len(stream.lines)
        sealed = []
        group = self._open.get(entries.group)
        if group is not None and group.entries and group.size + size > self._max_bytes:
            sealed.append(self._seal(entries.group))
            group = None
        if group is None:
            group = self._open[entries.group] = _Group(now)
        self._join(group, entries, line_bytes, size)
        if group.size >= self._max_bytes or group.entries >= self._max_entries:
            sealed.append(self._seal(entries.group))
        while self._open_bytes > OPEN_BYTES:
            sealed.append(self._seal(next(iter(self._open))))
        return sealed

    def _join(self, group: _Group, entries: Entries, line_bytes: list[int], size: int) -> None:
        for span in (*entries.also, entries.span):
            before = group.spans.get(span.file)
            # Spans of a file follow each other; a re-read of lost bytes does not, and moves nothing forward.
            group.spans[span.file] = span if before is None else Span(span.file, before.start, span.after)
        for stream, added in zip(entries.streams, line_bytes, strict=True):
            group.line_bytes[stream.labels] = group.line_bytes.get(stream.labels, 0) + added
            known = group.streams.get(stream.labels)
            if known is None:
                group.streams[stream.labels] = stream
            else:
                known.timestamps_ns.extend(stream.timestamps_ns)
                known.lines.extend(stream.lines)
                known.metadata.extend(stream.metadata)
        group.size += size
        self._open_bytes += size
        group.entries += entries.entries

    def expired(self, now: float) -> list[Batch]:
        """The batches whose oldest line has waited long enough."""
        ripe = [name for name, group in self._open.items() if now - group.since >= self._max_wait_s]
        return [self._seal(name) for name in ripe]

    def flush(self) -> list[Batch]:
        """Everything that is open."""
        return [self._seal(name) for name in list(self._open)]

    def _seal(self, name: str) -> Batch:
        group = self._open.pop(name)
        self._open_bytes -= group.size
        bodies = [body for stream in group.streams.values() for body in self._bodies(stream, group)]
        self.sealed_entries += group.entries
        return Batch(group=name, spans=tuple(group.spans.values()), bodies=tuple(bodies))

    def _bodies(self, stream: StreamEntries, group: _Group) -> list[Body]:
        """The push bodies of one stream: one, unless it has outgrown the limits."""
        stamper = self._stamper(stream.labels)
        stamps, unsure = stamper.stamp(stream.timestamps_ns)
        metadata = stream.metadata
        if unsure:
            self._mark(metadata, unsure, group)
        oldest, newest = (stamps[0], stamps[-1]) if stamper.in_order else (min(stamps), max(stamps))
        if self._is_one_body(newest - oldest, stream.lines, metadata, group.size):
            line_bytes = group.line_bytes[stream.labels]
            return [
                self._body(stream.labels, stamps, stream.lines, metadata, line_bytes, oldest, newest, stamper.clock)
            ]
        bodies = []
        for start, end in self._cuts(stamps, stream.lines, metadata):
            ns, lines, more = stamps[start:end], stream.lines[start:end], metadata[start:end]
            bodies.append(self._body(stream.labels, ns, lines, more, _bytes_in(lines), min(ns), max(ns), stamper.clock))
        return bodies

    def _stamper(self, labels: str) -> Stamper:
        stamper = self._stampers.get(labels)
        if stamper is not None:
            self._stampers.move_to_end(labels)
            return stamper
        stamper = self._stampers[labels] = Stamper(self._clocks.pop(labels, START))
        if len(self._stampers) > REMEMBERED_STREAMS:
            longest_ago, forgetful = self._stampers.popitem(last=False)
            self._clocks[longest_ago] = forgetful.clock
        return stamper

    def _mark(self, metadata: list[bytes], unsure: list[int], group: _Group) -> None:
        """Entries whose timestamp may be taken get an id of their own: the batch's place in its file and a number."""
        span = next(iter(group.spans.values()))
        place = f"{span.file.inode:x}.{span.file.incarnation:x}.{span.start:x}"
        for index in unsure:
            metadata[index] += wire.encode_metadata([(b"line_id", f"{place}.{index:x}".encode())])

    def _is_one_body(self, range_ns: int, lines: list[bytes], metadata: list[bytes], size_at_most: int) -> bool:
        if range_ns > MAX_BODY_NS or len(lines) > self._max_entries:
            return False
        return size_at_most <= self._max_bytes or _size(lines, metadata) <= self._max_bytes

    def _cuts(self, stamps: list[int], lines: list[bytes], metadata: list[bytes]) -> list[tuple[int, int]]:
        """Index ranges, each within the limits; a line larger than the limit stands alone."""
        cuts: list[tuple[int, int]] = []
        start = size = 0
        oldest = newest = stamps[0]
        for index, (ns, line, meta) in enumerate(zip(stamps, lines, metadata, strict=True)):
            cost = len(line) + len(meta) + ENTRY_OVERHEAD_BYTES
            oldest, newest = min(oldest, ns), max(newest, ns)
            is_full = size + cost > self._max_bytes or index - start >= self._max_entries
            if index > start and (is_full or newest - oldest > MAX_BODY_NS):
                cuts.append((start, index))
                start, size = index, 0
                oldest = newest = ns
            size += cost
        return [*cuts, (start, len(lines))]

    def _body(
        self,
        labels: str,
        stamps: list[int],
        lines: list[bytes],
        metadata: list[bytes],
        line_bytes: int,
        oldest_ns: int,
        newest_ns: int,
        clock: StreamClock,
    ) -> Body:
        return Body(
            labels=labels,
            payload=wire.encode(self._encoding, labels, stamps, lines, metadata),
            encoding=self._encoding,
            entries=len(lines),
            line_bytes=line_bytes,
            oldest_ns=oldest_ns,
            newest_ns=newest_ns,
            clock=clock,
        )


def _size(lines: list[bytes], metadata: list[bytes]) -> int:
    return _bytes_in(lines) + _bytes_in(metadata) + ENTRY_OVERHEAD_BYTES * len(lines)


def _bytes_in(values: list[bytes]) -> int:
    size = 0
    for value in values:  # compiled, a fifth of `sum(map(len, …))`
        size += len(value)
    return size
