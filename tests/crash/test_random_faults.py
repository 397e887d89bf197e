"""Everything at random, for as long as asked: crashes, rotations, a disk that fills and fails, a Loki that misbehaves.

    pytest -m long tests/crash/test_random_faults.py --fault-seed 7 --fault-minutes 60

The dice decide what happens; when it happens is the machine's. Every now and then all faults stop, and then everything
written so far must be in Loki once and in order, but for lines that Loki refuses: these must be dead letters.
"""

import asyncio
import itertools
import random
import shutil
import signal
import time
from collections import Counter, deque
from collections.abc import Callable
from pathlib import Path

import pytest
import small_disk
import traced
from agent_process import AgentProcess, assert_nothing_is_unaccounted, rss_peak_mib
from oracle import difference, stored
from small_disk import SmallDisk

from agent.demo.faults import PASSING, FaultPlan, NeverRead, Status
from agent.demo.loki import Limits, LokiStandIn

FILES = 6
MOST_AHEAD = 5000
ROUND_S = 20.0
CALM_S = 90.0
MOST_MIB = 250
DISK = "24m"

pytestmark = pytest.mark.skipif(
    bool(small_disk.why_not() or traced.why_not()), reason=small_disk.why_not() or traced.why_not()
)


class Logs:
    """Files that grow, are renamed, copied and truncated, and go when Loki has all of them."""

    def __init__(self, directory: Path, dice: random.Random, loki: LokiStandIn) -> None:
        directory.mkdir()
        self._dice, self._loki = dice, loki
        self.paths = [directory / f"app-{number}.log" for number in range(FILES)]
        self.expected: dict[str, list[bytes]] = {str(path): [] for path in self.paths}
        self.refused: set[bytes] = set()
        self.written = 0
        self._numbers = itertools.count()
        # Lines of each path that the current file and the rotated ones hold, from which on.
        self._since = dict.fromkeys(self.paths, 0)
        self._rotated: list[tuple[Path, Path, int]] = []

    def _accepted(self, path: Path) -> int:
        """How many of the path's lines Loki has; they arrive in order."""
        return sum(len(stream.entries) for stream in self._loki._streams({"filename": str(path)}, None))

    def burst(self) -> None:
        if self.written - self._loki.accepted > MOST_AHEAD:
            return
        path = self._dice.choice(self.paths)
        lines = []
        for _ in range(self._dice.randrange(1, 80)):
            number, noise = next(self._numbers), self._dice.randbytes(self._dice.randrange(0, 300)).hex()
            if self._dice.random() < 0.002:
                line = f'{{"timestamp": "2001-01-01T00:00:00Z", "refused": {number}}}'.encode()
                self.refused.add(line)
            else:
                line = f'{{"timestamp": {time.time():.3f}, "level": "INFO", "seq": {number}, "message": "{noise}"}}'.encode()
                self.expected[str(path)].append(line)
                self.written += 1
            lines.append(line)
        whole = b"".join(line + b"\n" for line in lines)
        cut = self._dice.randrange(len(whole))
        with path.open("ab", buffering=0) as file:  # in two calls, the first of which ends anywhere
            file.write(whole[:cut])
            file.write(whole[cut:])

    def rename(self) -> str:
        path = self._dice.choice(self.paths)
        if not path.exists() or not self._accepted(path):
            return "rename: nothing known yet"
        self._shift(path)
        path.rename(f"{path}.1")
        return f"rename {path.name}"

    def copytruncate(self) -> str:
        path = self._dice.choice(self.paths)
        if not path.exists() or self._accepted(path) <= self._since[path]:
            return "copytruncate: not known yet"
        self._shift(path)
        shutil.copy2(path, f"{path}.1")
        with path.open("r+b") as file:
            file.truncate(0)
        return f"copytruncate {path.name}"

    def _shift(self, path: Path) -> None:
        """As logrotate does: every older one gets the next number."""
        moved = []
        for owner, rotated, last in self._rotated:
            if owner == path:
                target = path.with_name(f"{path.name}.{int(rotated.suffix[1:]) + 1}")
                moved.append((owner, target, last))
            else:
                moved.append((owner, rotated, last))
        for owner, target, _ in sorted(moved, key=lambda each: -int(each[1].suffix[1:])):
            if owner == path:
                path.with_name(f"{path.name}.{int(target.suffix[1:]) - 1}").rename(target)
        self._since[path] = len(self.expected[str(path)])
        self._rotated = [*moved, (path, Path(f"{path}.1"), self._since[path])]

    def tidy(self) -> str:
        """Deletes what Loki has; its inodes are free for new files then."""
        gone = [(owner, path, last) for owner, path, last in self._rotated if self._accepted(owner) >= last]
        # The oldest first, and none behind one that is still needed: numbers stay without gaps.
        kept = {owner for owner, path, last in self._rotated if (owner, path, last) not in gone}
        gone = [each for each in gone if each[0] not in kept]
        for each in gone:
            each[1].unlink()
            self._rotated.remove(each)
        return f"delete {len(gone)}"


