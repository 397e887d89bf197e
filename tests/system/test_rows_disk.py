"""Rows T53 and T79 to T84: the disk under the buffer is full, read-only, failing, gone or moved."""

import asyncio
import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import aiohttp
import pytest
import small_disk
import traced
from agent_process import AgentProcess, assert_nothing_is_unaccounted
from oracle import append, difference, numbered, stored
from small_disk import SmallDisk

from agent.demo.faults import FaultPlan
from agent.demo.loki import Limits, LokiStandIn

MIB = 1 << 20
SMALL = 'segment_bytes = "64KiB"\nmax_bytes = "64MiB"'
WAIT_S = 60

Launch = Callable[..., AgentProcess]
needs_small_disk = pytest.mark.skipif(bool(small_disk.why_not()), reason=small_disk.why_not())
needs_strace = pytest.mark.skipif(bool(traced.why_not()), reason=traced.why_not())


async def health(agent: AgentProcess) -> str:
    async with aiohttp.ClientSession() as http, http.get(f"{agent.url}/health") as reply:
        return str(json.loads(await reply.text())["status"])


async def until_all_arrived(agent: AgentProcess, loki: LokiStandIn, expected: dict[str, list[bytes]]) -> None:
    """Every line is in Loki, once and in order; the agent knows it and is well."""
    total = sum(map(len, expected.values()))
    await loki.wait_for(lambda there: there.accepted >= total, WAIT_S)
    assert not (wrong := difference(expected, stored(loki))), f"{wrong}\n{agent.errors()}"
    seen = await agent.until(lambda seen: seen["waiting_entries"] == 0)
    assert_nothing_is_unaccounted(seen)
    async with asyncio.timeout(WAIT_S):
        while await health(agent) != "healthy":
            await asyncio.sleep(0.05)


def set_option(agent: AgentProcess, old: str, new: str) -> None:
    text = agent.config.read_text()
    assert old in text
    agent.config.write_text(text.replace(old, new))


# --- full ----------------------------------------------------------------------------------------------------------


@needs_small_disk
@pytest.mark.parametrize(
    ("disk", "settings"),
    [
        ("8m", 'max_bytes = "1GiB"\nsegment_bytes = "1MiB"'),
        ("64m", 'max_bytes = "4MiB"\nsegment_bytes = "1MiB"'),
    ],
    ids=["by the disk", "by max_bytes"],
)
async def test_t79_a_full_buffer_stops_reading_and_goes_on_by_itself(
    tmp_path: Path, loki: LokiStandIn, launch: Launch, disk: str, settings: str
) -> None:
    log = tmp_path / "app.log"
    lines = numbered("line", 8000)
    append(log, lines)
    agent = launch(loki.url, str(log), buffer=settings, redact="enabled = false")
    await loki.down()
    with SmallDisk(agent.state, disk) as small:
        await agent.start(under=small.under)
        seen = await agent.until(lambda seen: seen["buffer_full"] == 1, WAIT_S)
        assert seen["unread_bytes"] > 0
        assert seen["read_lines_total"] < len(lines)
        assert_nothing_is_unaccounted(seen)
        assert await health(agent) == "degraded"
        assert "buffer" in agent.errors().splitlines()[-1]
        # A crash in the middle of it: what the buffer holds and what it does not is still one row of lines.
        await agent.kill()
        await agent.start(under=small.under)
        await agent.until(lambda seen: seen["buffer_full"] == 1, WAIT_S)
        await loki.up()
        await until_all_arrived(agent, loki, {str(log): lines})
        assert (await agent.metrics())["buffer_full"] == 0
        assert await agent.stop() == 0


