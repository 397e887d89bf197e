"""Row T101 and what belongs to it: a long backlog drains oldest first, at a bounded rate, and holds up nothing fresh."""

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from agent_process import AgentProcess, assert_nothing_is_unaccounted
from oracle import append, difference, numbered, stored

from agent.demo.faults import Delay, FaultPlan, NeverRead, Status
from agent.demo.limits import KIB, MIB
from agent.demo.loki import Limits, LokiStandIn

WAIT_S = 90
HOUR_S = 3600
DAY_S = 24 * HOUR_S
PLAIN = "enabled = false"

Launch = Callable[..., AgentProcess]


def history(name: str, count: int, begin_s: float, end_s: float) -> list[bytes]:
    """Lines whose own times are spread evenly, the ends in seconds before now."""
    now = time.time()
    step_s = (begin_s - end_s) / count
    return [
        b'{"timestamp": %.3f, "message": "%s"}' % (now - begin_s + number * step_s, line)
        for number, line in enumerate(numbered(name, count, size=400))
    ]


def letters(agent: AgentProcess) -> list[dict[str, str]]:
    paths = sorted((agent.state / "dead-letters").glob("*.jsonl"))
    return [json.loads(line) for path in paths for line in path.read_text().splitlines()]


def gaps(wanted: list[bytes], had: list[bytes]) -> bool:
    """Whether a later line came before an earlier one."""
    return had != wanted[: len(had)]


def quick_to_stop(agent: AgentProcess) -> None:
    """Or a stop waits ten seconds for what cannot be delivered."""
    agent.config.write_text(agent.config.read_text().replace('shutdown_grace = "10s"', 'shutdown_grace = "300ms"'))


async def test_t101_eight_hours_drain_without_a_gap_oldest_first_and_what_is_too_old_is_counted(
    tmp_path: Path, launch: Launch
) -> None:
    logs = tmp_path / "log"
    logs.mkdir()
    files = [logs / f"app-{number}.log" for number in range(4)]
    too_old = {path: history(f"old {path.name}", 50, 8 * DAY_S, 7 * DAY_S + HOUR_S) for path in files}
    expected = {str(path): history(path.name, 1500, 8 * HOUR_S, 0) for path in files}
    for path in files:
        append(path, [*too_old[path], *expected[str(path)]])
    # Less than the backlog in one burst, so that it is told to slow down.
    limits = Limits(tenant_rate=2 * MIB, tenant_burst=1 * MIB, stream_rate=1 * MIB, stream_burst=1 * MIB)
    async with LokiStandIn(limits=limits) as loki:
        agent = launch(
            loki.url, f"{logs}/*.log", redact=PLAIN, parse='out_of_range = "send"', batch='max_bytes = "256KiB"',
            buffer='segment_bytes = "256KiB"\nmax_bytes = "64MiB"',
        )  # fmt: skip
        await loki.down()
        await agent.start()
        total = sum(map(len, expected.values())) + sum(map(len, too_old.values()))
        await agent.until(lambda seen: seen["waiting_entries"] == total, WAIT_S)
        # Half an outage later the agent is killed: the backlog is the same after it.
        await agent.kill()
        await agent.start()
        assert (await agent.metrics())["waiting_entries"] == total
        await loki.up()
        await loki.wait_for(lambda there: there.accepted >= sum(map(len, expected.values())), WAIT_S)
        assert not (wrong := difference(expected, stored(loki))), wrong
        seen = await agent.until(lambda seen: seen["waiting_entries"] == 0, WAIT_S)
        assert seen["dropped_entries_total"] == sum(map(len, too_old.values()))
        assert_nothing_is_unaccounted(seen)
        assert any(each.status == 429 for each in loki.requests), "it was told to slow down"
        assert set(loki.discarded) <= {"greater_than_max_sample_age", "rate_limited", "per_stream_rate_limit"}
        kept = letters(agent)
        assert {each["reason"] for each in kept} == {"greater_than_max_sample_age"}
        for path in files:
            mine = [each["line"].encode() for each in kept if f'"{path}"' in each["labels"]]
            assert mine == too_old[path]
        sent = [each.digest for each in loki.requests if each.status == 400]
        assert len(sent) == len(set(sent)), "what was refused for good is not sent again"