class World:
    """The agent and all that happens to it."""

    def __init__(self, directory: Path, seed: int, loki: LokiStandIn, disk: SmallDisk, agent: AgentProcess) -> None:
        self.dice = random.Random(seed)
        self.loki, self.disk, self.agent = loki, disk, agent
        self.logs = Logs(directory / "log", self.dice, loki)
        self.done: deque[str] = deque(maxlen=60)
        self.counts: Counter[str] = Counter()
        self._traces = itertools.count()
        self._theirs: Path | None = None
        self._failing = False
        self._actions: list[tuple[float, Callable[[], object]]] = [
            (6, self.logs.rename), (3, self.logs.copytruncate), (4, self.logs.tidy),
            (4, self.kill), (1, self.terminate), (1, self.freeze), (3, self.fill_disk), (3, self.free_disk), (6, self.loki_changes),
        ]  # fmt: skip

    def note(self, what: str) -> None:
        self.done.append(what)
        self.counts[what.split(maxsplit=1)[0].rstrip(":")] += 1

    async def act(self) -> None:
        action = self.dice.choices([act for _, act in self._actions], [weight for weight, _ in self._actions])[0]
        said = action()
        self.note(str(await said if asyncio.iscoroutine(said) else said))

    # --- the process ----------------------------------------------------------------------------------------------

    async def start(self) -> None:
        under: list[str] = list(self.disk.under)
        self._failing = self.dice.random() < 0.25
        if self._failing:
            error = self.dice.choice(("EIO", "ENOSPC", "EROFS", "EDQUOT"))
            syscall = self.dice.choice(("pwrite64", "fdatasync", "fsync", "openat", "unlink"))
            when = f"{self.dice.randrange(2, 9)}+{self.dice.randrange(2, 30)}"
            trace = self.agent.directory / f"trace-{next(self._traces)}"
            buffer = self.agent.state / "buffer"
            paths = [str(buffer), *(str(path) for path in self._next_segments(buffer))]
            under += traced.injecting(trace, f"error={error}", syscall, when, paths)
            self.note(f"failing-disk {error} {syscall} {when}")
        await self.agent.start(ready=False, under=under)

    def _next_segments(self, buffer: Path) -> list[Path]:
        names = [path.stem for path in (self.disk.seen / "buffer").glob("*.segment")]
        first = min(map(int, names), default=1)
        return [buffer / f"{number:012d}.segment" for number in range(first, first + 60)]

    async def mend(self) -> None:
        """A start that could not read its state ends with 73, and a supervisor starts it again. Nothing else ends it."""
        process = self.agent.process
        assert process is not None
        if process.returncode is None:
            return
        assert (self._failing, process.returncode) == (True, 73), (
            f"it ended by itself: {process.returncode}\n{self.told()}"
        )
        self._failing = False
        self.note("refused-start")
        await self.agent.start(ready=False, under=self.disk.under)

    async def until_ready(self) -> None:
        try:
            await self.agent.until_ready()
        except AssertionError:
            await self.mend()
            await self.agent.until_ready()

    async def kill(self) -> str:
        await self.mend()
        await self.agent.kill()
        await asyncio.sleep(self.dice.choice((0.0, 0.0, 0.5, 1.5)))
        await self.start()
        return "kill"

    async def terminate(self) -> str:
        await self.until_ready()
        status = await self.agent.stop()
        assert status == 0, f"exit status {status} after SIGTERM"
        await self.start()
        return "terminate"

    async def freeze(self) -> str:
        await self.mend()
        assert self.agent.process is not None
        self.agent.process.send_signal(signal.SIGSTOP)
        await asyncio.sleep(self.dice.random() * 2)
        self.agent.process.send_signal(signal.SIGCONT)
        return "freeze"

    # --- the disk and Loki ----------------------------------------------------------------------------------------

    def fill_disk(self) -> str:
        if self._theirs is None:
            self._theirs = self.disk.fill("theirs", leave=self.dice.choice((0, 4096, 100_000, 1_000_000)))
        return "fill-disk"

    def free_disk(self) -> str:
        if self._theirs is not None:
            self._theirs.unlink()
            self._theirs = None
        return "free-disk"

    async def loki_changes(self) -> str:
        kind = self.dice.choice(("well", "dice", "dice", "dice", "500", "401", "429", "silent", "down"))
        self.loki.faults = {
            "500": lambda: FaultPlan.always(Status(500, "internal")),
            "401": lambda: FaultPlan.always(Status(401, "who are you")),
            "429": lambda: FaultPlan.always(Status(429, "slow down", (("Retry-After", "1"),))),
            "silent": lambda: FaultPlan.random(self.dice.randrange(10**6), 0.5, (NeverRead(),)),
            "dice": lambda: FaultPlan.random(self.dice.randrange(10**6), self.dice.random() * 0.6, PASSING),
        }.get(kind, FaultPlan)()
        if kind == "down":
            await self.loki.down()
            await asyncio.sleep(self.dice.random() * 2)
            await self.loki.up()
        return f"loki {kind}"

    # --- the judgement --------------------------------------------------------------------------------------------

    async def calm(self) -> None:
        """All faults stop. A process whose disk fails is replaced, by a kill."""
        self.loki.faults = FaultPlan()
        self.free_disk()
        await self.mend()
        await self.agent.kill()
        self._failing = False
        await self.agent.start(under=self.disk.under)
        try:
            await self.loki.wait_for(lambda there: there.accepted >= self.logs.written, CALM_S)
            seen = await self.agent.until(
                lambda seen: seen["waiting_entries"] == 0 and seen["unread_bytes"] == 0, CALM_S
            )
        except TimeoutError as error:
            raise AssertionError(f"{error}\n{self.told()}") from error
        assert not difference(self.logs.expected, stored(self.loki)), self.told()
        assert_nothing_is_unaccounted(seen)
        letters = b"".join(path.read_bytes() for path in (self.disk.seen / "dead-letters").glob("*.jsonl"))
        missing = [line for line in self.logs.refused if line.split(b'"refused": ')[1] not in letters]
        assert not missing, (
            f"{len(missing)} of {len(self.logs.refused)} refused lines are no dead letters\n{self.told()}"
        )
        assert "Traceback" not in self.agent.errors(), self.told()
        assert self.agent.process is not None
        assert rss_peak_mib(self.agent.process.pid) < MOST_MIB

    def told(self) -> str:
        told = difference(self.logs.expected, stored(self.loki))
        return f"{told}\n{list(self.done)}\n{self.agent.errors()[-6000:]}"

    def figures(self) -> str:
        happened = ", ".join(f"{count} {name}" for name, count in sorted(self.counts.items()))
        return (
            f"{self.logs.written} lines in Loki once and in order, {len(self.logs.refused)} dead letters, "
            f"{self.loki.repeats} repeats no query shows, {self.loki.pushes} pushes; {happened}"
        )


