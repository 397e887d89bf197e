"""Rows T71 to T78: damaged state, a second agent, a process that is frozen or told to stop, a clock that jumps.

T66, T67 and T70, kills and power cuts, are in tests/crash.
"""

import asyncio
import contextlib
import os
import signal
import subprocess
import time
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from agent_process import AgentProcess, assert_nothing_is_unaccounted, environment, run_as_module
from oracle import append, difference, numbered, stored

from agent.demo.faults import FaultPlan, NeverRead, Status
from agent.demo.loki import Limits, LokiStandIn

WAIT_S = 60
PLAIN = "enabled = false"
SMALL = 'segment_bytes = "64KiB"\nmax_bytes = "64MiB"'
YEAR_S = 365 * 24 * 3600

Launch = Callable[..., AgentProcess]


async def until_arrived(agent: AgentProcess, loki: LokiStandIn, expected: dict[str, list[bytes]]) -> None:
    """Every line is there, once and in order."""
    await loki.wait_for(lambda there: there.accepted >= sum(map(len, expected.values())), WAIT_S)
    assert not (wrong := difference(expected, stored(loki))), f"{wrong}\n{agent.errors()}"
    seen = await agent.until(lambda seen: seen["waiting_entries"] == 0, WAIT_S)
    assert_nothing_is_unaccounted(seen)


def timed(count: int, first: int = 0) -> list[bytes]:
    """Lines with times of their own: read again, they are the same entries."""
    now = time.time()
    return [
        b'{"timestamp": %.3f, "message": "%s"}' % (now + number / 1000, line)
        for number, line in enumerate(numbered("line", count, first=first))
    ]


def set_option(agent: AgentProcess, old: str, new: str) -> None:
    text = agent.config.read_text()
    assert old in text
    agent.config.write_text(text.replace(old, new))


# --- T71: state that is not what was written -----------------------------------------------------------------------


def newest(buffer: Path) -> Path:
    """The newest segment with records in it."""
    return max(path for path in buffer.glob("*.segment") if path.stat().st_size > 10_000)


def overwrite(path: Path, data: bytes) -> None:
    path.write_bytes(data)


