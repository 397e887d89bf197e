"""What the tests of the buffer are made with: batches, small settings, a disk that fails, ways to damage a file."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from agent import config
from agent.buffer.disk import CorruptRecord, DiskBuffer
from agent.buffer.segment import Storage
from agent.model import Batch, Body, FileId, Origin, Position, Record, Span, StreamClock
from agent.observe.events import Event


def position(offset: int, path: str = "/log/a") -> Position:
    return Position(offset, 4, b"p" * 16, b"a" * 16, 0, Origin("greenstack", path, (("pod", "p-1"),)))


def file_of(group: str) -> FileId:
    return FileId(7, ord(group[0]), 0)


def span(group: str, start: int, end: int) -> Span:
    return Span(file_of(group), start, position(end, f"/log/{group}"))


def body(payload: bytes, *, labels: str = '{a="b"}', entries: int = 1, time_ns: int = 5) -> Body:
    return Body(labels, payload, "protobuf", entries, len(payload), time_ns, time_ns + 1, StreamClock(time_ns, time_ns))


def batch(group: str = "a", start: int = 0, *, size: int = 100, entries: int = 1, bodies: int = 1) -> Batch:
    """One whose span is `size` bytes long, as is its payload, which begins with the group and the start."""
    payload = f"{group}{start}-".encode().ljust(size, b".")
    made = tuple(body(payload, labels=f'{{g="{group}{at}"}}', entries=entries) for at in range(bodies))
    return Batch(group, (span(group, start, start + size),), made)


def small(**changes: object) -> config.Buffer:
    values = {"max_bytes": 1 << 20, "segment_bytes": 4096, "min_free_bytes": 0, "when_full": "block"} | changes
    return config.Buffer.model_construct(**values)


@dataclass
class FailingDisk:
    """Counts writes and syncs; those whose number is in `failing` fail, half done."""

    failing: set[int] = field(default_factory=set)
    number: int = 0
    calls: int = 0
    free: int = 1 << 40
    error: int = errno.ENOSPC

    def _check(self) -> None:
        self.calls += 1
        if self.calls in self.failing:
            raise OSError(self.error, os.strerror(self.error))

    def write(self, fd: int, data: memoryview, offset: int) -> int:
        try:
            self._check()
        except OSError:
            os.pwrite(fd, data[: len(data) // 2], offset)
            raise
        return os.pwrite(fd, data, offset)

    def sync(self, _fd: int) -> None:
        self._check()

    def sync_directory(self, _directory: Path) -> None:
        self._check()

    def write_within(self, directory: Path, room: int, fd: int, data: memoryview, offset: int) -> int:
        """As on a disk with so much room for segments and nobody who keeps a reserve."""
        used = sum(each.stat().st_size for each in segments(directory))
        if used + len(data) > room:
            raise OSError(self.error, os.strerror(self.error))
        return os.pwrite(fd, data, offset)

    @property
    def storage(self) -> Storage:
        return Storage(self.write, self.sync, self.sync_directory, lambda _: self.free)


class Opened:
    """A buffer with its events, opened and closed by a test, with small settings and short pauses."""

    def __init__(self, directory: Path, settings: config.Buffer | None = None, **options: object) -> None:
        self.directory = directory
        self.events: list[Event] = []
        self.buffer = DiskBuffer.open(
            directory, settings or small(), self.events.append, **{"pause_s": 0.001} | options
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.buffer.close()

    def of(self, kind: type[Event]) -> list[Event]:
        return [event for event in self.events if isinstance(event, kind)]

    async def take(self) -> Record:
        """The next record; fails when there is none soon."""
        async with asyncio.timeout(5):
            async for record in self.buffer.unsent():
                return record
        raise AssertionError("closed")

    async def take_all(self) -> list[tuple[str, int]]:
        """Delivers all that waits; (group, start of the span) of each whose bodies are as they were."""
        seen = []
        while self.buffer.statistics().waiting_records:
            record = await self.take_or_none()
            if record is None:
                break
            try:
                payload = self.buffer.read(record)[0].payload
            except CorruptRecord as error:
                self.buffer.set_aside(record, error.spans)
                continue
            seen.append((record.group, int(payload[1 : payload.index(b"-")])))
            self.buffer.ack(record)
        return seen

    async def take_or_none(self) -> Record | None:
        """None when looking on shows that nothing waits any more."""
        unsent = self.buffer.unsent()
        taking = asyncio.ensure_future(anext(unsent))
        while not taking.done() and self.buffer.statistics().waiting_records:
            await asyncio.wait((taking,), timeout=0.001)
        if taking.done():
            return taking.result()
        taking.cancel()
        await asyncio.wait((taking,))
        await unsent.aclose()
        return None


def segments(directory: Path) -> list[Path]:
    return sorted(directory.glob("*.segment"))


def flip(path: Path, offset: int) -> None:
    data = bytearray(path.read_bytes())
    data[offset] ^= 0x10
    path.write_bytes(data)


def until(happened: Callable[[], bool]) -> asyncio.Future[None]:
    async def turn() -> None:
        async with asyncio.timeout(5):
            while not happened():
                # With no pause at all the loop takes the interpreter's lock from the writing thread, again and again.
                await asyncio.sleep(0.001)

    return asyncio.ensure_future(turn())
