"""agent.pipeline: the two loops, with small working parts."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass

import pytest

from agent.model import Batch, Chunk, Entries, FileId, Origin, Position, Record, Span, StreamEntries
from agent.observe.events import EntriesDelivered, EntriesGivenUp, Event
from agent.pipeline import collect, deliver

ORIGIN = Origin("app", "/a.log")


def chunk(text: bytes) -> Chunk:
    return Chunk(ORIGIN, Span(FileId(1, 1), 0, Position(len(text), 0, b"", b"", 0, ORIGIN)), text, 0)


def transform(chunks: Sequence[Chunk]) -> list[Entries]:
    made = []
    for chunk in chunks:
        lines = chunk.data.splitlines()
        streams = (StreamEntries("{}", [0] * len(lines), lines, [b""] * len(lines)),)
        made.append(Entries(chunk.origin, chunk.span, "g", len(lines), streams))
    return made


class Turns:
    def __init__(self, *turns: list[Chunk]) -> None:
        self._turns = turns
        self.ticks_s: list[float] = []

    async def turns(self, tick_s: Callable[[], float]) -> AsyncIterator[list[Chunk]]:
        for turn in self._turns:
            self.ticks_s.append(tick_s())
            yield turn


class Pairs:
    """Seals after every second chunk."""

    def __init__(self) -> None:
        self.open: list[Entries] = []

    @property
    def waiting(self) -> int:
        return len(self.open)

    def add(self, entries: Entries, now: float) -> list[Batch]:
        self.open.append(entries)
        return self.flush() if len(self.open) == 2 else []

    def expired(self, now: float) -> list[Batch]:
        return []

    def flush(self) -> list[Batch]:
        spans, self.open = tuple(entries.span for entries in self.open), []
        return [Batch("g", spans, ())] if spans else []


class Memory:
    def __init__(self, records: Sequence[Record] = ()) -> None:
        self.appended: list[Batch] = []
        self.acked: list[Record] = []
        self._records = list(records)

    async def append(self, batches: Sequence[Batch]) -> None:
        self.appended += batches

    async def unsent(self) -> AsyncIterator[Record]:
        for record in self._records:
            yield record

    def ack(self, record: Record) -> None:
        self.acked.append(record)


async def test_what_is_read_is_appended_and_the_open_rest_at_the_end() -> None:
    buffer, events = Memory(), list[Event]()
    tailer = Turns([chunk(b"a\n"), chunk(b"b\n")], [], [chunk(b"c\n")])
    await collect(tailer, transform, Pairs(), buffer, events.append, lambda: 0.0)
    assert [len(batch.spans) for batch in buffer.appended] == [2, 1]
    assert sum(getattr(event, "lines", 0) for event in events) == 3


async def test_others_have_the_loop_between_the_parts_of_a_turn_that_would_take_long() -> None:
    now = 0.0
    parts: list[list[int]] = []
    between: list[int] = []

    def note(chunks: Sequence[Chunk]) -> list[Entries]:
        nonlocal now
        now += 0.010 * len(chunks) if len(parts) < 2 else 0.001 * len(chunks)
        parts.append([len(each.data) for each in chunks])
        asyncio.get_running_loop().call_soon(lambda: between.append(len(parts)))
        return transform(chunks)

    ten = [chunk(b"x" * 99_999 + b"\n")] * 10
    await collect(Turns(ten, ten, ten), note, Pairs(), Memory(), lambda _: None, lambda: now)
    # Half as much as took twice as long as it may; then the same in half the time, so all of it.
    assert [len(part) for part in parts] == [10, 5, 5, 10]
    assert between[:2] == [2, 2]


async def test_a_turn_of_hardly_any_bytes_tells_nothing_about_the_pace() -> None:
    now = 0.0
    parts: list[int] = []

    def note(chunks: Sequence[Chunk]) -> list[Entries]:
        nonlocal now
        now += 0.001
        parts.append(len(chunks))
        return transform(chunks)

    notes, lines = [chunk(b"")] * 3, [chunk(b"x" * 99_999 + b"\n")] * 10
    await collect(Turns(notes, lines, notes, lines), note, Pairs(), Memory(), lambda _: None, lambda: now)
    assert parts == [3, 10, 3, 10]


async def test_it_rests_longer_while_nothing_waits_to_be_sealed() -> None:
    tailer = Turns([], [chunk(b"a\n")], [], [chunk(b"b\n")], [])
    await collect(tailer, transform, Pairs(), Memory(), lambda _: None, lambda: 0.0, idle_s=0.2, rest_s=3.0)
    assert tailer.ticks_s == [3.0, 3.0, 0.2, 0.2, 3.0]


@dataclass
class Outcome:
    delivered_entries: int
    refused_entries: int


async def test_a_record_is_acknowledged_when_loki_has_decided_and_not_before() -> None:
    records = [Record(n, f"g{n}", 5, 50, 1, 0, 10) for n in range(3)]
    buffer, events = Memory(records), list[Event]()
    release = asyncio.Event()

    async def push(record: Record) -> Outcome:
        if record.sequence == 0:
            await release.wait()
        return Outcome(4, 1)

    delivering = asyncio.create_task(deliver(buffer, push, events.append))
    while len(buffer.acked) < 2:
        await asyncio.sleep(0)
    assert [record.sequence for record in buffer.acked] == [1, 2], "a held record holds up no other group"
    release.set()
    await delivering
    assert len(buffer.acked) == 3
    assert sum(event.count for event in events if isinstance(event, EntriesDelivered)) == 12
    assert sum(event.count for event in events if isinstance(event, EntriesGivenUp)) == 3


async def test_a_bug_in_delivery_ends_the_loop_loudly() -> None:
    async def push(record: Record) -> Outcome:
        raise ZeroDivisionError

    with pytest.raises(ExceptionGroup):
        await deliver(Memory([Record(1, "g", 1, 1, 1, 0, 1)]), push, lambda event: None)


async def test_what_would_wait_too_long_until_the_next_look_is_sealed_at_this_one() -> None:
    asked: list[float] = []

    class Noting(Pairs):
        def expired(self, now: float) -> list[Batch]:
            asked.append(now)
            return []

    await collect(Turns([chunk(b"a\n")], []), transform, Noting(), Memory(), lambda _: None, lambda: 5.0, idle_s=0.25)
    assert asked == [5.25, 5.25]
