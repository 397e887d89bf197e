"""agent.tail on a log that the kubelet rotates: each time it compresses the one that it rotated before."""

import asyncio
import gzip
from collections.abc import Callable
from pathlib import Path

import pytest
from tailing import Watch

from agent.config import Agent, Source
from agent.model import FileId, Position, Resume
from agent.tail.all_files import Tailer
from agent.tail.generations import Timing


class Kubelet:
    def __init__(self, directory: Path) -> None:
        self.log = directory / "pods" / "ns_pod_uid" / "app" / "0.log"
        self.log.parent.mkdir(parents=True)
        self._rotations = 0

    def say(self, *lines: str) -> None:
        with self.log.open("a") as file:
            file.write("".join(f"2026-01-02T03:04:05Z stdout {line}\n" for line in lines))

    def rotate(self) -> None:
        for old in self.log.parent.glob("0.log.*[0-9]"):
            old.with_name(old.name + ".tmp").write_bytes(gzip.compress(old.read_bytes()))
            old.with_name(old.name + ".tmp").rename(old.with_name(old.name + ".gz"))
            old.unlink()
        self._rotations += 1
        self.log.rename(f"{self.log}.20260102-{self._rotations:06d}")


async def live(
    log: Path,
    positions: dict[FileId, Position],
    quiet_s: float,
    enough: Callable[[list[str], int], bool],
    watch: Watch,
    scan: str = "50ms",
) -> list[str]:
    """The lines read until they are enough, told with the number of turns. What was taken is durable."""
    seen: list[str] = []
    turn = 0
    tailer = Tailer(
        [Source(include=(str(log),))],
        Agent(watch=watch, scan_interval=scan, poll_interval="50ms"),
        Resume(dict(positions), {}),
        lambda event: None,
        timing=Timing(quiet_s=quiet_s),
    )
    async with asyncio.timeout(20), tailer:
        async for chunks in tailer.turns(lambda: 0.02):
            for chunk in chunks:
                for span in (*chunk.also, chunk.span):
                    positions[span.file] = span.after
                seen += chunk.data.decode().splitlines()
            turn += 1
            if enough(seen, turn):
                tailer.stop()
    return seen


@pytest.mark.parametrize("lives_without_reading", [0, 1, 2])
async def test_t106_t108_archives_that_nobody_read_are_read_in_order_even_after_further_kills(
    tmp_path: Path, lives_without_reading: int, watch_mode: Watch
) -> None:
    kubelet = Kubelet(tmp_path)
    kubelet.say("F a1", "P a2-")
    positions: dict[FileId, Position] = {}
    assert await live(kubelet.log, positions, 0.0, lambda seen, _: seen == ["a1"], watch_mode) == ["a1"]
    for name in ("b", "c", "d"):
        kubelet.rotate()
        kubelet.say(f"P {name}1-", f"F {name}2", f"F {name}3", f"P {name}4-")
    for _ in range(lives_without_reading):
        # Its writer would have to be quiet for a minute: nothing may be read, yet all generations are remembered.
        assert await live(kubelet.log, positions, 60, lambda _, turn: turn > 10, watch_mode) == []
    kubelet.say("F end")
    whole = ["a2-b1-b2", "b3", "b4-c1-c2", "c3", "c4-d1-d2", "d3", "d4-end"]
    assert await live(kubelet.log, positions, 0.0, lambda seen, _: len(seen) >= len(whole), watch_mode) == whole


async def test_t106_generations_that_came_and_were_compressed_between_two_looks_are_read(
    tmp_path: Path, watch_mode: Watch
) -> None:
    kubelet = Kubelet(tmp_path)
    kubelet.say("F a1")

    def rotate_when_read(seen: list[str], _: int) -> bool:
        if seen == ["a1"] and not list(kubelet.log.parent.glob("0.log.*")):
            kubelet.say("F a2")
            for name in ("b", "c", "d"):  # faster than it is looked: the first is gone by then, but for its archive
                kubelet.rotate()
                kubelet.say(f"F {name}1", f"F {name}2")
        return len(seen) >= 8

    assert await live(kubelet.log, {}, 0.0, rotate_when_read, watch_mode, "300ms") == [
        "a1",
        "a2",
        "b1",
        "b2",
        "c1",
        "c2",
        "d1",
        "d2",
    ]


@pytest.mark.parametrize("is_unlinked", [True, False], ids=["unlinked", "not yet unlinked"])
async def test_t40_t106_the_archive_of_a_generation_that_waits_for_its_turn_is_not_another_one(
    tmp_path: Path, is_unlinked: bool, watch_mode: Watch
) -> None:
    kubelet = Kubelet(tmp_path)
    kubelet.say("F a1")
    second = Path(f"{kubelet.log}.20260102-000002")
    first_turn: list[int] = []

    def rotate_while_the_second_waits(seen: list[str], turn: int) -> bool:
        if not first_turn and seen == ["a1"]:
            first_turn.append(turn)
            kubelet.rotate()
            kubelet.say("F b1", "F b2")
        if (
            first_turn and turn == first_turn[0] + 20
        ):  # it is known by now, and its predecessor not quiet for long enough
            kubelet.rotate()
            packed = second.with_name(second.name + ".gz")
            packed.write_bytes(gzip.compress(second.read_bytes()))
            if is_unlinked:
                second.unlink()
            kubelet.say("F c1")
        return "c1" in seen and turn > first_turn[0] + 100

    seen = await live(kubelet.log, {}, 1.0, rotate_while_the_second_waits, watch_mode)
    assert seen == ["a1", "b1", "b2", "c1"]
