"""Lines that wait for more of their kind, on real files: through rotations, ends and restarts they come once and whole."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest

from agent.config import Agent, Multiline, Source
from agent.model import Chunk, FileId, Position, Resume, Span
from agent.tail.all_files import Tailer
from agent.tail.generations import Timing
from agent.tail.open_end import OpenEnd

FAST = Timing(quiet_s=0.05, copy_quiet_s=0.05, copy_wait_s=0.2, successor_cap_s=2.0, nameless_s=0.3, join_s=20.0)
EVENTS = Multiline(start=r"^\S", timeout="300ms")
T = "2026-01-02T03:04:05.000000001Z"

Watch = Literal["auto", "poll"]


@pytest.fixture(params=["auto", "poll"])
def watch(request: pytest.FixtureRequest) -> Watch:
    return request.param


def cri(*lines: str) -> str:
    return "".join(f"{T} {line}\n" for line in lines)


def entries(chunk: Chunk) -> list[str]:
    lines = chunk.data.decode().split("\n")[:-1]
    out, at = [], 0
    for count in chunk.line_counts or (1,) * len(lines):
        out.append("\n".join(lines[at : at + count]))
        at += count
    return out


class Lives:
    """Lives of an agent one after the other, on the logs of one container."""

    def __init__(self, directory: Path, watch: Watch, timing: Timing = FAST, **source: Any) -> None:
        self.log = directory / "pods" / "ns_pod_uid" / "app" / "0.log"
        self.log.parent.mkdir(parents=True)
        self._watch, self._timing, self._more = watch, timing, source
        self._rotations = 0
        self.spans: dict[FileId, list[Span]] = {}
        self.parts: list[tuple[int, int]] = []

    def write(self, text: str) -> None:
        with self.log.open("a") as file:
            file.write(text)

    def rotate(self) -> Path:
        self._rotations += 1
        return self.log.rename(f"{self.log}.20260102-{self._rotations:06d}")

    def resume(self) -> Resume:
        return Resume({file: spans[-1].after for file, spans in self.spans.items()}, {})

    async def live(
        self, enough: Callable[[list[str]], bool], between: Callable[[int, list[str]], None] = lambda turn, seen: None
    ) -> list[str]:
        """What is read until it is enough. The last chunk that was taken is durable, the turn's others are not."""
        seen: list[str] = []
        settings = Agent(watch=self._watch, scan_interval="60ms", poll_interval="20ms")
        source = Source(include=(str(self.log),), **self._more)
        tailer = Tailer([source], settings, self.resume(), lambda event: None, timing=self._timing)
        async with asyncio.timeout(20), tailer:
            turn = 0
            async for chunks in tailer.turns(lambda: 0.02):
                for chunk in chunks:
                    self._take(chunk, seen)
                    if enough(seen):
                        tailer.stop()
                        return seen
                turn += 1
                between(turn, seen)
                if enough(seen):
                    tailer.stop()
        return seen

    def _take(self, chunk: Chunk, seen: list[str]) -> None:
        for span in (*chunk.also, chunk.span):
            before = self.spans.setdefault(span.file, [])
            assert span.start == (before[-1].after.offset if before else 0), "spans of a file follow each other"
            before.append(span)
        seen += entries(chunk)
        if chunk.data:
            self.parts.append((chunk.first_part, chunk.last_part))


def has(count: int) -> Callable[[list[str]], bool]:
    return lambda seen: len(seen) >= count


async def test_t108_a_line_whose_end_is_in_the_next_generation_is_one_line(tmp_path: Path, watch: Watch) -> None:
    lives = Lives(tmp_path, watch)
    lives.write(cri("stdout F one", "stdout P be", "stderr F err"))

    def rotate(turn: int, seen: list[str]) -> None:
        if turn == 3:
            lives.rotate()
            lives.write(cri("stdout P g"))
        if turn == 6:
            lives.write(cri("stdout F un", "stdout F two"))

    assert await lives.live(has(4), rotate) == ["one", "err", "begun", "two"]
    assert len(lives.spans) == 2
    assert {spans[-1].after.offset for spans in lives.spans.values()} == {
        path.stat().st_size for path in lives.log.parent.iterdir()
    }


async def test_t108_a_line_may_go_through_whole_generations(tmp_path: Path, watch: Watch) -> None:
    lives = Lives(tmp_path, watch, format="cri")
    lives.write(cri("stdout F one", "stdout P a"))
    assert await lives.live(has(1)) == ["one"]
    for part in ("b", "c", "d"):
        lives.rotate()
        lives.write(cri(f"stdout P {part}"))
    lives.rotate()
    lives.write(cri("stdout F e", "stdout F two"))
    assert await lives.live(has(2)) == ["abcde", "two"]
    assert len(lives.spans) == 5


