"""Rows T17 and T18: clocks that jump back, and times that cannot be."""

import json
import time
from collections.abc import Callable
from pathlib import Path

from agent_process import AgentProcess, assert_nothing_is_unaccounted
from oracle import append, stored

from agent import wire
from agent.demo.loki import LokiStandIn

WAIT_S = 60
Launch = Callable[..., AgentProcess]


def lines_at(moment: float, name: str, count: int = 100) -> list[bytes]:
    return [f'{{"timestamp": {moment + n / 1000:.3f}, "message": "{name} {n}"}}'.encode() for n in range(count)]


async def test_t17_a_clock_that_jumps_back_costs_no_order_and_every_refusal_is_counted(
    tmp_path: Path, loki: LokiStandIn, launch: Launch
) -> None:
    log = tmp_path / "app.log"
    now = time.time()
    first, half_an_hour, two_hours, last = (
        lines_at(now - back, name)
        for back, name in ((60, "first"), (1860, "half an hour back"), (7260, "two hours back"), (30, "last"))
    )
    append(log, [*first, *half_an_hour, *two_hours, *last])
    agent = launch(loki.url, str(log), redact="enabled = false")
    await agent.start()
    await loki.wait_for(lambda there: there.accepted >= 300, WAIT_S)
    seen = await agent.until(lambda seen: seen["waiting_entries"] == 0 and seen["read_lines_total"] == 400)
    assert_nothing_is_unaccounted(seen)
    # Loki takes what is up to an hour behind the newest of its stream; of what it has not, the letters tell, in order.
    assert stored(loki) == {str(log): [*first, *half_an_hour, *last]}
    (letters,) = (agent.state / "dead-letters").glob("*.jsonl")
    rows = [json.loads(row) for row in letters.read_text().splitlines()]
    assert [row["line"].encode() for row in rows] == two_hours
    assert {row["reason"] for row in rows} == {"too_far_behind"}
    assert seen["dropped_entries_total"] == len(two_hours)
    assert await agent.stop() == 0


async def test_t18_times_that_cannot_be_are_sent_beside_their_neighbours_with_the_original(
    tmp_path: Path, loki: LokiStandIn, launch: Launch
) -> None:
    log = tmp_path / "app.log"
    now = time.time()
    tomorrow = now + 86_400
    odd = [
        (b'{"timestamp": %.3f, "message": "tomorrow"}' % tomorrow, round(tomorrow, 3)),
        (b'{"timestamp": "9999-12-31T23:59:59Z", "message": "the last"}', 253_402_300_799),
        (b'{"timestamp": 1, "message": "the first"}', 1),
        (b'{"timestamp": "2001-01-01T00:00:00Z", "message": "long ago"}', 978_307_200),
    ]
    before, after = lines_at(now - 60, "before", 5), lines_at(now - 50, "after", 5)
    no_time = b'{"timestamp": "0000-00-00T00:00:00Z", "message": "never"}'
    append(log, [*before, *(line for line, _ in odd), no_time, *after])
    agent = launch(loki.url, str(log), redact="enabled = false")
    await agent.start()
    await loki.wait_for(lambda there: there.accepted >= 15, WAIT_S)
    seen = await agent.until(lambda seen: seen["waiting_entries"] == 0)
    assert seen.get("dropped_entries_total", 0) == 0
    assert stored(loki) == {str(log): [*before, *(line for line, _ in odd), no_time, *after]}
    entries = {entry.line: entry for entry in loki.entries()}
    for line, second in odd:
        said = dict(entries[line].metadata)[b"original_timestamp"]
        assert round(int(said) / 1e9, 3) == second
        assert now - 61 < entries[line].timestamp_ns / 1e9 < now - 49, "its neighbours' time"
    assert all(status < 300 for status in (request.status for request in loki.requests)), "nothing was refused"
    assert wire.parse_labels(entries[no_time].labels)["filename"] == str(log)
    assert await agent.stop() == 0
