"""The tailer: every file of every source, as turns of chunks.

Each device has a lane of its own (`lane.py`): a thread that scans and reads, one hop a turn. A disk that is slow or hangs
stops neither the event loop, nor a shutdown, nor the files of other devices. Directory events only wake a lane earlier;
its scan finds everything without them.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Literal, Self

from agent.config import Agent, Source
from agent.globs import root_of
from agent.model import Chunk, FileId, Resume, Span
from agent.observe.events import Emit, FileSystemGone
from agent.tail.generations import Timing
from agent.tail.lane import Lane
from agent.tail.memory import Memory
from agent.tail.mounts import NO_TABLE, areas, parse, read_table
from agent.tail.report import STATES, FileStatus
from agent.tail.worker import TURN_BYTES, Worker

_DEFAULT_TIMING = Timing()
_CLOSING_S = 1.0
_MOUNTS_S = 1.0
_OVER_S = 1.0
_MOST_LISTED = 2000


@dataclass(frozen=True, slots=True)
class TailStatistics:
    """ready:          the first scan is done, of every file system that answers.
    files_by_state: counts of active, idle, draining, unreadable, ignored.
    unread_bytes:   bytes after the offsets, unterminated last lines included.
    stalled:        mount points of file systems that do not answer.
    readable_bytes: of the unread ones, those of files that can be read just now.
    held_bytes:     disk space of deleted files that are kept open until they are read.
    open_files:     descriptors held.
    """

    ready: bool
    files_by_state: Mapping[str, int]
    unread_bytes: int
    watch_mode: Literal["watch", "poll"]
    stalled: tuple[str, ...]
    readable_bytes: int
    held_bytes: int
    open_files: int
    _lanes: tuple[Lane, ...]

    @property
    def files(self) -> tuple[FileStatus, ...]:
        """What is known of each file; of very many, of those first that are not just idle."""
        listed = [status for lane in self._lanes for status in lane.files().statuses(_MOST_LISTED)]
        return tuple(listed[:_MOST_LISTED])


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
        forget: Callable[[Iterable[FileId]], None] = lambda _: None,
        mount_table: Callable[[], str] = read_table,
        chunk_bytes: int = TURN_BYTES,
    ) -> None:
        """forget: is told of files that are over; nothing of them need be remembered · chunk_bytes: how much may be in one chunk
        where that is more than a quantum."""
        self._sources = tuple(sources)
        self._settings = settings
        self._memory = Memory(resume)
        self._emit = emit
        self._wall_ns = wall_ns
        self._clock = clock
        self._once = once
        self._timing = timing
        self._forget = forget
        self._chunk_bytes = chunk_bytes
        self._over: deque[tuple[float, FileId]] = deque()
        self._mount_table = mount_table
        self._mounts: str | None = None
        self._next_mounts = self._next_over = 0.0
        self._includes = [(include, root_of(include)) for source in sources for include in source.include]
        self._lanes: dict[str, Lane] = {}
        self._wake = asyncio.Event()
        self._stopping = False
        self._turns_asked = 0
        self._keeper: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
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
        if closing := [lane.close() for lane in self._lanes.values()]:
            # A hung mount may hold its thread for ever; whoever stops does not wait for it.
            await asyncio.wait(closing, timeout=_CLOSING_S)

    def stop(self) -> None:
        """Ends `turns`. What was read and not yet given is read again by the next start."""
        self._stopping = True
        self._wake.set()

    def read_again(self, spans: Iterable[Span]) -> None:
        """What was made of these bytes was lost behind the reader's back; they come once more where their files still have
        them. Positions do not go back."""
        self._memory.lose(spans)
        for lane in self._lanes.values():
            lane.nudge()
        self._wake.set()

    def statistics(self) -> TailStatistics:
        lanes = tuple(self._lanes.values())
        reports = [lane.report for lane in lanes]
        return TailStatistics(
            ready=self._mounts is not None and all(lane.report.ready or lane.is_stalled for lane in lanes),
            files_by_state={state: sum(report.files_by_state[state] for report in reports) for state in STATES},
            unread_bytes=sum(report.unread_bytes for report in reports),
            watch_mode="watch" if any(lane.is_watching for lane in lanes) else "poll",
            stalled=tuple(lane.name for lane in lanes if lane.is_stalled),
            readable_bytes=sum(lane.report.readable_bytes for lane in lanes if not lane.is_stalled),
            held_bytes=sum(report.held_bytes for report in reports),
            open_files=sum(report.open_files for report in reports),
            _lanes=lanes,
        )

    async def turns(self, tick_s: Callable[[], float] = lambda: 0.1) -> AsyncIterator[list[Chunk]]:
        """Lists of chunks: a turn of each device (worker.TURN_BYTES), a quantum of each file in turn. An empty list is an idle tick,
        which comes `tick_s()` after the list before at the latest. Ends after `stop`, or with `once` when every file is read
        to its end."""
        loop = asyncio.get_running_loop()
        idle_s = tick_s()
        next_tick = loop.time() + idle_s
        while not self._stopping:
            pause_s = min(idle_s, self._settings.poll_interval)
            self._turns_asked += 1
            self._wake.clear()
            self._arrange()
            self._tell_what_is_over()
            self._begin(pause_s, read=True)
            if chunks := [chunk for lane in self._lanes.values() for chunk in lane.take()]:
                yield chunks
                idle_s = tick_s()
                next_tick = loop.time() + idle_s
                continue
            if self._once and all(lane.finished and lane.is_idle for lane in self._lanes.values()):
                return
            if loop.time() >= next_tick:
                yield []
                idle_s = tick_s()
                next_tick = loop.time() + idle_s
            await self._pause(min([next_tick - loop.time(), *(lane.due_in(pause_s) for lane in self._lanes.values())]))

    @property
    def _turns_taken(self) -> int:
        return sum(lane.turns for lane in self._lanes.values())

    def _begin(self, pause_s: float, *, read: bool) -> None:
        for lane in self._lanes.values():
            lane.judge(self._timing.stalled_s)
            if lane.due_in(pause_s) <= 0:
                lane.begin(read=read)

    async def _pause(self, longest_s: float) -> None:
        """Until a turn has ended, a hint comes, or it is time to look."""
        if longest_s > 0 and not self._stopping:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(longest_s):
                    await self._wake.wait()

    async def _keep_up(self) -> None:
        """While whoever takes the chunks is held up, files go on being found and followed, or rotation would lose them."""
        while True:
            asked = self._turns_asked
            await asyncio.sleep(self._settings.scan_interval)
            if self._turns_asked == asked and not self._stopping:
                self._arrange()
                for lane in self._lanes.values():
                    lane.judge(self._timing.stalled_s)
                    if lane.is_idle:
                        lane.begin(read=False)

    # --- file systems -----------------------------------------------------------------------------------------------

    def _arrange(self) -> None:
        """A lane for each device that globs lead to, by the table of mounts as it is now."""
        now = self._clock()
        if now < self._next_mounts or (self._once and self._mounts is not None):
            return
        self._next_mounts = now + _MOUNTS_S
        for device in [device for device, lane in self._lanes.items() if lane.area is None and lane.finished]:
            lane = self._lanes.pop(device)
            if lane.is_idle:
                lane.close()
            else:
                self._lanes[device] = lane
        table = self._mount_table() or self._mounts or NO_TABLE
        if table == self._mounts:
            return
        self._mounts = table
        present = areas(self._includes, parse(table))
        for device, lane in self._lanes.items():
            if lane.area is not None and device not in present:
                self._emit(FileSystemGone(lane.name))
                lane.unmounted()
        for device, area in present.items():
            known = self._lanes.get(device)
            if known is None:
                worker = Worker(
                    self._sources, self._settings, area, self._memory, self._timing, self._wall_ns, self._clock,
                    once=self._once, chunk_bytes=self._chunk_bytes,
                )  # fmt: skip
                self._lanes[device] = Lane(area, worker, self._settings, self._emit, self._wake.set, once=self._once)
            else:
                known.area = area
                known.nudge()
        self._memory.is_first_start = False

    # --- what is over -----------------------------------------------------------------------------------------------

    def _tell_what_is_over(self) -> None:
        """So much later that the last lines of such a file are in the buffer, or the position would come back with them."""
        now = self._clock()
        if now < self._next_over:
            return
        self._next_over = now + min(_OVER_S, self._timing.forget_s)
        self._over += [(now + self._timing.forget_s, file) for file in self._memory.over()]
        over = []
        while self._over and self._over[0][0] <= now:
            over.append(self._over.popleft()[1])
        if over:
            self._forget(over)
            for file in over:
                self._memory.drop(file)