@pytest.mark.parametrize("killed_after", range(6))
async def test_t108_a_kill_in_the_middle_neither_loses_nor_tears(tmp_path: Path, killed_after: int) -> None:
    """The agent dies after each number of durable chunks, and rotations go on while it is dead."""
    lives = Lives(tmp_path, "poll")
    expected = []
    seen: list[str] = []
    for number in range(6):
        lives.write(cri(f"stdout F whole-{number}", f"stdout P be{number}-", f"stderr F err-{number}"))
        if number == 0:
            await lives.live(lambda seen: bool(lives.spans))  # its beginning is known, and nothing more
            lives.spans = {file: spans[:1] for file, spans in lives.spans.items()}
        lives.rotate()
        lives.write(cri(f"stdout P mid{number}-", f"stdout F gun{number}"))
        expected += [f"whole-{number}", f"err-{number}", f"be{number}-mid{number}-gun{number}"]
    lives.spans = {
        file: [replace(span, after=_nothing(span.after)) for span in spans] for file, spans in lives.spans.items()
    }
    for _ in range(40):
        if len(seen) == len(expected):
            break
        seen += await lives.live(has(min(killed_after + 1, len(expected) - len(seen))))
    assert seen == expected


def _nothing(after: Position) -> Position:
    return replace(after, offset=0, anchor_digest=b"", part=0)


async def test_t108_a_file_of_which_nothing_was_sent_is_known_after_a_kill_and_a_rotation(tmp_path: Path) -> None:
    lives = Lives(tmp_path, "poll")
    lives.write(cri("stdout P be"))
    assert await lives.live(lambda seen: bool(lives.spans)) == []
    lives.rotate()
    lives.write(cri("stdout F gun"))
    assert await lives.live(has(1)) == ["begun"]


async def test_a_line_whose_end_does_not_come_is_taken_in_time_and_marked(tmp_path: Path, watch: Watch) -> None:
    lives = Lives(tmp_path, watch, replace(FAST, join_s=0.3))
    lives.write(cri("stdout P be"))
    assert await lives.live(has(1)) == ["be"]
    lives.write(cri("stdout F gun", "stdout F two"))
    assert await lives.live(has(2)) == ["gun", "two"]
    assert lives.parts == [(1, 1), (2, 0), (0, 0)]


async def test_a_line_whose_end_never_comes_does_not_hold_up_the_next_generation(tmp_path: Path) -> None:
    lives = Lives(tmp_path, "poll", replace(FAST, join_s=0.3))
    lives.write(cri("stdout P be"))
    rotated = lives.rotate()
    lives.log.write_text("")
    lives.log.unlink()
    rotated.rename(lives.log)
    await lives.live(lambda seen: bool(lives.spans))
    lives.rotate()
    lives.write(cri("stderr F other"))
    assert sorted(await lives.live(has(2))) == ["be", "other"]


async def test_an_open_line_of_a_deleted_file_is_taken(tmp_path: Path, watch: Watch) -> None:
    lives = Lives(tmp_path, watch)
    lives.write(cri("stdout F one", "stdout P be"))

    def delete(turn: int, seen: list[str]) -> None:
        if seen and lives.log.exists():
            lives.log.unlink()

    assert await lives.live(has(2), delete) == ["one", "be"]


async def test_t16_an_open_event_is_delivered_once_in_full_after_a_restart(tmp_path: Path, watch: Watch) -> None:
    lives = Lives(tmp_path, watch, multiline=EVENTS, format="text")
    lives.write("one\nTraceback\n  at a\n")
    assert await lives.live(has(1)) == ["one"]
    lives.write("  at b\nError\n")
    assert await lives.live(has(2)) == ["Traceback\n  at a\n  at b", "Error"]


async def test_an_event_ends_when_nothing_more_comes(tmp_path: Path, watch: Watch) -> None:
    lives = Lives(tmp_path, watch, multiline=EVENTS, format="text")
    lives.write("one\n more\n")
    assert await lives.live(has(1)) == ["one\n more"]


async def test_an_event_goes_on_in_the_next_generation(tmp_path: Path, watch: Watch) -> None:
    lives = Lives(tmp_path, watch, multiline=Multiline(start=r"^\S", timeout="20s"), format="text")
    lives.write("one\nTraceback\n  at a\n")

    def rotate(turn: int, seen: list[str]) -> None:
        if turn == 3:
            lives.rotate()
            lives.write("  at b\nnext\nlast\n")

    assert await lives.live(has(3), rotate) == ["one", "Traceback\n  at a\n  at b", "next"]


async def test_events_of_a_container_go_on_in_the_next_generation(tmp_path: Path) -> None:
    lives = Lives(tmp_path, "poll", multiline=Multiline(start=r"^\S", timeout="20s"))
    lives.write(cri("stdout F one", "stdout F Traceback", "stderr F err", "stdout P   at"))

    def rotate(turn: int, seen: list[str]) -> None:
        if turn == 3:
            lives.rotate()
            lives.write(cri("stdout F  a", "stderr F err2", "stdout F next", "stderr F err3", "stdout F last"))

    seen = await lives.live(has(5), rotate)
    assert sorted(seen) == ["Traceback\n  at a", "err", "err2", "next", "one"]


def test_how_long_an_end_is_open_counts_from_where_it_begins_and_from_where_it_ends() -> None:
    end = OpenEnd(lines=True)
    assert end.look(10, 20, 0.0)
    assert not end.look(10, 30, 5.0)
    assert (end.is_silent(6.0, 2.0), end.is_silent(7.0, 2.0)) == (False, True)
    assert (end.has_waited(9.9, 10.0), end.has_waited(10.0, 10.0)) == (False, True)
    assert end.look(30, 40, 8.0)
    assert not end.has_waited(17.0, 10.0)
    end.lines = False
    assert not end.look(30, 40, 9.0)
    assert not end.is_silent(99.0, 2.0)
