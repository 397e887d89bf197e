"""One area: its files, the thread that works on them, and the watcher of its directories. All on the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from agent.config import Agent
from agent.model import Chunk
from agent.observe.events import Emit, FileSystemAnswers, FileSystemStalled, WatchMode
from agent.tail.mounts import Area
from agent.tail.report import NOTHING_YET, Report
from agent.tail.thread import Thread
from agent.tail.watch import Watcher
from agent.tail.worker import Ask, Turn, Worker


class Lane:
    """At most one turn is under way. What it brings waits in `chunks` until it is taken, and no other reads before.

    area:      None once it is unmounted.
    is_stalled: its file system has not answered for a while.
    """

    def __init__(
        self, area: Area, worker: Worker, settings: Agent, emit: Emit, done: Callable[[], None], *, once: bool
    ) -> None:
        self.area: Area | None = area
        self.name = area.mounts[0]
        self.report: Report = NOTHING_YET
        self.chunks: list[Chunk] = []
        self.more = self.finished = self.is_stalled = False
        self.turns = 0
        self._worker = worker
        self._emit = emit
        self._done = done
        self._loop = asyncio.get_running_loop()
        self._thread = Thread(f"tail {self.name}")
        self._watcher = Watcher(self._hint, emit)
        self._watches = settings.watch == "auto" and not once and not area.is_remote
        self._trusts_events = True
        self._hinted: set[str] = set()
        self._names_changed = False
        self._under_way: asyncio.Future[Turn] | None = None
        self._began = self._ended = self._rest_s = 0.0
        if not self._watches and not once:
            emit(WatchMode("poll", 0))

    @property
    def is_idle(self) -> bool:
        return self._under_way is None

    @property
    def is_watching(self) -> bool:
        return self._watcher.is_working and self._trusts_events

    def files(self) -> Worker:
        return self._worker

    def due_in(self, pause_s: float) -> float:
        """Seconds until it has to look again; infinite while it is at it or has brought something."""
        if self._under_way is not None or self.chunks:
            return float("inf")
        if self.more or self._hinted or self._names_changed or self.turns == 0:
            return 0.0
        if self.is_watching:
            pause_s = max(pause_s, self._rest_s)
        return max(0.0, self._ended + pause_s - self._loop.time())

    def begin(self, *, read: bool) -> None:
        hinted, self._hinted = self._hinted, set()
        names_changed, self._names_changed = self._names_changed, False
        ask = Ask(hinted, names_changed, self._watcher.is_working, read and not self.chunks, self.area)
        self._began = self._loop.time()
        self._under_way = self._thread.call(lambda: self._worker.turn(ask))
        self._under_way.add_done_callback(self._end)

    def _end(self, turned: asyncio.Future[Turn]) -> None:
        self._ended = self._loop.time()
        if self.is_stalled:
            self.is_stalled = False
            self._emit(FileSystemAnswers(self.name))
        if turned.cancelled():
            return
        if turned.exception() is None:
            self._under_way = None
            turn = turned.result()
            self.turns += 1
            self.report, self.more, self.finished = turn.report, turn.more, turn.finished
            self._trusts_events, self._rest_s = turn.trusts_events, turn.rest_s
            self.chunks += turn.chunks
            for event in turn.events:
                self._emit(event)
            if self._watches and self.area is not None:
                self._watcher.watch(turn.directories)
        self._done()

    def take(self) -> list[Chunk]:
        """Raises what the thread raised: that is a bug."""
        if self._under_way is not None and self._under_way.done():
            self._under_way.result()
        chunks, self.chunks = self.chunks, []
        return chunks

    def judge(self, stalled_s: float) -> None:
        """Tells when its file system does not answer."""
        waited_s = self._loop.time() - self._began
        if self._under_way is not None and not self.is_stalled and waited_s >= stalled_s:
            self.is_stalled = True
            self._emit(FileSystemStalled(self.name, round(waited_s, 1)))

    def nudge(self) -> None:
        """Something is to be done that no hint will tell of."""
        self._rest_s = 0.0

    def unmounted(self) -> None:
        self.area, self._rest_s = None, 0.0
        self._watcher.close()

    def close(self) -> asyncio.Future[None]:
        """The end of its thread, which may be far off."""
        self._watcher.close()
        closing = self._thread.call(self._worker.close)
        self._thread.end()
        return closing

    def _hint(self, path: str, name_changed: bool) -> None:
        self._hinted.add(path)
        self._names_changed |= name_changed
        self._done()
