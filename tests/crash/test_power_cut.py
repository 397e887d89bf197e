"""The power fails: what was not synced is gone, or NULs, or in part. The next start loses and repeats nothing.

One run is recorded, with every byte it wrote to its state directory. From that, for each moment, images of what the disk may
hold are made; a Loki that has what Loki had at that moment; and an agent is started on them. The log files themselves
are whole: they are their writers' to sync.
"""

import asyncio
import hashlib
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import power
import pytest
import traced
from agent_process import AgentProcess
from oracle import append, difference, numbered, stored

from agent import wire
from agent.demo.faults import FaultPlan, ResetAfter, Status
from agent.demo.loki import Limits, LokiStandIn, StoredEntry

SAMPLE = 14
AT_A_TIME = 2
WAIT_S = 60
REFUSED = b'{"timestamp": "2001-01-01T00:00:00Z", "message": "too old"}'

pytestmark = pytest.mark.skipif(bool(traced.why_not()), reason=traced.why_not())


@dataclass
class Logs:
    directory: Path
    expected: dict[str, list[bytes]]

    @property
    def total(self) -> int:
        return sum(map(len, self.expected.values()))


def agent_for(directory: Path, logs: Logs, loki: LokiStandIn) -> AgentProcess:
    directory.mkdir()
    return AgentProcess(
        directory, loki.url, f"{logs.directory}/*.log", parse='out_of_range = "send"', batch='max_bytes = "32KiB"',
        buffer='segment_bytes = "64KiB"\nmax_bytes = "64MiB"', redact="enabled = false",
    )  # fmt: skip


@dataclass(frozen=True)
class Cut:
    """what: in words. arrived: what Loki had."""

    what: str
    image: dict[str, bytes]
    arrived: Sequence[StoredEntry]