async def test_t80_drop_oldest_drops_whole_segments_from_the_front_and_counts_each_line(
    tmp_path: Path, loki: LokiStandIn, launch: Launch
) -> None:
    log = tmp_path / "app.log"
    lines = numbered("line", 5000)
    append(log, lines)
    agent = launch(
        loki.url, str(log), redact="enabled = false", batch='max_bytes = "64KiB"',
        buffer='max_bytes = "2MiB"\nsegment_bytes = "256KiB"\nwhen_full = "drop_oldest"',
    )  # fmt: skip
    await loki.down()
    await agent.start()
    seen = await agent.until(lambda seen: seen["unread_bytes"] == 0 and seen["read_lines_total"] == len(lines), WAIT_S)
    assert 0 < seen["dropped_entries_total"] < len(lines)
    assert_nothing_is_unaccounted(seen)
    assert seen["buffer_dropped_bytes_total"] > 900 * seen["dropped_entries_total"]
    assert seen["buffer_bytes"] <= 2 * MIB + 256 * 1024
    await loki.up()
    # The last batches are dropping still when the last line is read, so only now the count is final.
    seen = await agent.until(lambda seen: seen["waiting_entries"] == 0, WAIT_S)
    assert_nothing_is_unaccounted(seen)
    dropped = int(seen["dropped_entries_total"])
    assert stored(loki) == {str(log): lines[dropped:]}, "the newest, in order, and as many as were counted"


@needs_small_disk
async def test_t82_a_disk_that_others_fill_keeps_its_reserve(tmp_path: Path, loki: LokiStandIn, launch: Launch) -> None:
    log = tmp_path / "app.log"
    first, second = numbered("line", 500), numbered("line", 3000, first=500)
    append(log, first)
    agent = launch(loki.url, str(log), buffer=SMALL, redact="enabled = false")
    set_option(agent, 'min_free_bytes = "0B"', 'min_free_bytes = "4MiB"')
    await loki.down()
    with SmallDisk(agent.state, "16m") as small:
        await agent.start(under=small.under)
        await agent.until(lambda seen: seen["read_lines_total"] == len(first), WAIT_S)
        theirs = small.fill("theirs", leave=4 * MIB + 256 * 1024)
        append(log, second)
        await agent.until(lambda seen: seen["buffer_full"] == 1, WAIT_S)
        said = agent.log.stat().st_size
        assert small.free_bytes > 3 * MIB, "a batch may pass between two looks, no more"
        assert await health(agent) == "degraded"
        await agent.until(lambda seen: seen["buffer_full"] == 1)
        assert agent.log.stat().st_size - said < 1000, "it does not fill the disk by complaining"
        await loki.up()
        theirs.unlink()
        await until_all_arrived(agent, loki, {str(log): [*first, *second]})
        assert await agent.stop() == 0


@needs_small_disk
async def test_t82_a_first_start_on_a_full_disk_waits_for_room_and_makes_a_whole_key(
    tmp_path: Path, loki: LokiStandIn, launch: Launch
) -> None:
    log = tmp_path / "app.log"
    lines = numbered("line", 100)
    append(log, lines)
    agent = launch(loki.url, str(log), buffer=SMALL, redact="enabled = false")
    with SmallDisk(agent.state, "4m") as small:
        theirs = small.fill("theirs", leave=0)
        await agent.start(under=small.under)
        await agent.until(lambda seen: seen["buffer_full"] == 1, WAIT_S)
        theirs.unlink()
        await until_all_arrived(agent, loki, {str(log): lines})
        assert len((small.seen / "pseudonym.key").read_bytes()) == 32
        assert await agent.stop() == 0


# --- failing -------------------------------------------------------------------------------------------------------

# Which of its calls fail in each thread; those on names and directories are few.
WHEN = {
    "fdatasync": ("3", "2+3"),
    "pwrite64": ("3", "2+3"),
    "openat": ("3", "2+3"),
    "fsync": ("1", "1+2"),
    "unlink": ("1", "1+2"),
}
FAILURES = [
    (error, syscall, when)
    for error in ("EIO", "EROFS", "EDQUOT", "ENOSPC")
    for syscall, whens in WHEN.items()
    for when in whens
]
# One of each kind; the others differ from these in nothing the agent looks at.
COMMON = [
    ("EIO", "fdatasync", "2+3"),
    ("ENOSPC", "pwrite64", "2+3"),
    ("EROFS", "openat", "2+3"),
    ("EDQUOT", "fsync", "1"),
    ("EIO", "unlink", "1+2"),
]