def half(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


DAMAGE: dict[str, Callable[[Path], object]] = {
    "cursor gone": lambda buffer: (buffer / "cursor").unlink(),
    "cursor empty": lambda buffer: os.truncate(buffer / "cursor", 0),
    "cursor NULs": lambda buffer: overwrite(buffer / "cursor", bytes(600)),
    "cursor half": lambda buffer: half(buffer / "cursor"),
    "cursor garbage": lambda buffer: overwrite(buffer / "cursor", os.urandom(2000)),
    "cursor of 200 MB": lambda buffer: os.truncate(buffer / "cursor", 200_000_000),
    "newest segment empty": lambda buffer: os.truncate(newest(buffer), 0),
    "newest segment NULs": lambda buffer: overwrite(newest(buffer), bytes(newest(buffer).stat().st_size)),
    "newest segment half": lambda buffer: half(newest(buffer)),
    "newest segment garbage": lambda buffer: overwrite(newest(buffer), os.urandom(50_000)),
    "newest segment gone": lambda buffer: newest(buffer).unlink(),
    "oldest segment gone": lambda buffer: min(buffer.glob("*.segment")).unlink(),
    "newest segment with 200 MB of NULs": lambda buffer: os.truncate(newest(buffer), 200_000_000),
    "all segments NULs": lambda buffer: [
        overwrite(path, bytes(path.stat().st_size)) for path in buffer.glob("*.segment")
    ],
    "all segments gone": lambda buffer: [path.unlink() for path in buffer.glob("*.segment")],
    "lock garbage": lambda buffer: overwrite(buffer / "lock", os.urandom(100)),
}


@pytest.mark.parametrize("damage", DAMAGE)
async def test_t71_damaged_state_is_survived_and_what_it_held_is_read_again(
    tmp_path: Path, loki: LokiStandIn, launch: Launch, damage: str
) -> None:
    log = tmp_path / "app.log"
    lines = timed(400)
    append(log, lines[:100])
    agent = launch(loki.url, str(log), buffer=SMALL, redact=PLAIN, batch='max_bytes = "32KiB"')
    await agent.start()
    await until_arrived(agent, loki, {str(log): lines[:100]})
    await loki.down()
    append(log, lines[100:])
    # So much on disk that the newest segment has records; the rest may still be on its way there.
    await agent.until(lambda seen: seen["waiting_entries"] == 300 and seen["buffer_bytes"] > 50_000, WAIT_S)
    await agent.kill()
    DAMAGE[damage](agent.state / "buffer")
    await loki.up()
    await agent.start()
    await until_arrived(agent, loki, {str(log): lines})
    assert "Traceback" not in agent.errors()
    assert await agent.stop() == 0


async def test_t71_everything_that_waits_is_gone_but_the_segment_of_a_later_start(
    tmp_path: Path, loki: LokiStandIn, launch: Launch
) -> None:
    """That has no records, and its head says that all was read."""
    log = tmp_path / "app.log"
    lines = timed(300)
    append(log, lines)
    agent = launch(loki.url, str(log), buffer=SMALL, redact=PLAIN)
    await loki.down()
    for _ in range(2):
        await agent.start()
        await agent.until(lambda seen: seen["waiting_entries"] == len(lines) and seen["buffer_bytes"] > 50_000, WAIT_S)
        await agent.kill()
    for path in (agent.state / "buffer").glob("*.segment"):
        if path.stat().st_size > 10_000:
            overwrite(path, os.urandom(50_000))
    await loki.up()
    await agent.start()
    await loki.wait_for(lambda there: there.accepted >= len(lines), WAIT_S)
    assert not (wrong := difference({str(log): lines}, stored(loki))), f"{wrong}\n{agent.errors()}"
    seen = await agent.until(lambda seen: seen["waiting_entries"] == 0, WAIT_S)
    assert_nothing_is_unaccounted(seen)
    assert seen["dropped_entries_total"] == len(lines)
    assert "are read again" in agent.errors()
    assert await agent.stop() == 0


def flip_within(path: Path, places: Iterable[float]) -> None:
    data = bytearray(path.read_bytes())
    for place in places:
        data[int(place * (len(data) - 1))] ^= 0x10
    path.write_bytes(data)


ROT: dict[str, Callable[[Path], object]] = {
    "some bytes of a segment": lambda path: flip_within(path, (0.3, 0.31, 0.5, 0.7, 0.9)),
    "a segment from a third on": lambda path: flip_within(path, [n / 5000 for n in range(1700, 5000)]),
    "a segment": lambda path: path.unlink(),
}


@pytest.mark.parametrize("rot", ROT)
async def test_t71_what_rots_on_disk_while_it_waits_is_read_again_from_the_files(
    tmp_path: Path, loki: LokiStandIn, launch: Launch, rot: str
) -> None:
    """The oldest records are known to the pusher already, so it is one further back that is hit, with nobody looking."""
    log = tmp_path / "app.log"
    lines = timed(2000)
    agent = launch(loki.url, str(log), buffer=SMALL, redact=PLAIN, batch='max_bytes = "8KiB"')
    await loki.down()
    await agent.start()
    for start in range(0, len(lines), 100):
        append(log, lines[start : start + 100])
        await agent.until(lambda seen, end=start + 100: seen["read_lines_total"] == end, WAIT_S)
    await agent.until(lambda seen: seen["waiting_entries"] == len(lines) and seen["buffer_segments"] >= 6, WAIT_S)
    segments = sorted((agent.state / "buffer").glob("*.segment"))
    ROT[rot](segments[len(segments) // 2])
    await loki.up()
    await loki.wait_for(lambda there: there.accepted >= len(lines), WAIT_S)
    seen = await agent.until(lambda seen: seen["waiting_entries"] == 0)
    assert_nothing_is_unaccounted(seen)
    assert 0 < seen["dropped_entries_total"] < len(lines)
    assert seen["delivered_entries_total"] == len(lines)
    assert sorted(stored(loki)[str(log)]) == sorted(lines)
    assert "are read again" in agent.errors()
    assert await agent.stop() == 0


async def test_t71_a_newer_format_is_refused_and_left_as_it_is(
    tmp_path: Path, loki: LokiStandIn, launch: Launch
) -> None:
    log = tmp_path / "app.log"
    append(log, timed(100))
    agent = launch(loki.url, str(log), buffer=SMALL, redact=PLAIN)
    await loki.down()
    await agent.start()
    await agent.until(lambda seen: seen["buffer_bytes"] > 50_000, WAIT_S)
    await agent.kill()
    path = newest(agent.state / "buffer")
    data = bytearray(path.read_bytes())
    data[8:12] = (99).to_bytes(4, "little")
    data[12:16] = zlib.crc32(bytes(data[:12] + data[16:32])).to_bytes(4, "little")
    path.write_bytes(data)
    done = await asyncio.to_thread(
        subprocess.run,
        run_as_module("run", "-c", str(agent.config)),
        capture_output=True,
        env=environment(),
        timeout=60,
    )
    assert done.returncode == 73
    assert b"Traceback" not in done.stderr
    assert path.name.encode() in done.stderr or b"newer" in done.stderr, done.stderr
    assert path.read_bytes() == data


# --- T73 -----------------------------------------------------------------------------------------------------------


async def test_t73_a_second_agent_on_one_state_directory_is_75_and_names_the_holder(
    tmp_path: Path, loki: LokiStandIn, launch: Launch
) -> None:
    agent = launch(loki.url, str(tmp_path / "*.log"))
    await agent.start()
    done = await asyncio.to_thread(
        subprocess.run,
        run_as_module("run", "-c", str(agent.config)),
        capture_output=True,
        env=environment(),
        timeout=60,
    )
    assert done.returncode == 75
    assert agent.process is not None
    assert str(agent.process.pid).encode() in done.stderr


# --- T74, T75: time passes without it, or jumps --------------------------------------------------------------------


async def test_t74_a_frozen_process_goes_on_where_it_was(tmp_path: Path, loki: LokiStandIn, launch: Launch) -> None:
    log = tmp_path / "app.log"
    lines = numbered("line", 500)
    append(log, lines[:100])
    agent = launch(loki.url, str(log), redact=PLAIN, loki='timeout = "1s"')
    await agent.start()
    await until_arrived(agent, loki, {str(log): lines[:100]})
    assert agent.process is not None
    loki.faults = FaultPlan.script([NeverRead(30)])
    append(log, lines[100:200])
    await agent.until(lambda seen: seen["requests_in_flight"] == 1, WAIT_S)
    agent.process.send_signal(signal.SIGSTOP)
    for generation in (2, 1):
        log.rename(f"{log}.{generation}")
        append(log, lines[500 - 100 * (generation + 1) : 500 - 100 * generation])
    append(log, lines[400:])
    await asyncio.sleep(2)  # the time-out of the request under way passes meanwhile
    pushes = loki.pushes
    agent.process.send_signal(signal.SIGCONT)
    await until_arrived(agent, loki, {str(log): lines})
    assert loki.pushes - pushes < 20, "no storm of requests"


# Loaded by the interpreter itself when it is on the path: the wall clock is off by as much as a file says. All of the
# agent's looks at the wall clock go through these two functions; the monotonic clock stays as it is.
CLOCK = """
import os, time
_time, _time_ns = time.time, time.time_ns
def _offset_s():
    with open(os.environ["TEST_CLOCK"]) as file:
        return int(file.read() or 0)
time.time = lambda: _time() + _offset_s()
time.time_ns = lambda: _time_ns() + _offset_s() * 10**9
"""


class Clock:
    """A wall clock for an agent started `under` it."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir()
        (directory / "sitecustomize.py").write_text(CLOCK)
        self._file = directory / "offset"
        self.step(0)
        self.under = ["env", f"PYTHONPATH={directory}", f"TEST_CLOCK={self._file}"]

    def step(self, offset_s: int) -> None:
        replacement = self._file.with_suffix(".new")
        replacement.write_text(str(offset_s))
        replacement.rename(self._file)


async def test_t75_a_wall_clock_that_jumps_disturbs_nothing(tmp_path: Path, launch: Launch) -> None:
    log = tmp_path / "app.log"
    lines: list[bytes] = []
    clock = Clock(tmp_path / "clock")
    # A Loki that takes any time: what it refuses for a wrong clock is no fault of the agent's timers.
    far = 100 * YEAR_S * 10**9
    anything = Limits(tenant_rate=None, stream_rate=None, oldest_ns=far, newest_ns=far, out_of_order_ns=far)
    async with LokiStandIn(limits=anything) as loki:
        agent = launch(loki.url, str(log), redact=PLAIN)
        await agent.start(under=clock.under)
        for offset_s in (0, 3600, -3600, 10 * YEAR_S, 0):
            clock.step(offset_s)
            more = numbered("line", 50, first=len(lines))
            lines += more[:25]
            append(log, more[:25])
            await until_arrived(agent, loki, {str(log): lines})
            log.rename(f"{log}.1")
            lines += more[25:]
            append(log, more[25:])
            await until_arrived(agent, loki, {str(log): lines})
        shifted = max(entry.timestamp_ns for entry in loki.entries())
        assert shifted > time.time_ns() + 9 * YEAR_S * 10**9, "the agent did see the clock jump"
        for offset_s in (10 * YEAR_S, -3600, 0):  # and over restarts
            clock.step(offset_s)
            assert await agent.stop() == 0
            await agent.start(under=clock.under)
            more = numbered("line", 50, first=len(lines))
            lines += more
            append(log, more)
            await until_arrived(agent, loki, {str(log): lines})
        assert loki.repeats == 0, "nothing was read again"
        assert await agent.stop() == 0


# --- T77, T78: told to stop ----------------------------------------------------------------------------------------

PHASES = ("starting", "reading", "Loki hangs", "Loki is down", "Loki refuses", "buffer full", "idle")


@pytest.mark.parametrize("phase", PHASES)
async def test_t77_a_stop_in_any_phase_is_0_within_the_grace_and_keeps_everything(
    tmp_path: Path, loki: LokiStandIn, launch: Launch, phase: str
) -> None:
    log = tmp_path / "app.log"
    lines = numbered("line", 3000)
    append(log, lines)
    agent = launch(loki.url, str(log), redact=PLAIN, buffer='max_bytes = "1MiB"\nsegment_bytes = "256KiB"')
    set_option(agent, 'shutdown_grace = "10s"', 'shutdown_grace = "500ms"')
    match phase:
        case "Loki hangs":
            loki.faults = FaultPlan.always(NeverRead())
        case "Loki is down" | "buffer full":
            await loki.down()
        case "Loki refuses":
            loki.faults = FaultPlan.always(Status(401, "no"))
        case _:
            pass
    await agent.start(ready=False)
    async with asyncio.timeout(WAIT_S):
        while not (agent.state / "buffer" / "lock").exists():
            await asyncio.sleep(0.005)
    if phase != "starting":
        await agent.until_ready()
        wanted: Callable[[dict[str, float]], bool] = {
            "reading": lambda seen: seen["read_lines_total"] > 0,
            "Loki hangs": lambda seen: seen["requests_in_flight"] > 0,
            "Loki is down": lambda seen: seen["consecutive_failures"] > 0,
            "Loki refuses": lambda seen: seen["delivery_held"] == 1,
            "buffer full": lambda seen: seen["buffer_full"] == 1,
            "idle": lambda seen: seen["read_lines_total"] == len(lines) and seen["waiting_entries"] == 0,
        }[phase]
        await agent.until(wanted, WAIT_S)
    assert await agent.stop() == 0, agent.errors()
    loki.faults = FaultPlan()
    if phase in ("Loki is down", "buffer full"):
        await loki.up()
    set_option(agent, 'shutdown_grace = "500ms"', 'shutdown_grace = "10s"')
    await agent.start()
    await until_arrived(agent, loki, {str(log): lines})


@pytest.mark.parametrize("signals", [(signal.SIGTERM, signal.SIGTERM), (signal.SIGINT, signal.SIGTERM)])
async def test_t77_a_second_signal_ends_at_once_and_loses_nothing(
    tmp_path: Path, launch: Launch, signals: tuple[signal.Signals, signal.Signals]
) -> None:
    log = tmp_path / "app.log"
    lines = numbered("line", 1000, size=50)
    append(log, lines)
    agent = launch("http://127.0.0.1:9", str(log), redact=PLAIN)
    set_option(agent, 'shutdown_grace = "10s"', 'shutdown_grace = "300s"')
    await agent.start()
    await agent.until(lambda seen: seen["waiting_entries"] == 1000)
    assert agent.process is not None
    agent.process.send_signal(signals[0])
    async with asyncio.timeout(20):
        while f"stopping on {signals[0].name}" not in agent.errors():
            await asyncio.sleep(0.01)
        assert await agent.stop(signals[1]) == 0
    async with LokiStandIn() as loki:
        set_option(agent, "http://127.0.0.1:9", loki.url)
        await agent.start()
        await until_arrived(agent, loki, {str(log): lines})


async def test_t77_any_number_of_signals_is_one_quick_end_without_a_traceback(tmp_path: Path, launch: Launch) -> None:
    log = tmp_path / "app.log"
    append(log, numbered("line", 1000, size=50))
    agent = launch("http://127.0.0.1:9", str(log), redact=PLAIN)
    set_option(agent, 'shutdown_grace = "10s"', 'shutdown_grace = "300s"')
    await agent.start()
    await agent.until(lambda seen: seen["waiting_entries"] == 1000)
    assert agent.process is not None
    process = agent.process
    async with asyncio.timeout(20):
        while process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGTERM)  # `send_signal` would take the exit code away
            await asyncio.sleep(0)
    # The last one may meet a process that has nothing left to do but end.
    assert process.returncode in (0, -signal.SIGTERM)
    assert agent.errors().count("stopping on") == 1
    assert "Traceback" not in agent.errors()


async def test_t78_a_supervisor_that_does_not_wait_for_the_grace_costs_nothing(
    tmp_path: Path, loki: LokiStandIn, launch: Launch
) -> None:
    log = tmp_path / "app.log"
    lines = numbered("line", 2000)
    loki.faults = FaultPlan.script([None, None, NeverRead(), NeverRead(), NeverRead()])
    agent = launch(loki.url, str(log), redact=PLAIN, batch="max_entries = 200")
    for start in range(0, 2000, 500):
        append(log, lines[start : start + 500])
        await agent.start()
        await agent.until(lambda seen: seen["read_lines_total"] > 0, WAIT_S)
        assert agent.process is not None
        agent.process.terminate()
        try:
            async with asyncio.timeout(0.5):
                await agent.process.wait()
        except TimeoutError:
            await agent.kill()
    loki.faults = FaultPlan()
    await agent.start()
    await until_arrived(agent, loki, {str(log): lines})
