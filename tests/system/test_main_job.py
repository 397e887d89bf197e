"""The main job on real input: python-json-logger writes, logrotate rotates, kill -9 strikes, every line arrives once."""

import asyncio
import contextlib
import json
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest
from agent_process import AgentProcess, assert_nothing_is_unaccounted, rss_peak_mib

from agent.demo.loki import LokiStandIn

WRITERS = 4
KILLS = 10


async def start_writer(log: Path, worker: int, count: int, pause: Path) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "agent.demo.writer", "--path", str(log), "--rate", "0", "--count", str(count),
        "--seed", str(worker), "--worker", str(worker), "--reopen", "--pause-file", str(pause),
    )  # fmt: skip


class Rotation:
    """The real logrotate, forced, keeping every generation."""

    def __init__(self, directory: Path, log: Path, pause: Path) -> None:
        self._directory, self._log, self._pause = directory, log, pause

    async def rotate(self, mode: str) -> None:
        config = self._directory / f"logrotate.{mode}"
        config.write_text(f"{self._log} {{\n  su root root\n  rotate 1000\n  nocompress\n  missingok\n  {mode}\n}}\n")
        config.chmod(0o644)
        state = self._directory / "logrotate.state"
        process = await asyncio.create_subprocess_exec("logrotate", "-f", "-s", str(state), str(config))
        assert await process.wait() == 0

    async def copytruncate_while_writers_pause(self, running: list[asyncio.subprocess.Process]) -> None:
        """Between copying and truncating, copytruncate loses what is written: that is logrotate's, not ours."""
        self._pause.touch()
        async with asyncio.timeout(30):
            for worker, process in enumerate(running):
                paused = Path(f"{self._pause}.{worker}.paused")
                while not paused.exists() and process.returncode is None:
                    await asyncio.sleep(0.005)
        await self.rotate("copytruncate")
        self._pause.unlink()


def files(log: Path) -> list[Path]:
    """All generations, oldest first."""
    rotated = sorted(
        (path for path in log.parent.iterdir() if path.name.startswith("app.log.")),
        key=lambda path: -int(path.suffix[1:]),
    )
    return [path for path in (*rotated, log) if path.exists()]


def generations(log: Path) -> list[bytes]:
    """The lines of all generations, oldest first."""
    return [line for path in files(log) for line in path.read_bytes().splitlines()]