def segments(agent: AgentProcess) -> list[str]:
    """Every path the buffer may write records to, and the directory that holds them."""
    return [str(agent.state / "buffer"), *(str(agent.state / "buffer" / f"{n:012d}.segment") for n in range(1, 60))]


@needs_strace
@pytest.mark.parametrize(
    ("error", "syscall", "when"),
    [pytest.param(*each, id=" ".join(each), marks=() if each in COMMON else pytest.mark.long) for each in FAILURES],
)
async def test_t83_a_call_that_fails_now_and_then_skips_nothing(
    tmp_path: Path, launch: Launch, error: str, syscall: str, when: str
) -> None:
    log = tmp_path / "app.log"
    lines = numbered("line", 300)
    append(log, lines[:100])
    async with LokiStandIn(limits=Limits.without_rates(), faults=FaultPlan.random(5, share=0.2)) as loki:
        agent = launch(loki.url, str(log), buffer=SMALL, redact="enabled = false", batch='max_bytes = "32KiB"')
        trace = tmp_path / "trace"
        await agent.start(under=traced.injecting(trace, f"error={error}", syscall, when, segments(agent)))
        await loki.wait_for(lambda there: there.accepted >= 100, WAIT_S)
        for start in range(100, len(lines), 50):
            append(log, lines[start : start + 50])
            await loki.wait_for(lambda there, end=start + 50: there.accepted >= end, WAIT_S)
        await until_all_arrived(agent, loki, {str(log): lines})
        assert "(INJECTED)" in trace.read_text(), "no call failed"
        assert await agent.stop() == 0
        await agent.start()
        await until_all_arrived(agent, loki, {str(log): lines})


@needs_strace
@pytest.mark.parametrize("syscall", ["fdatasync", "pwrite64"])
async def test_t83_what_a_failing_disk_did_not_take_is_read_again_after_a_crash(
    tmp_path: Path, loki: LokiStandIn, launch: Launch, syscall: str
) -> None:
    log = tmp_path / "app.log"
    lines = numbered("line", 300)
    append(log, lines[:100])
    agent = launch(loki.url, str(log), buffer=SMALL, redact="enabled = false", batch='max_bytes = "32KiB"')
    trace = tmp_path / "trace"
    # A turn of reading is one commit, which may begin a segment: the first 100 lines take two calls at most.
    await agent.start(under=traced.injecting(trace, "error=EIO", syscall, "3+", segments(agent)))
    await agent.until(lambda seen: seen["read_lines_total"] == 100, WAIT_S)
    for end in range(120, 301, 20):  # each a write of its own, until one fails
        append(log, lines[end - 20 : end])
        seen = await agent.until(
            lambda seen, end=end: seen["buffer_full"] == 1 or seen["read_lines_total"] == end,  # type: ignore[misc]
            WAIT_S,
        )
    assert seen["buffer_full"] == 1
    assert_nothing_is_unaccounted(seen)
    assert await health(agent) == "degraded"
    assert "cannot be written" in agent.errors() or "Input/output error" in agent.errors(), agent.errors()
    at_crash = loki.accepted
    assert at_crash < len(lines)
    await agent.kill()
    await agent.start()
    await until_all_arrived(agent, loki, {str(log): lines})