async def record(tmp_path: Path, logs: Logs) -> tuple[Path, list[power.Op], list[tuple[int, StoredEntry]]]:
    """(state directory, calls made on it, entries by the time Loki took them)."""
    arrived: list[tuple[int, StoredEntry]] = []
    faults = FaultPlan.script(
        [None, Status(503, "later"), None, ResetAfter(), None, Status(500, "no"), None, ResetAfter()]
    )
    async with LokiStandIn(faults=faults, limits=Limits.without_rates()) as loki:
        loki.on_entries = lambda _, entries: arrived.extend((time.time_ns(), entry) for entry in entries)
        agent = agent_for(tmp_path / "recorded", logs, loki)
        paths = [str(agent.state / name) for name in ("buffer", "dead-letters", "buffer/lock", "buffer/cursor")]
        paths += [str(agent.state / "dead-letters" / f"dead-letters-{n:08d}.jsonl") for n in range(1, 4)]
        paths += [str(agent.state / "buffer" / f"{n:012d}.segment") for n in range(1, 60)]
        trace = tmp_path / "trace"
        only = [word for path in paths for word in ("-P", path)]
        await agent.start(under=[*traced.recording(trace, power.SYSCALLS), *power.OPTIONS, *only])
        first, second = (Path(name) for name in logs.expected)
        for start in range(0, 120, 30):
            append(first, logs.expected[str(first)][start : start + 30])
            append(second, logs.expected[str(second)][start // 3 : start // 3 + 10])
            await loki.wait_for(lambda there, at=start + start // 3 + 40: there.accepted >= at, WAIT_S)
        append(second, [REFUSED])
        await agent.until(lambda seen: seen.get("dropped_entries_total") == 1 and seen["waiting_entries"] == 0, WAIT_S)
        await agent.kill()
        return agent.state, power.ops(trace), arrived


def cuts(made: list[power.Op], arrived: list[tuple[int, StoredEntry]]) -> list[Cut]:
    """Every different thing that may be left."""
    found: dict[bytes, Cut] = {}
    dice = random.Random(3)
    for number, (op, disk) in enumerate(power.history(made)):
        had = [entry for at_ns, entry in arrived if at_ns < op.at_ns]
        for what, image in power.images(disk, dice).items():
            digest = hashlib.blake2b(repr((sorted(image.items()), len(had))).encode()).digest()
            words = f"after call {number}, {op.what} {Path(op.path).name}: {what}"
            found.setdefault(digest, Cut(words, image, had))
    return list(found.values())


async def start_on(cut: Cut, state: Path, directory: Path, logs: Logs) -> str:
    """What is wrong when an agent starts on what is left; empty when nothing is."""
    async with LokiStandIn(limits=Limits.without_rates()) as loki:
        for entry in cut.arrived:
            push = wire.Push(
                entry.labels, [entry.timestamp_ns], [entry.line], [wire.encode_metadata(list(entry.metadata))]
            )
            assert loki.ingest.push("fake", [push], time.time_ns())[0] == 204
        agent = agent_for(directory, logs, loki)
        power.put(cut.image, state, agent.state)
        try:
            await agent.start()
            await loki.wait_for(lambda there: there.accepted >= logs.total, WAIT_S)
            await agent.until(lambda seen: seen["waiting_entries"] == 0 and seen["unread_bytes"] == 0, WAIT_S)
            status = await agent.stop()
        except (TimeoutError, AssertionError) as error:
            return f"{cut.what}: {error}: {difference(logs.expected, stored(loki))}\n{agent.errors()}"
        finally:
            if agent.process is not None and agent.process.returncode is None:
                await agent.kill()
        wrong = difference(logs.expected, stored(loki))
        letters = b"".join(path.read_bytes() for path in (agent.state / "dead-letters").glob("*.jsonl"))
        if b"too old" not in letters:
            wrong += "the refused line is no dead letter"
        if wrong or status != 0:
            return f"{cut.what}: {wrong}, exit status {status}\n{agent.errors()}"
    return ""


async def cut_power(tmp_path: Path, every: bool) -> tuple[int, list[str]]:
    """(images tried, what went wrong)."""
    directory = tmp_path / "log"
    directory.mkdir()
    expected = {
        str(directory / "first.log"): numbered("first", 120),
        str(directory / "second.log"): numbered("second", 40),
    }
    logs = Logs(directory, expected)
    for name in expected:
        Path(name).touch()
    state, made, arrived = await record(tmp_path, logs)
    assert sum(op.what == "unlink" for op in made), "no segment went"
    found = cuts(made, arrived)
    chosen = found if every else found[:: max(1, len(found) // SAMPLE)]
    turn = asyncio.Semaphore(AT_A_TIME)

    async def one(number: int, cut: Cut) -> str:
        async with turn:
            return await start_on(cut, state, tmp_path / f"image-{number}", logs)

    wrong = [said for said in await asyncio.gather(*(one(*each) for each in enumerate(chosen))) if said]
    print(f"{len(made)} calls, {len(found)} images, {len(chosen)} tried")
    return len(chosen), wrong


def test_a_call_that_another_thread_interrupts_in_the_record_counts_where_it_ends(tmp_path: Path) -> None:
    name = "".join(f"\\x{byte:02x}" for byte in b"/state/a.segment")
    trace = tmp_path / "trace"
    trace.write_text(
        f'7 1.000001 openat(AT_FDCWD</>, "{name}", O_RDWR|O_CREAT, 0600) = 24<{name}>\n'
        f'7 1.000002 pwrite64(24<{name}>, "\\x61\\x62", 2, 0 <unfinished ...>\n'
        f"7 1.000003 <... pwrite64 resumed>) = 2\n"
        f"7 1.000004 fdatasync(24<{name}> <unfinished ...>\n"
        f'8 1.000005 unlink("{name}") = -1 ENOENT (No such file or directory)\n'
        f"7 1.000006 <... fdatasync resumed>) = 0\n"
    )
    assert [op.what for op in power.ops(trace)] == ["create", "write", "sync", "names"]


async def test_t70_what_was_not_synced_costs_nothing_when_the_power_fails(tmp_path: Path) -> None:
    tried, wrong = await cut_power(tmp_path, every=False)
    assert tried >= SAMPLE
    assert not wrong, f"{len(wrong)} of {tried}\n" + "\n\n".join(wrong)


@pytest.mark.long
@pytest.mark.timeout(7200)
async def test_t70_no_moment_at_which_the_power_fails_costs_anything(tmp_path: Path) -> None:
    tried, wrong = await cut_power(tmp_path, every=True)
    assert not wrong, f"{len(wrong)} of {tried}\n" + "\n\n".join(wrong)
