"""An agent's tailer driven by hand: each turn is asked for, the clocks are the test's own, and so a run repeats exactly."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from agent.config import Agent, Source
from agent.model import Chunk, FileId, Position, Resume
from agent.observe.events import Event
from agent.tail.generations import Timing
from agent.tail.memory import Memory
from agent.tail.mounts import WHOLE_TREE
from agent.tail.one_file import OneFile
from agent.tail.report import FileStatus, state_of
from agent.tail.worker import Ask, Worker


def is_idle(file: OneFile) -> bool:
    """Whether nothing is to be done about it, nor to be told of it, asked one by one."""
    told = (file.unread_bytes, file.is_open, file.has_unread, file.has_rest and not file.open_end.lines, file.is_lost)
    return state_of(file) == "idle" and not any(told)


class ByHand:
    """hinted: whether file events can be relied on.  most_open: how many files the tailer takes for the limit.
    delivered: paths with lines, in the order in which they became durable.
    """

    def __init__(self, *sources: Source, hinted: bool = True, most_open: int | None = None) -> None:
        self._sources = sources
        self._hinted = hinted
        self._most_open = most_open
        self._now = 1000.0
        self.wall_ns = 1_800_000_000 * 10**9
        self._worker: Worker | None = None
        self._taken: list[Chunk] = []
        self.positions: dict[FileId, Position] = {}
        self.delivered: list[tuple[str, str]] = []
        self.events: list[Event] = []
        self.over: list[FileId] = []
        self.was_killed = False
        self._is_first = True

    def pass_time(self, seconds: float) -> None:
        self._now += seconds
        self.wall_ns += int(seconds * 10**9)

    def touch(self, path: Path) -> None:
        """Written now, by the test's clock."""
        os.utime(path, ns=(self.wall_ns, self.wall_ns))

    def append(self, path: Path, text: str | bytes) -> None:
        with path.open("ab") as file:
            file.write(text if isinstance(text, bytes) else text.encode())
        self.touch(path)

    def start(self) -> None:
        if self._worker is None:
            self._worker = Worker(
                self._sources,
                Agent(watch="poll"),
                WHOLE_TREE,
                Memory(Resume(dict(self.positions), {}, is_first=self._is_first)),
                Timing(),
                lambda: self.wall_ns,
                lambda: self._now,
                once=False,
            )
            self._is_first = False
            if self._most_open is not None:
                self._worker._open_files.limit(self._most_open)

    def turn(self, seconds: float = 1.0, *, read: bool = True, hint: bool = True) -> None:
        """hint: where file events can be relied on, they told that names have changed."""
        self.pass_time(seconds)
        if self._worker is not None:
            turn = self._worker.turn(Ask((), self._hinted and hint, self._hinted, read, WHOLE_TREE))
            self._taken += turn.chunks
            self.events += turn.events
            self.over += self._worker._memory.over()
            assert all(map(is_idle, self.at_rest()))

    def at_rest(self) -> list[OneFile]:
        """Those that scans and reports pass over."""
        assert self._worker is not None
        return [file for file in self._worker._generations.files.values() if file.is_at_rest]

    def statuses(self) -> list[FileStatus]:
        assert self._worker is not None
        return self._worker.statuses(100)

    def turns(self, count: int) -> None:
        for _ in range(count):
            self.turn()

    def persist(self, share: float = 1.0) -> None:
        """So much of what was read is durable, and delivered."""
        count = round(share * len(self._taken))
        for chunk in self._taken[:count]:
            for span in (*chunk.also, chunk.span):
                self.positions[span.file] = span.after
            self.delivered += [(chunk.origin.path, line) for line in chunk.data.decode().splitlines()]
        del self._taken[:count]

    def lose(self, data: bytes) -> None:
        """The chunk with these bytes was read, and lost in the buffer."""
        lost = [chunk for chunk in self._taken if chunk.data == data]
        assert lost
        assert self._worker is not None
        self._taken = [chunk for chunk in self._taken if chunk not in lost]
        self._worker._memory.lose(chunk.span for chunk in lost)

    def kill(self) -> None:
        if self._worker is not None:
            self._worker.close()
            self._worker = None
            self._taken.clear()
            self.was_killed = True

    def lines(self, path: Path | None = None) -> list[str]:
        """What was delivered, of one path or of all."""
        return [line for origin, line in self.delivered if path is None or origin == str(path)]

    def after(self, turns: int, path: Path | None = None) -> list[str]:
        """What was delivered after so many turns more, a second each."""
        self.turns(turns)
        self.persist()
        return self.lines(path)


def following(*patterns: Path | str, hinted: bool = True, most_open: int | None = None, **source: Any) -> ByHand:
    """An agent that has just been started on these."""
    agent = ByHand(Source(include=tuple(map(str, patterns)), **source), hinted=hinted, most_open=most_open)
    agent.start()
    return agent