# --- not ours any more ---------------------------------------------------------------------------------------------


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("setpriv") is None, reason="needs root and setpriv")
async def test_t53_a_state_directory_that_may_not_be_used_stops_progress_and_is_mended(
    tmp_path: Path, loki: LokiStandIn, launch: Launch
) -> None:
    log = tmp_path / "app.log"
    lines = numbered("line", 600)
    append(log, lines[:100])
    agent = launch(loki.url, str(log), buffer=SMALL, redact="enabled = false", batch='max_bytes = "32KiB"')
    unprivileged = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search", "--inh-caps", "-all"]
    await agent.start(under=unprivileged)
    await loki.wait_for(lambda there: there.accepted >= 100, WAIT_S)
    buffer = agent.state / "buffer"
    for _ in range(2):
        buffer.chmod(0o000)
        append(log, lines[loki.accepted : loki.accepted + 250])
        await agent.until(lambda seen: seen["buffer_full"] == 1 or seen["waiting_entries"] > 0, WAIT_S)
        assert_nothing_is_unaccounted(await agent.metrics())
        buffer.chmod(0o700)
        await loki.wait_for(lambda there: there.accepted in (350, 600), WAIT_S)
    await until_all_arrived(agent, loki, {str(log): lines})
    assert await agent.stop() == 0


async def test_t53_a_state_directory_deleted_at_runtime_costs_nothing(
    tmp_path: Path, loki: LokiStandIn, launch: Launch
) -> None:
    """The agent ends and says so, its supervisor starts it again, and what waited is read from the files once more."""
    log = tmp_path / "app.log"
    lines = [f'{{"timestamp": {time.time():.6f}, "seq": {number}}}'.encode() for number in range(400)]
    append(log, lines[:100])
    agent = launch(loki.url, str(log), buffer=SMALL, redact="enabled = false")
    await agent.start()
    await loki.wait_for(lambda there: there.accepted >= 100, WAIT_S)
    await loki.down()
    append(log, lines[100:200])
    await agent.until(lambda seen: seen["waiting_entries"] == 100, WAIT_S)
    shutil.rmtree(agent.state)
    append(log, lines[200:300])
    assert agent.process is not None
    async with asyncio.timeout(WAIT_S):
        assert await agent.process.wait() == 73
    assert f"{agent.state}/buffer was deleted while the agent ran" in agent.errors().splitlines()[-1]
    append(log, lines[300:])
    await loki.up()
    await agent.start()
    await until_all_arrived(agent, loki, {str(log): lines})


async def test_t84_a_backlog_outlives_a_lower_limit_another_loki_and_a_move(
    tmp_path: Path, loki: LokiStandIn, launch: Launch
) -> None:
    log = tmp_path / "app.log"
    lines = numbered("line", 3000)
    append(log, lines)
    agent = launch("http://127.0.0.1:9", str(log), buffer=SMALL, redact="enabled = false")
    set_option(agent, 'shutdown_grace = "10s"', 'shutdown_grace = "100ms"')
    await agent.start()
    await agent.until(
        lambda seen: seen["read_lines_total"] == len(lines) and seen["waiting_entries"] == len(lines), WAIT_S
    )
    assert await agent.stop() == 0
    before = sum(path.stat().st_size for path in (agent.state / "buffer").glob("*.segment"))
    # Lower than what waits, and back: nothing is deleted for it.
    set_option(agent, 'max_bytes = "64MiB"', 'max_bytes = "1MiB"')
    await agent.start()
    seen = await agent.metrics()
    assert seen["recovered_entries"] == seen["waiting_entries"] == len(lines)
    assert await agent.stop() == 0
    assert sum(path.stat().st_size for path in (agent.state / "buffer").glob("*.segment")) >= before
    # The directory stays behind: its lines stay too, and files read from the beginning again are the only effect.
    moved = tmp_path / "moved"
    agent.state.rename(moved)
    set_option(agent, f'state_dir = "{agent.state}"', f'state_dir = "{moved}"')
    set_option(agent, "http://127.0.0.1:9", loki.url)
    await agent.start()
    await until_all_arrived(agent, loki, {str(log): lines})
    assert loki.repeats == 0
    assert await agent.stop() == 0