async def test_t101_a_paced_backlog_does_not_hold_up_fresh_lines_and_keeps_its_rate(
    tmp_path: Path, loki: LokiStandIn, launch: Launch
) -> None:
    logs = tmp_path / "log"
    logs.mkdir()
    old, fresh = logs / "old.log", logs / "fresh.log"
    expected = {str(old): history("old", 4000, 8 * HOUR_S, 0), str(fresh): numbered("fresh", 20, size=20)}
    append(old, expected[str(old)])
    agent = launch(
        loki.url, f"{logs}/*.log", redact=PLAIN, batch='max_bytes = "64KiB"', loki='max_stream_rate = "100KiB"'
    )
    quick_to_stop(agent)
    await loki.down()
    await agent.start()
    await agent.until(lambda seen: seen["waiting_entries"] == 4000, WAIT_S)
    await loki.up()
    await loki.wait_for(lambda there: there.accepted > 0, WAIT_S)
    began, before = time.monotonic(), sum(map(len, stored(loki)[str(old)]))
    for number, line in enumerate(expected[str(fresh)]):
        append(fresh, [line])
        await loki.wait_for(lambda there, n=number: len(there.entries({"filename": str(fresh)})) > n, WAIT_S)
    drained = sum(map(len, stored(loki)[str(old)])) - before
    assert len(stored(loki)[str(old)]) < 4000, "the fresh lines came while the backlog was still there"
    # Two records more: one that was due when the clock started, and one that goes whole.
    assert drained <= 100 * KIB * (time.monotonic() - began) + 2 * 64 * KIB
    assert not gaps(expected[str(old)], stored(loki)[str(old)])
    assert await agent.stop() == 0
    agent.config.write_text(agent.config.read_text().replace('max_stream_rate = "100KiB"', ""))
    await agent.start()
    await loki.wait_for(lambda there: there.accepted >= 4020, WAIT_S)
    assert not (wrong := difference(expected, stored(loki))), wrong


@pytest.mark.parametrize(("count", "delay_s"), [(5, 0.1), pytest.param(10, 0.2, marks=pytest.mark.long)])
async def test_t101_the_backlog_of_many_files_lets_a_fresh_file_through(
    tmp_path: Path, loki: LokiStandIn, launch: Launch, count: int, delay_s: float
) -> None:
    logs = tmp_path / "log"
    logs.mkdir()
    fresh = logs / "fresh.log"
    files = [logs / f"app-{number}.log" for number in range(10)]
    expected = {str(path): history(path.name, 1000, 8 * HOUR_S, 0) for path in files}
    for path in files:
        append(path, expected[str(path)])
    loki.faults = FaultPlan.always(Delay(delay_s))
    agent = launch(loki.url, f"{logs}/*.log", redact=PLAIN, batch='max_bytes = "16KiB"')
    await loki.down()
    await agent.start()
    await agent.until(lambda seen: seen["waiting_entries"] == 10_000, WAIT_S)
    await loki.up()
    await loki.wait_for(lambda there: there.accepted > 0, WAIT_S)
    expected[str(fresh)] = numbered("fresh", count, size=20)
    for number, line in enumerate(expected[str(fresh)]):
        append(fresh, [line])
        await loki.wait_for(lambda there, n=number: len(there.entries({"filename": str(fresh)})) > n, WAIT_S)
    assert sum(map(len, stored(loki).values())) < 10_000 + count, (
        "the fresh lines came while the backlog was still there"
    )
    loki.faults = FaultPlan()
    await loki.wait_for(lambda there: there.accepted >= 10_000 + count, WAIT_S)
    assert not (wrong := difference(expected, stored(loki))), wrong


# --- how long a start takes ----------------------------------------------------------------------------------------


async def starts_after(agent: AgentProcess, log: Path, blocks: int) -> float:
    """Seconds of the quickest of three starts, to readiness, with a backlog of so many MiB."""
    block = b"".join(line + b"\n" for line in numbered("line", 580))
    with log.open("wb") as file:
        for _ in range(blocks):
            file.write(block)
    await agent.start()
    await agent.until(lambda seen: seen["read_lines_total"] == 580 * blocks and seen["unread_bytes"] == 0, 900)
    await agent.until(lambda seen: seen["buffer_bytes"] > 0.8 * blocks * len(block), 60)
    taken = []
    for _ in range(3):
        await agent.kill()
        began = time.monotonic()
        await agent.start()
        taken.append(time.monotonic() - began)
        assert (await agent.metrics())["recovered_entries"] > 570 * blocks
    await agent.kill()
    return min(taken)


