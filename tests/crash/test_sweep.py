"""SIGKILL at each system call of a small run, and again while the next start recovers: nothing lost, nothing twice.

What the calls are is not written down here: a run without faults is recorded, and every call it made on its files and
sockets becomes a point to die at. `test_t67` dies at a fair sample of them; with `-m long`, at each one.
"""

import asyncio
import signal
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from agent_process import AgentProcess
from oracle import append, difference, numbered, stored
from traced import Point, calls, injecting, points, recording, why_not

from agent.demo.faults import Delay, FaultPlan, ResetAfter, Status
from agent.demo.loki import Limits, LokiStandIn

SYSCALLS = (
    "openat", "read", "pread64", "write", "writev", "pwrite64", "fsync", "fdatasync", "ftruncate", "rename", "unlink",
    "mkdir", "flock", "connect", "sendto", "sendmsg", "recvfrom", "recvmsg", "close",
)  # fmt: skip
AGAIN = ("pwrite64", "fdatasync", "openat", "fsync", "pread64", "unlink", "ftruncate")
FIRST, SECOND, OTHER = 90, 90, 20
SAMPLE = 14
AT_A_TIME = 2
PATIENCE_S = 60

pytestmark = pytest.mark.skipif(bool(why_not()), reason=why_not())


@dataclass
class Step:
    """When so many entries are stored, this happens to the files."""

    stored: int
    act: Callable[[], None]