async def rounds(world: World, seconds: float) -> None:
    loop = asyncio.get_running_loop()
    ends = loop.time() + seconds

    async def write() -> None:
        while True:
            world.logs.burst()
            await asyncio.sleep(0.02)

    # The first start has room: `test_t82_a_first_start_on_a_full_disk` tells of the other case.
    await world.agent.start(under=world.disk.under)
    count = 0
    while loop.time() < ends:
        writing = asyncio.create_task(write())
        try:
            pause = min(loop.time() + ROUND_S, ends)
            while loop.time() < pause:
                await world.act()
                await asyncio.sleep(world.dice.random())
                if writing.done():
                    writing.result()
        finally:
            writing.cancel()
        await world.calm()
        count += 1
        print(f"round {count}: {world.figures()}", flush=True)


async def faults_for(tmp_path: Path, seed: int, seconds: float) -> str:
    """Runs; returns the figures. What is on the small disk is gone at the end, the rest is in `tmp_path`."""
    print(f"seed {seed}", flush=True)
    directory = tmp_path / "agent"
    directory.mkdir()
    async with LokiStandIn(limits=Limits.without_rates(), requests_kept=100) as loki:
        agent = AgentProcess(
            directory, loki.url, f"{tmp_path}/log/*.log",
            parse='out_of_range = "send"', batch='max_bytes = "16KiB"', redact="enabled = false",
            buffer='segment_bytes = "64KiB"\nmax_bytes = "1GiB"', loki='timeout = "2s"',
        )  # fmt: skip
        with SmallDisk(agent.state, DISK) as disk:
            world = World(tmp_path, seed, loki, disk, agent)
            try:
                await rounds(world, seconds)
                assert await agent.stop() == 0
            except BaseException:
                print(f"failed with seed {seed}: {world.told()}", flush=True)
                raise
            finally:
                if agent.process is not None and agent.process.returncode is None:
                    await agent.kill()
        return world.figures()


async def test_t105_ten_seconds_of_everything_costs_nothing(tmp_path: Path) -> None:
    await faults_for(tmp_path, seed=1, seconds=10)


@pytest.mark.long
@pytest.mark.timeout(0)
async def test_t105_an_hour_of_everything_costs_nothing(tmp_path: Path, fault_seed: int, fault_minutes: float) -> None:
    print(await faults_for(tmp_path, fault_seed, fault_minutes * 60))
