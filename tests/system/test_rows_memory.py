"""Rows T76 and T86: memory is bounded by configuration, however much waits and in however many files."""

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from agent_process import AgentProcess, assert_nothing_is_unaccounted, rss_peak_mib
from oracle import append, stored

from agent.demo.loki import Limits, LokiStandIn

WAIT_S = 300
MIB = 1 << 20
MOST_MIB = 128
LIMIT_BYTES = 192 * MIB
"""Room for the child that compiles the patterns at the very first start as well."""

Launch = Callable[..., AgentProcess]
SIZES = [40_000, pytest.param(1_000_000, marks=[pytest.mark.long, pytest.mark.timeout(1800)])]


def lines(name: str, count: int) -> list[bytes]:
    now = time.time() - 60
    return [
        b'{"timestamp": %.6f, "level": "INFO", "message": "%s %d", "text": "%s"}'
        % (now + number / 1e5, name.encode(), number, b"device description read and stored " * 9)
        for number in range(count)
    ]


@contextlib.contextmanager
def memory_limited(limit_bytes: int) -> Iterator[tuple[str, ...]]:
    """A command that runs another in a control group with so much memory. Skips where no such group can be made."""
    v2 = Path("/sys/fs/cgroup/cgroup.controllers").exists()
    group = Path("/sys/fs/cgroup" if v2 else "/sys/fs/cgroup/memory") / f"greenstack-test-{os.getpid()}"
    try:
        group.mkdir()
        (group / ("memory.max" if v2 else "memory.limit_in_bytes")).write_text(str(limit_bytes))
    except OSError as error:
        with contextlib.suppress(OSError):
            group.rmdir()
        pytest.skip(f"no control group of memory to be had: {error}")
    try:
        yield ("sh", "-c", f'echo $$ > {group}/cgroup.procs; exec "$@"', "sh")
    finally:
        group.rmdir()


@pytest.mark.parametrize("files", [1, 100])
@pytest.mark.parametrize("count", SIZES)
async def test_t86_a_backlog_in_one_file_or_many_stays_in_bounds_and_lets_fresh_lines_through(
    tmp_path: Path, launch: Launch, count: int, files: int
) -> None:
    logs = tmp_path / "log"
    logs.mkdir()
    each = count // files
    expected = {str(logs / f"app-{number}.log"): lines(str(number), each) for number in range(files)}
    for path, wanted in expected.items():
        append(Path(path), wanted)
    async with LokiStandIn(limits=Limits.without_rates(), requests_kept=10) as loki:
        agent = launch(loki.url, f"{logs}/*.log", buffer='max_bytes = "2GiB"')
        await loki.down()
        await agent.start()
        await agent.until(lambda seen: seen["waiting_entries"] == each * files, WAIT_S)
        assert agent.process is not None
        assert rss_peak_mib(agent.process.pid) < MOST_MIB
        await loki.up()
        fresh = logs / "fresh.log"
        expected[str(fresh)] = lines("fresh", 1)
        append(fresh, expected[str(fresh)])
        await loki.wait_for(lambda there: there.accepted == each * files + 1, WAIT_S)
        assert stored(loki) == expected
        assert rss_peak_mib(agent.process.pid) < MOST_MIB
        assert_nothing_is_unaccounted(await agent.until(lambda seen: seen["waiting_entries"] == 0))
        assert await agent.stop() == 0


async def test_t76_with_little_memory_a_backlog_is_read_and_delivered_and_nothing_is_killed(
    tmp_path: Path, launch: Launch
) -> None:
    log = tmp_path / "app.log"
    wanted = lines("line", 60_000)
    append(log, wanted)
    with memory_limited(LIMIT_BYTES) as under:
        async with LokiStandIn(limits=Limits.without_rates(), requests_kept=10) as loki:
            agent = launch(loki.url, str(log))
            await loki.down()
            await agent.start(under=under)
            await agent.until(lambda seen: seen["waiting_entries"] == len(wanted), WAIT_S)
            await loki.up()
            await loki.wait_for(lambda there: there.accepted == len(wanted), WAIT_S)
            assert stored(loki) == {str(log): wanted}
            assert await agent.stop() == 0, "not killed for want of memory"
