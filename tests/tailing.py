"""A tailer on real files, whose chunks are collected as they come: what the tests of `agent.tail` are made with."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from agent.config import Agent, Source
from agent.model import Chunk, FileId, Resume
from agent.observe.events import Event
from agent.tail.all_files import Tailer
from agent.tail.generations import Timing

FAST = Timing(
    quiet_s=0.1, copy_quiet_s=0.05, copy_wait_s=0.4, successor_cap_s=2.0, idle_close_s=0.2, nameless_s=0.3, forget_s=0.3
)
NOTHING_KNOWN = Resume({}, {})

Watch = Literal["auto", "poll"]


def settings(watch_mode: Watch = "poll", scan: str = "150ms") -> Agent:
    return Agent(watch=watch_mode, scan_interval=scan, poll_interval="20ms")


def source(include: Path | str, **more: object) -> Source:
    return Source(include=(str(include),), **more)


@dataclass
class Run:
    """A tailer whose chunks are collected as they come."""

    tailer: Tailer
    events: list[Event]
    forgotten: list[FileId]
    chunks: list[Chunk] = field(default_factory=list)
    ended: bool = False

    def lines(self, path: Path | str | None = None) -> list[str]:
        """In the order they came, of one origin path or of all."""
        data = b"".join(c.data for c in self.chunks if path is None or c.origin.path == str(path))
        return data.decode().splitlines()

    def resume(self) -> Resume:
        """What a buffer would remember of these chunks."""
        positions = {chunk.span.file: chunk.span.after for chunk in self.chunks}
        return Resume({file: position for file, position in positions.items() if file not in self.forgotten}, {})

    def seen(self, kind: type[Event]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    async def until(self, condition: Callable[[], bool], seconds: float = 10) -> None:
        async with asyncio.timeout(seconds):
            while not condition():
                await asyncio.sleep(0.005)

    async def until_lines(self, count: int, path: Path | str | None = None) -> None:
        try:
            await self.until(lambda: len(self.lines(path)) >= count)
        except TimeoutError:
            raise AssertionError(f"{self.lines(path)[-20:]} instead of {count} lines; {self.events}") from None

    async def turns(self, count: int = 3) -> None:
        """Until the tailer has looked again so many times."""
        taken = self.tailer._turns_taken

        def has_looked() -> bool:
            self.tailer.read_again(())  # it rests while it relies on events
            return self.tailer._turns_taken >= taken + count

        await self.until(has_looked)

    async def consume(self) -> None:
        async for chunks in self.tailer.turns(lambda: 0.02):
            self.chunks += chunks
        self.ended = True


@asynccontextmanager
async def tailing(
    *sources: Source,
    resume: Resume = NOTHING_KNOWN,
    agent: Agent | None = None,
    once: bool = False,
    timing: Timing = FAST,
    limit_s: float = 60,
    **more: Any,
) -> AsyncIterator[Run]:
    events: list[Event] = []
    forgotten: list[FileId] = []
    tailer = Tailer(
        sources, agent or settings(), resume, events.append, once=once, timing=timing, forget=forgotten.extend, **more
    )
    run = Run(tailer, events, forgotten)
    async with asyncio.timeout(limit_s), tailer:
        consumer = asyncio.create_task(run.consume())
        try:
            yield run
        finally:
            tailer.stop()
            await consumer


def write(path: Path, *lines: str, end: str = "\n") -> None:
    with path.open("a") as file:
        file.write("".join(line + end for line in lines))


def numbered(start: int, stop: int) -> list[str]:
    return [f"line {number}" for number in range(start, stop)]
