"""kill -9 at random moments under load with faulty replies: nothing lost, nothing visible twice, nothing out of order."""

import asyncio
import random
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from agent_process import AgentProcess
from oracle import difference, stored

from agent.demo.faults import FaultPlan
from agent.demo.loki import Limits, LokiStandIn

FILES = 4
# The writers stay this many lines ahead of Loki at most: what is tested is crashes, not how fast a backlog drains.
MOST_AHEAD = 20_000


class Load:
    """Appends numbered lines to several files, a few at a time, as long as it is asked to."""

    def __init__(self, directory: Path, seed: int) -> None:
        directory.mkdir()
        self.paths = [directory / f"app-{number}.log" for number in range(FILES)]
        self._dice = random.Random(seed)
        self._next = dict.fromkeys(self.paths, 0)

    @property
    def written(self) -> int:
        return sum(self._next.values())

    def burst(self) -> None:
        for path in self.paths:
            first = self._next[path]
            count = self._dice.randrange(1, 60)
            self._next[path] = first + count
            # Some lines share their time and some their text; the number in front makes the oracle exact.
            now = time.time()
            with path.open("a") as file:
                for number in range(first, first + count):
                    file.write(f'{{"timestamp": {now:.3f}, "level": "INFO", "seq": {number}, "message": "m"}}\n')

    async def run(self, loki: LokiStandIn) -> None:
        while True:
            if self.written - loki.accepted < MOST_AHEAD:
                self.burst()
            await asyncio.sleep(0.005)

    def expected(self) -> dict[str, list[bytes]]:
        return {str(path): path.read_bytes().splitlines() for path in self.paths}


async def torture(tmp_path: Path, loki: LokiStandIn, *, kills: int, seed: int) -> None:
    dice = random.Random(seed)
    load = Load(tmp_path / "log", seed)
    agent_directory = tmp_path / "agent"
    agent_directory.mkdir()
    agent = AgentProcess(
        agent_directory, loki.url, f"{tmp_path}/log/*.log",
        buffer='segment_bytes = "64KiB"\nmax_bytes = "64MiB"', batch='max_bytes = "16KiB"', redact="enabled = false",
    )  # fmt: skip
    writing = asyncio.create_task(load.run(loki))
    try:
        for _ in range(kills):
            await agent.start(ready=False)
            before = loki.pushes
            # Sometimes before anything was sent, sometimes right after, sometimes a while later.
            await asyncio.sleep(dice.choice((0.2, 0.5, 0.8)) * dice.random())
            if dice.random() < 0.8:
                await loki.wait_for(lambda there, at=before: there.pushes > at + dice.randrange(5), 60)
            await agent.kill()
    finally:
        writing.cancel()
    await agent.start()
    try:
        await loki.wait_for(lambda there: there.accepted >= load.written, 120)
        assert not (wrong := difference(load.expected(), stored(loki))), f"seed {seed}: {wrong}"
        print(f"seed {seed}: {kills} kills, {load.written} lines, {loki.repeats} repeats that no query shows")
        assert await agent.stop() == 0
    finally:
        if agent.process is not None and agent.process.returncode is None:
            await agent.kill()


@pytest.fixture
async def faulty_loki() -> AsyncIterator[LokiStandIn]:
    async with LokiStandIn(faults=FaultPlan.random(seed=11, share=0.3), limits=Limits.without_rates()) as stand_in:
        yield stand_in


async def test_t66_twenty_kills_with_faulty_replies_cost_nothing(tmp_path: Path, faulty_loki: LokiStandIn) -> None:
    await torture(tmp_path, faulty_loki, kills=20, seed=1)


@pytest.mark.long
@pytest.mark.timeout(1800)
async def test_t66_two_hundred_kills_with_faulty_replies_cost_nothing(tmp_path: Path, faulty_loki: LokiStandIn) -> None:
    seed = random.SystemRandom().randrange(10**6)
    await torture(tmp_path, faulty_loki, kills=200, seed=seed)