@pytest.mark.skipif(shutil.which("logrotate") is None, reason="logrotate is not installed")
@pytest.mark.timeout(170)
@pytest.mark.parametrize("lines_each", [20_000, pytest.param(50_000, marks=pytest.mark.long)])
async def test_every_line_arrives_once_in_file_order_through_rotations_and_kills(
    tmp_path: Path, loki: LokiStandIn, launch: Callable[..., AgentProcess], lines_each: int
) -> None:
    log, pause = tmp_path / "log" / "app.log", tmp_path / "pause"
    log.parent.mkdir()
    rotation = Rotation(tmp_path, log, pause)
    agent = launch(loki.url, str(log), redact="enabled = false", agent='log_level = "debug"')
    await agent.start()
    writers = [await start_writer(log, worker, lines_each, pause) for worker in range(WRITERS)]

    async def rotate_all_the_while() -> None:
        turn = 0
        while any(writer.returncode is None for writer in writers):
            if turn % 2:
                await rotation.copytruncate_while_writers_pause(writers)
            else:
                # The writers make the new file; with `create` logrotate would race them for it.
                await rotation.rotate("nocreate")
            turn += 1
            await asyncio.sleep(0.4)

    rotating = asyncio.create_task(rotate_all_the_while())
    total = WRITERS * lines_each
    for kill in range(KILLS):
        with contextlib.suppress(TimeoutError):  # what is missing is told below, by generation
            await loki.wait_for(lambda there, at=kill: there.accepted >= total * (at + 1) // (KILLS + 2), 15)
        await agent.kill()
        await agent.start(ready=False)
    await agent.until_ready()
    await asyncio.gather(*(writer.wait() for writer in writers))
    await rotating
    with contextlib.suppress(TimeoutError):
        await loki.wait_for(lambda there: there.accepted >= total, 30)

    stored = [entry.line for entry in loki.entries()]
    missing = set(generations(log)) - set(stored)
    twice = {line for line, count in Counter(stored).items() if count > 1}
    told = {
        path.name: {"missing": sum(line in missing for line in lines), "twice": sum(line in twice for line in lines)}
        for path in files(log)
        for lines in [path.read_bytes().splitlines()]
    }
    assert not missing | twice, f"{told}\n{agent.errors()}\n{await agent.status()}"
    written = generations(log)
    assert len(written) == total
    assert Counter(stored) == Counter(written), "each line once, byte for byte"
    assert stored == written, "in file order"
    assert len(loki.streams()) == 1
    seen = await agent.until(lambda seen: seen["waiting_entries"] == 0)
    assert_nothing_is_unaccounted(seen)
    assert await agent.stop() == 0


async def test_a_line_arrives_redacted_with_its_own_time_and_request_id(
    tmp_path: Path, loki: LokiStandIn, launch: Callable[..., AgentProcess]
) -> None:
    log = tmp_path / "app.log"
    agent = launch(loki.url, str(log))
    await agent.start()
    second = int(time.time())
    fields = {
        "timestamp": "STAMP", "level": "DEBUG", "message": "User credentials: bob:Hunter2-Sky", "request_id": "r-1",
        "user": "john@example.com",
    }  # fmt: skip
    log.write_text(json.dumps(fields).replace('"STAMP"', f"{second}.000294") + "\n")
    await loki.wait_for(lambda there: there.accepted >= 1)
    (entry,) = loki.entries()
    assert entry.timestamp_ns == second * 10**9 + 294_000
    assert b"Hunter2" not in entry.line
    assert b"john@example.com" not in entry.line
    assert orjson.loads(entry.line)["level"] == "DEBUG"
    assert dict(entry.metadata)[b"request_id"] == b"r-1"
    assert await agent.stop() == 0


async def test_growth_is_noticed_by_events_long_before_anything_is_polled(
    tmp_path: Path, loki: LokiStandIn, launch: Callable[..., AgentProcess]
) -> None:
    log = tmp_path / "app.log"
    log.write_text("first\n")
    agent = launch(loki.url, str(log), batch="max_entries = 1", agent='poll_interval = "30s"\n')
    agent.config.write_text(agent.config.read_text().replace('scan_interval = "500ms"', 'scan_interval = "60s"'))
    await agent.start()
    await loki.wait_for(lambda there: there.accepted >= 1)
    loop = asyncio.get_running_loop()
    delays = []
    for number in range(20):
        began = loop.time()
        with log.open("a") as file:
            file.write(f"line {number}\n")
        await loki.wait_for(lambda there, n=number: there.accepted >= 2 + n)
        delays.append(loop.time() - began)
    # From writing to Loki, the median: a busy machine may be late once, polling and scanning would be late always.
    assert sorted(delays)[10] < 1.0
    assert (await agent.metrics())["watching"] == 1


async def test_what_loki_does_not_take_waits_and_a_stop_keeps_it(
    tmp_path: Path, launch: Callable[..., AgentProcess]
) -> None:
    log = tmp_path / "app.log"
    log.write_text("".join(f"line {n}\n" for n in range(5000)))
    agent = launch("http://127.0.0.1:9", str(log), agent='log_level = "debug"')
    agent.config.write_text(agent.config.read_text().replace('shutdown_grace = "10s"', 'shutdown_grace = "300ms"'))
    await agent.start()
    seen = await agent.until(lambda seen: seen["waiting_entries"] == 5000)
    assert_nothing_is_unaccounted(seen)
    assert await agent.stop() == 0
    async with LokiStandIn() as loki:
        agent.config.write_text(agent.config.read_text().replace("http://127.0.0.1:9", loki.url))
        await agent.start()
        await loki.wait_for(lambda there: there.accepted >= 5000)
        seen = await agent.until(lambda seen: seen["waiting_entries"] == 0)
        assert seen["recovered_entries"] == 5000
        assert_nothing_is_unaccounted(seen)
        assert [entry.line for entry in loki.entries()] == [f"line {n}".encode() for n in range(5000)]
        assert loki.repeats == 0


HOSTILE = [
    b"\xff\xfa not utf-8",
    b"nul \x00\x00 inside",
    b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
    b'{"timestamp": 1, "x": NaN}',
    b'{"x": "\\ud800"}',
    b"[" * 10_000,
    b'{"message": "' + b"\\" * 9999,
    b"\x1b[31mred\x1b[0m",
]


async def test_nothing_in_a_line_stops_the_daemon(
    tmp_path: Path, loki: LokiStandIn, launch: Callable[..., AgentProcess]
) -> None:
    log = tmp_path / "app.log"
    log.write_bytes(b"\n".join([*HOSTILE, b"after all that"]) + b"\n")
    agent = launch(loki.url, str(log))
    await agent.start()
    await loki.wait_for(lambda there: any(entry.line == b"after all that" for entry in there.entries()))
    as_text = [line.decode("utf-8", "replace").encode() for line in HOSTILE]
    assert [entry.line for entry in loki.entries()] == [*as_text, b"after all that"]


async def test_a_hundred_mebibytes_without_a_newline_arrive_in_parts_and_others_go_on(
    tmp_path: Path, loki: LokiStandIn, launch: Callable[..., AgentProcess]
) -> None:
    (tmp_path / "log").mkdir()
    long_line, small = tmp_path / "log" / "long.log", tmp_path / "log" / "small.log"
    with long_line.open("wb") as file:
        for _ in range(100):
            file.write(b"abcdefgh" * (1024 * 1024 // 8))
        file.write(b"\nthe end\n")
    agent = launch(loki.url, str(tmp_path / "log" / "*.log"))
    await agent.start()
    small.write_text("small\n")
    await loki.wait_for(lambda there: any(entry.line == b"the end" for entry in there.entries()), 60)
    await loki.wait_for(lambda there: any(entry.line == b"small" for entry in there.entries()))
    parts = [entry for entry in loki.entries() if entry.line not in (b"the end", b"small")]
    assert sum(len(entry.line) for entry in parts) == 100 * 1024 * 1024
    assert [int(dict(entry.metadata)[b"part"]) for entry in parts] == list(range(1, len(parts) + 1))
    assert agent.process is not None
    assert rss_peak_mib(agent.process.pid) < 200