class Run:
    """One story: a log that is rotated, one that grows, a line Loki refuses, two faulty replies; then a stop.

    It goes on in whichever process lives. The refused line, far too old, is the last of its file: lines without a time
    take over that of the line before.
    """

    def __init__(self, directory: Path, loki: LokiStandIn) -> None:
        directory.mkdir()
        self.directory, self.loki = directory, loki
        self.logs = directory / "log"
        self.logs.mkdir()
        self.app, self.other = self.logs / "app.log", self.logs / "other.log"
        self.refused = b'{"timestamp": "2001-01-01T00:00:00Z", "message": "too old"}'
        first, second, other = numbered("first", FIRST), numbered("second", SECOND), numbered("other", OTHER)
        self.expected = {str(self.app): [*first, *second], str(self.other): [b"before", *other]}
        append(self.app, first)
        self.other.write_bytes(b"before\n")
        self._steps = [
            Step(FIRST // 2, lambda: append(self.other, [*other, self.refused])),
            Step(FIRST + 1 + OTHER, lambda: self._rotate(second)),
        ]
        (directory / "agent").mkdir()
        self.agent = AgentProcess(
            directory / "agent", loki.url, f"{self.logs}/*.log",
            agent='scan_interval = "200ms"\npoll_interval = "100ms"', parse='out_of_range = "send"',
            batch='max_bytes = "32KiB"', buffer='segment_bytes = "64KiB"\nmax_bytes = "64MiB"', redact="enabled = false",
        )  # fmt: skip
        text = self.agent.config.read_text()
        self.agent.config.write_text(text.replace('scan_interval = "500ms"\n', ""))

    @property
    def state(self) -> Path:
        return self.agent.state

    @property
    def total(self) -> int:
        return sum(map(len, self.expected.values()))

    def _rotate(self, more: Sequence[bytes]) -> None:
        self.app.rename(f"{self.app}.1")
        append(self.app, more)

    async def go(self, under: Sequence[str] = ()) -> int:
        """One process: from its start to its death, or to its stop at the end of the story. Its exit status."""
        await self.agent.start(ready=False, under=under)
        process = self.agent.process
        assert process is not None
        died = asyncio.create_task(process.wait())
        telling = asyncio.create_task(self._tell())
        try:
            async with asyncio.timeout(PATIENCE_S):
                await asyncio.wait((died, telling), return_when=asyncio.FIRST_COMPLETED)
                if telling.done() and not died.done():
                    telling.result()
                    await self._settled(died)
                    if not died.done():
                        process.send_signal(signal.SIGTERM)
                return await died
        finally:
            telling.cancel()
            died.cancel()
            if process.returncode is None:
                process.kill()
                await process.wait()

    async def _tell(self) -> None:
        while self._steps:
            await self.loki.wait_for(lambda there: there.accepted >= self._steps[0].stored, PATIENCE_S)
            self._steps.pop(0).act()
        await self.loki.wait_for(lambda there: there.accepted >= self.total, PATIENCE_S)

    async def _settled(self, died: Awaitable[int]) -> None:
        """Until the agent knows that all is delivered, so that every run ends alike."""
        while not died.done():
            try:
                if (await self.agent.metrics()).get("waiting_entries") == 0:
                    return
            except OSError:
                pass
            await asyncio.sleep(0.02)

    def verdict(self, statuses: Sequence[int]) -> str:
        """What is wrong in the end; empty when nothing is."""
        wrong = difference(self.expected, stored(self.loki))
        if wrong:
            return f"{wrong}\n{self.agent.errors()}"
        letters = b"".join(path.read_bytes() for path in (self.state / "dead-letters").glob("*.jsonl"))
        if b"too old" not in letters:
            return "the refused line is no dead letter"
        if statuses[-1] != 0:
            return f"exit statuses {statuses}\n{self.agent.errors()}"
        return "" if b"Traceback" not in self.agent.log.read_bytes() else self.agent.errors()


def faults() -> FaultPlan:
    return FaultPlan.script(
        [None, Status(503, "later"), None, Delay(0.02), ResetAfter(), None, Status(429, "slow down")]
    )


def kind_of(path: str) -> str:
    """Which of the files of a run it is; empty for others."""
    name = path.rpartition("/")[2]
    if "/agent/state" in path:
        return "segments" if name.endswith(".segment") else name
    return "logs" if "/log/" in path else ""


def paths_of(kind: str, run: Run) -> list[str]:
    """Every path that a run may have of that kind."""
    if kind == "logs":
        return [str(run.app), f"{run.app}.1", str(run.other)]
    if kind == "segments":
        return [f"{run.state}/buffer/{number:012d}.segment" for number in range(1, 40)]
    folders = ("", "buffer/", "dead-letters/")
    return [f"{run.state}/{folder}{kind}" for folder in folders]


def state_paths(run: Run) -> list[str]:
    return [
        *(
            f"{run.state}/{name}"
            for name in ("buffer", "buffer/lock", "buffer/cursor", "pseudonym.key", "dead-letters")
        ),
        *(f"{run.state}/dead-letters/{name}" for name in ("dead-letters-00000001.jsonl", ".lock")),
        *paths_of("segments", run),
    ]


async def record(directory: Path) -> list[Point]:
    """The points of a run without faults."""
    async with LokiStandIn(faults=faults(), limits=Limits.without_rates()) as loki:
        run = Run(directory, loki)
        status = await run.go(recording(directory / "trace", SYSCALLS))
        assert run.verdict([status]) == ""
        found = points(calls(directory / "trace"), kind_of, since="lock")
    assert Point("unlink", "segments", 1) in found, "no segment went while the run went on"
    assert Point("fsync", "dead-letters-00000001.jsonl", 1) in found
    assert any(point.kind == "logs" for point in found)
    return found


async def die_at(point: Point, directory: Path) -> tuple[int, str]:
    """Dies at the point, then soon in the start that recovers, then runs on. (kills, what is wrong)"""
    async with LokiStandIn(faults=faults(), limits=Limits.without_rates()) as loki:
        run = Run(directory, loki)
        once = injecting(
            directory / "once", "signal=KILL", point.syscall, str(point.number),
            paths_of(point.kind, run) if point.kind else [],
        )  # fmt: skip
        soon = 1 + point.number % 5
        again = injecting(
            directory / "again", "signal=KILL", AGAIN[point.number % len(AGAIN)], str(soon), state_paths(run)
        )
        statuses = [await run.go(once), await run.go(again), await run.go()]
        wrong = run.verdict(statuses)
    kills = statuses[:2].count(-signal.SIGKILL)
    return kills, f"{point}: {wrong}" if wrong else ""


async def sweep(tmp_path: Path, choose: Callable[[list[Point]], list[Point]]) -> tuple[int, int, list[str]]:
    """(points, kills, what went wrong)."""
    found = await record(tmp_path / "recorded")
    chosen = choose(found)
    turn = asyncio.Semaphore(AT_A_TIME)

    async def one(number: int, point: Point) -> tuple[int, str]:
        async with turn:
            try:
                return await die_at(point, tmp_path / f"case-{number}")
            except (TimeoutError, AssertionError) as error:
                return 0, f"{point}: {error!r}"

    ended = await asyncio.gather(*(one(number, point) for number, point in enumerate(chosen)))
    print([str(point) for point in chosen], [kills for kills, _ in ended])
    print(f"{len(found)} points, {len(chosen)} tried, {sum(kills for kills, _ in ended)} kills")
    return len(chosen), sum(kills for kills, _ in ended), [wrong for _, wrong in ended if wrong]


def sample(found: list[Point]) -> list[Point]:
    """A fair choice: of every kind of call one from the first half of its kind, and the rest evenly."""
    kinds: dict[tuple[str, str], list[Point]] = {}
    for point in found:
        kinds.setdefault((point.syscall, point.kind), []).append(point)
    chosen = [of_kind[len(of_kind) // 3] for of_kind in kinds.values()]
    return chosen[:: max(1, round(len(chosen) / SAMPLE))]


async def test_t67_a_kill_at_any_kind_of_system_call_costs_nothing(tmp_path: Path) -> None:
    tried, kills, wrong = await sweep(tmp_path, sample)
    assert not wrong, "\n\n".join(wrong)
    # Some calls come a different number of times in each run; most of the chosen ones must have been reached.
    assert kills >= tried


@pytest.mark.long
@pytest.mark.timeout(7200)
async def test_t67_a_kill_at_every_system_call_costs_nothing(tmp_path: Path) -> None:
    tried, kills, wrong = await sweep(tmp_path, lambda found: found)
    assert not wrong, f"{len(wrong)} of {tried}\n" + "\n\n".join(wrong)
    assert kills >= tried


@pytest.mark.parametrize("syscall", ["link", "openat"])
async def test_t67_a_kill_while_the_pseudonym_key_is_made_leaves_no_empty_key(tmp_path: Path, syscall: str) -> None:
    """An empty key is no key: whoever knows a value can make its pseudonym."""
    async with LokiStandIn(limits=Limits.without_rates()) as loki:
        run = Run(tmp_path / "run", loki)
        key = run.state / "pseudonym.key"
        status = await run.go(injecting(tmp_path / "trace", "signal=KILL", syscall, "1", [str(key)]))
        assert status == -signal.SIGKILL
        assert not key.exists() or len(key.read_bytes()) == 32
        assert await run.go() == 0
    assert len(key.read_bytes()) == 32