@pytest.mark.long
@pytest.mark.timeout(3600)
async def test_a_start_with_a_gigabyte_waiting_takes_no_longer_than_with_ten_megabytes(
    tmp_path: Path, launch: Launch
) -> None:
    taken = {}
    for blocks in (10, 1024):
        log = tmp_path / f"{blocks}.log"
        agent = launch("http://127.0.0.1:9", str(log), redact=PLAIN, buffer='max_bytes = "4GiB"')
        taken[blocks] = await starts_after(agent, log, blocks)
        log.unlink()
        await asyncio.to_thread(_remove, agent.state / "buffer")
    print(f"ready after {taken[10]:.2f} s with 10 MiB waiting, {taken[1024]:.2f} s with 1 GiB")
    assert taken[1024] < 3 * taken[10]


def _remove(directory: Path) -> None:
    for path in directory.glob("*.segment"):
        path.unlink()


async def test_an_old_file_is_delivered_whole_whatever_its_lines_say_of_their_time(
    tmp_path: Path, loki: LokiStandIn, launch: Launch
) -> None:
    """Loki refuses what is an hour older than the newest of its stream: none of these lines may pass for new."""
    log = tmp_path / "app.log"
    times = iter(history("app", 1000, 10 * DAY_S, 0))
    traceback = (b'  File "/srv/app.py", line %d' % number for number in range(10_000))
    lines = [b"Traceback (most recent call last):", *(line for each in times for line in (each, *_take(traceback, 10)))]
    lines[5000:5000] = [b'{"timestamp": 0, "message": "no clock"}', b'{"timestamp": 4102444800, "message": "in 2100"}']
    append(log, lines)
    agent = launch(loki.url, str(log), redact=PLAIN)
    await agent.start()
    seen = await agent.until(lambda seen: seen["unread_bytes"] == 0 and seen["waiting_entries"] == 0, WAIT_S)
    assert not (wrong := difference({str(log): lines}, stored(loki))), wrong
    assert seen.get("dropped_entries_total", 0) == 0, loki.discarded


@pytest.mark.parametrize("ending", ["kill", "stop"])
async def test_what_was_delivered_behind_a_refused_stream_is_not_sent_again_after_a_start(
    tmp_path: Path, loki: LokiStandIn, launch: Launch, ending: str
) -> None:
    """Hours later Loki refuses it as too far behind, and lines that it has would count as refused."""
    logs = tmp_path / "log"
    logs.mkdir()
    refused, free = logs / "refused.log", logs / "free.log"
    expected = {str(refused): numbered("refused", 10), str(free): history("free", 3000, 8 * HOUR_S, 0)}
    limit = Status(429, "maximum active stream limit exceeded when trying to create stream")
    loki.faults = FaultPlan().for_stream(f'{{filename="{refused}"}}', FaultPlan.always(limit))
    append(refused, expected[str(refused)])
    agent = launch(loki.url, f"{logs}/*.log", redact=PLAIN, batch='max_bytes = "32KiB"')
    quick_to_stop(agent)
    await agent.start()
    await agent.until(lambda seen: seen["buffer_records"] == 1, WAIT_S)
    append(free, expected[str(free)])
    await agent.until(lambda seen: seen["delivered_entries_total"] == 3000, WAIT_S)
    assert (await agent.kill() if ending == "kill" else await agent.stop()) in (None, 0)
    before = len(loki.requests)
    await agent.start()
    assert (await agent.metrics())["recovered_entries"] == 10
    loki.faults.stop()
    seen = await agent.until(lambda seen: seen["waiting_entries"] == 0, WAIT_S)
    assert (seen["delivered_entries_total"], seen.get("dropped_entries_total", 0)) == (10, 0)
    assert not (wrong := difference(expected, stored(loki))), wrong
    assert not any("free" in each.labels[0] for each in loki.requests[before:])


async def test_a_record_that_spans_a_day_goes_on_in_its_middle_after_a_kill(
    tmp_path: Path, loki: LokiStandIn, launch: Launch
) -> None:
    log = tmp_path / "quiet.log"
    lines = history("quiet", 1000, DAY_S, 0)
    append(log, lines)
    loki.faults = FaultPlan.script([*[None] * 20, *[NeverRead()] * 1000])
    agent = launch(loki.url, str(log), redact=PLAIN, loki='timeout = "1s"')
    await agent.start()
    await agent.until(lambda seen: seen["consecutive_failures"] > 0, WAIT_S)
    assert 0 < loki.accepted < 1000
    await agent.kill()
    loki.faults = FaultPlan()
    await agent.start()
    seen = await agent.until(lambda seen: seen["waiting_entries"] == 0, WAIT_S)
    assert (seen["delivered_entries_total"], seen.get("dropped_entries_total", 0)) == (1000, 0)
    assert not (wrong := difference({str(log): lines}, stored(loki))), wrong


def _take(lines: Iterator[bytes], count: int) -> list[bytes]:
    return [next(lines) for _ in range(count)]
