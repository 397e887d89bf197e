"""The whole program: two loops that meet at the buffer.

files ─▶ tail ─▶ transform ─▶ batch ─▶ │ buffer │ ─▶ push ─▶ Loki
         └──────── collect ───────────┘          └─ deliver ─┘
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from typing import Protocol

from agent.model import Batch, Chunk, Entries, Record
from agent.observe.events import (
    ChunkRead,
    Emit,
    EmptyLines,
    EntriesDelivered,
    EntriesGivenUp,
    LinesClipped,
    LinesDropped,
    LinesParsed,
    ParsingFailed,
    RedactionFailed,
    SecretsRedacted,
    SecretsSeen,
)


class Tailer(Protocol):
    def turns(self, tick_s: Callable[[], float], /) -> AsyncIterator[list[Chunk]]: ...


class Batcher(Protocol):
    @property
    def waiting(self) -> int: ...
    def add(self, entries: Entries, now: float) -> list[Batch]: ...
    def expired(self, now: float) -> list[Batch]: ...
    def flush(self) -> list[Batch]: ...


class Buffer(Protocol):
    async def append(self, batches: Sequence[Batch]) -> None: ...
    def unsent(self) -> AsyncIterator[Record]: ...
    def ack(self, record: Record) -> None: ...


class Outcome(Protocol):
    """What became of a record's entries: each is delivered or refused for good."""

    @property
    def delivered_entries(self) -> int: ...
    @property
    def refused_entries(self) -> int: ...


Push = Callable[[Record], Awaitable[Outcome]]

_LONGEST_HOLD_S = 0.05
"""How long a transformation, and the batches that come of it, may hold up the event loop, going by the one before."""
_LITTLE_BYTES = 64 * 1024
"""What takes less, or has no bytes at all, tells nothing about the pace of lines: most of its time is that of a turn."""


async def collect(
    tailer: Tailer,
    transform: Callable[[Sequence[Chunk]], Iterable[Entries]],
    batcher: Batcher,
    buffer: Buffer,
    emit: Emit,
    clock: Callable[[], float],
    idle_s: float = 0.1,
    rest_s: float = 1.0,
) -> None:
    """Move lines from the files into the buffer, until the tailer is told to stop.

    idle_s: how often to look for what has waited long enough, while nothing is read · rest_s: how often while nothing waits.

    Waits in one place, `append`, while the buffer is full or has much to send; the files keep the rest. Common lines are transformed
    a turn at a time. Where that would hold up the loop, as lines full of secrets do, others have it in between, as far as chunks
    allow.
    """
    room = math.inf
    async for chunks in tailer.turns(lambda: idle_s if batcher.waiting else rest_s):
        sealed: list[Batch] = []
        for number, part in enumerate(_parts(chunks, room)):
            if number:
                await asyncio.sleep(0)
            began = clock()
            for entries in transform(part):
                sealed += batcher.add(entries, clock())
                report(entries, emit)
            took_s = clock() - began
            size = max(_LITTLE_BYTES, sum(len(chunk.data) for chunk in part))
            room = size * _LONGEST_HOLD_S / took_s if took_s > 0 else math.inf
        sealed += batcher.expired(clock() + idle_s)  # what will have waited long enough at the next look
        await buffer.append(sealed)
    await buffer.append(batcher.flush())


def _parts(chunks: Sequence[Chunk], room: float) -> Iterator[list[Chunk]]:
    """Of `room` bytes at most, or one chunk that has more by itself."""
    part: list[Chunk] = []
    size = 0
    for chunk in chunks:
        if part and size + len(chunk.data) > room:
            yield part
            part, size = [], 0
        part.append(chunk)
        size += len(chunk.data)
    if part:
        yield part


def report(entries: Entries, emit: Emit) -> None:
    """The facts of a chunk as events."""
    source, path = entries.origin.source, entries.origin.path
    emit(ChunkRead(source, entries.lines, max(0, entries.span.after.offset - entries.span.start)))
    for result, count in entries.parsed.items():
        if count:
            emit(LinesParsed(source, result, count))
    for rule, count in entries.redactions.items():
        emit(SecretsRedacted(source, rule, count))
    for rule, count in entries.redactions_seen.items():
        emit(SecretsSeen(source, rule, count))
    if entries.clipped:
        emit(LinesClipped(path, entries.clipped))
    if entries.redaction_failures:
        emit(RedactionFailed(source, path, entries.redaction_failures))
    if entries.parse_failure:
        emit(ParsingFailed(source, path, entries.parse_failures, entries.parse_failure))
    for reason, count in entries.dropped.items():
        emit(EmptyLines(count) if reason == "empty" else LinesDropped(path, reason, count))


async def deliver(buffer: Buffer, push: Push, emit: Emit) -> None:
    """Move records from the buffer to Loki, those of one group one after the other, groups side by side.

    A record is acknowledged when Loki has it or has refused it for good; until then its bytes do not change. There is at
    most one task a group, and a task that waits holds no bytes.
    """

    async def send(record: Record) -> None:
        outcome = await push(record)
        # Without a wait in between, so that counters and buffer agree whenever somebody looks.
        buffer.ack(record)
        emit(EntriesDelivered(outcome.delivered_entries))
        if outcome.refused_entries:
            emit(EntriesGivenUp(outcome.refused_entries))

    async with asyncio.TaskGroup() as tasks:
        async for record in buffer.unsent():
            tasks.create_task(send(record))
