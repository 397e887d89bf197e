"""The tailer: every file of every source, as turns of chunks.

All work on files is done in one thread of its own, one hop a turn, so a slow disk stops neither the event loop nor a
shutdown. Directory events only wake it earlier; the scan finds everything without them.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Literal, Self

from agent.config import Agent, Source
from agent.model import Chunk, Resume
from agent.observe.events import Emit, WatchMode
from agent.tail.generations import Timing
from agent.tail.watch import Watcher
from agent.tail.worker import NOTHING_YET, FileStatus, Report, Turn, Worker

_DEFAULT_TIMING = Timing()
_CLOSING_S = 1.0


@dataclass(frozen=True, slots=True)
class TailStatistics:
    """ready:          the first scan is done.
    files_by_state: counts of active, idle, draining, unreadable, ignored.
    unread_bytes:   bytes after the offsets, unterminated last lines included.
    """

    ready: bool
    files_by_state: Mapping[str, int]
    unread_bytes: int
    watch_mode: Literal["watch", "poll"]
    files: tuple[FileStatus, ...]


class Tailer:
    """`async with` it, then iterate `turns()`, by one task only."""

    def __init__(
        self,
        sources: Sequence[Source],
        settings: Agent,
        resume: Resume,
        emit: Emit,
        *,
        wall_ns: Callable[[], int] = time.time_ns,
        clock: Callable[[], float] = time.monotonic,
        once: bool = False,
        timing: Timing = _DEFAULT_TIMING,
    ) -> None:
        self._worker = Worker(sources, settings, resume, timing, wall_ns, clock, once=once)
        self._settings = settings
        self._emit = emit
        self._once = once
        self._uses_watcher = settings.watch == "auto" and not once
        self._watcher = Watcher(self._hint, emit)
        self._executor = ThreadPoolExecutor(1, "tail")
        self._report: Report = NOTHING_YET
        self._hinted: set[str] = set()
        self._names_changed = False
        self._wake = asyncio.Event()
        self._stopping = False
        self._turns_taken = 0
        self._one_turn = asyncio.Lock()
        self._keeper: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        if not self._uses_watcher and not self._once:
            self._emit(WatchMode("poll", 0))
        if not self._once:
            self._keeper = asyncio.create_task(self._keep_up(), name="tail-keeper")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        if self._keeper is not None:
            self._keeper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._keeper
        await self._watcher.close()
        closing = asyncio.get_running_loop().run_in_executor(self._executor, self._worker.close)
        # A hung mount may hold the thread for ever; whoever stops does not wait for it.
        await asyncio.wait([closing], timeout=_CLOSING_S)
        self._executor.shutdown(wait=False)

    def stop(self) -> None:
        """Ends `turns` after the turn in hand."""
        self._stopping = True
        self._wake.set()

    def statistics(self) -> TailStatistics:
        report = self._report
        mode: Literal["watch", "poll"] = "watch" if self._watcher.is_working else "poll"
        return TailStatistics(report.ready, report.files_by_state, report.unread_bytes, mode, report.files)

    async def turns(self, idle_s: float = 0.1) -> AsyncIterator[list[Chunk]]:
        """Lists of chunks: at most about 1 MiB in all and one quantum of each file. An empty list is an idle tick, which
        comes at least every `idle_s`. Ends after `stop`, or with `once` when every file is read to its end."""
        loop = asyncio.get_running_loop()
        next_tick = loop.time()
        while not self._stopping:
            turn = await self._turn(read=True)
            if turn.chunks:
                yield turn.chunks
                next_tick = loop.time() + idle_s
                continue
            if turn.finished:
                return
            if turn.more:
                continue
            if loop.time() >= next_tick:
                next_tick = loop.time() + idle_s
                yield []
            await self._pause(next_tick - loop.time())

    async def _turn(self, *, read: bool) -> Turn:
        async with self._one_turn:
            hinted, self._hinted = self._hinted, set()
            names_changed, self._names_changed = self._names_changed, False
            self._wake.clear()
            watched = self._watcher.is_working
            loop = asyncio.get_running_loop()
            turn = await loop.run_in_executor(self._executor, self._worker.turn, hinted, names_changed, watched, read)
            self._turns_taken += 1
            self._report = turn.report
            for event in turn.events:
                self._emit(event)
            if self._uses_watcher and not self._stopping:
                await self._watcher.watch(turn.directories)
            return turn

    async def _pause(self, longest_s: float) -> None:
        """Until a hint comes, or it is time to look."""
        if self._once or self._stopping:
            return
        try:
            async with asyncio.timeout(max(0.001, min(longest_s, self._settings.poll_interval))):
                await self._wake.wait()
        except TimeoutError:
            return

    async def _keep_up(self) -> None:
        """While whoever takes the chunks is held up, files go on being found and followed, or rotation would lose them."""
        while True:
            taken = self._turns_taken
            await asyncio.sleep(self._settings.scan_interval)
            if self._turns_taken == taken and not self._stopping and not self._one_turn.locked():
                await self._turn(read=False)

    def _hint(self, path: str, name_changed: bool) -> None:
        self._hinted.add(path)
        self._names_changed |= name_changed
        self._wake.set()
