"""Rows T89 to T95: every way in which Loki refuses. What goes wrong on the way to it is in `test_rows_network`."""

import asyncio
import datetime as dt
import email.utils
import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from agent_process import AgentProcess, assert_nothing_is_unaccounted
from oracle import append, difference, numbered, stored

from agent import wire
from agent.demo.faults import FaultPlan, Partial, Status
from agent.demo.ingest import Reply
from agent.demo.loki import Limits, LokiStandIn

WAIT_S = 60
PLAIN = "enabled = false"

Launch = Callable[..., AgentProcess]


async def until_arrived(agent: AgentProcess, loki: LokiStandIn, expected: dict[str, list[bytes]]) -> dict[str, float]:
    """Every line is there, once and in order; the agent knows it and is well again."""
    await loki.wait_for(lambda there: there.accepted >= sum(map(len, expected.values())), WAIT_S)
    assert not (wrong := difference(expected, stored(loki))), f"{wrong}\n{agent.errors()}"
    seen = await agent.until(lambda seen: seen["waiting_entries"] == 0 and seen["delivery_held"] == 0, WAIT_S)
    assert_nothing_is_unaccounted(seen)
    return seen


async def health(agent: AgentProcess) -> str:
    async with aiohttp.ClientSession() as http, http.get(f"{agent.url}/health") as reply:
        return str(json.loads(await reply.text())["status"])


async def until_said(agent: AgentProcess, words: str) -> None:
    async with asyncio.timeout(WAIT_S):
        while words not in agent.errors():
            await asyncio.sleep(0.02)


def letters(agent: AgentProcess) -> list[dict[str, Any]]:
    paths = sorted((agent.state / "dead-letters").glob("*.jsonl"))
    return [json.loads(line) for path in paths for line in path.read_text().splitlines()]


def date(seconds_from_now: float) -> str:
    when = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=seconds_from_now)
    return email.utils.format_datetime(when, usegmt=True)


# --- refused for now -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("retry_after", ["2", "date", None, "-1000000000", "soon"])
async def test_t89_a_429_is_waited_out_for_as_long_as_it_says(
    tmp_path: Path, loki: LokiStandIn, launch: Launch, retry_after: str | None
) -> None:
    log = tmp_path / "app.log"
    lines = numbered("line", 50)
    agent = launch(loki.url, str(log), redact=PLAIN)
    await agent.start()
    value = date(3) if retry_after == "date" else retry_after
    due_ns = (time.time_ns() // 10**9 + 3) * 10**9 if retry_after == "date" else 0
    loki.faults = FaultPlan.script([Status(429, "slow down", (("Retry-After", value),) if value is not None else ())])
    append(log, lines)
    await until_arrived(agent, loki, {str(log): lines})
    refused, again = loki.requests[:2]
    if retry_after == "2":
        due_ns = refused.at_ns + 2 * 10**9
    assert again.at_ns >= due_ns
    assert again.digest == refused.digest, "the same bytes"
    assert loki.repeats == 0


async def test_t89_an_absurd_retry_after_is_capped_and_a_stop_does_not_wait_for_it(
    tmp_path: Path, loki: LokiStandIn, launch: Launch
) -> None:
    log = tmp_path / "app.log"
    lines = numbered("line", 50)
    append(log, lines)
    loki.faults = FaultPlan.always(Status(429, "slow down", (("Retry-After", "1000000000"),)))
    agent = launch(loki.url, str(log), redact=PLAIN)
    agent.config.write_text(agent.config.read_text().replace('shutdown_grace = "10s"', 'shutdown_grace = "200ms"'))
    await agent.start()
    await until_said(agent, "again in 600")
    assert await agent.stop() == 0
    loki.faults = FaultPlan()
    await agent.start()
    await until_arrived(agent, loki, {str(log): lines})


async def test_t90_a_stream_that_is_limited_and_half_accepted_does_not_hold_up_another(
    tmp_path: Path, loki: LokiStandIn, launch: Launch
) -> None:
    limited, free = tmp_path / "limited.log", tmp_path / "free.log"
    expected = {str(limited): numbered("limited", 200), str(free): numbered("free", 400)}
    loki.faults = FaultPlan().for_stream(f'{{filename="{limited}"}}', FaultPlan.always(Partial(0.5)))
    append(limited, expected[str(limited)])
    agent = launch(loki.url, f"{tmp_path}/*.log", redact=PLAIN)
    await agent.start()
    await loki.wait_for(lambda there: sum("limited" in each.labels[0] for each in there.requests) >= 3, WAIT_S)
    for start in range(0, 400, 100):
        append(free, expected[str(free)][start : start + 100])
        await loki.wait_for(lambda there, end=start + 100: len(there.entries({"filename": str(free)})) >= end, WAIT_S)
    assert len(stored(loki)[str(limited)]) < 200
    tries = [each for each in loki.requests if "limited" in each.labels[0]]
    assert len({each.digest for each in tries[:3]}) == 1, "the same bytes"
    loki.faults.stop()
    await until_arrived(agent, loki, expected)


async def test_t91_five_hundreds_and_an_outage_cost_nothing_and_are_not_hammered(
    tmp_path: Path, loki: LokiStandIn, launch: Launch
) -> None:
    log = tmp_path / "app.log"
    lines = numbered("line", 600)
    append(log, lines[:200])
    codes = [Status(code, "no") for code in (500, 502, 503, 504)]
    loki.faults = FaultPlan.random(3, share=0.05, kinds=codes)
    agent = launch(loki.url, str(log), redact=PLAIN, batch="max_entries = 20")
    await agent.start()
    await until_arrived(agent, loki, {str(log): lines[:200]})
    loki.faults = FaultPlan.random(4, share=1.0, kinds=codes)
    before, since = loki.pushes, time.monotonic()
    for start in range(200, 600, 100):
        append(log, lines[start : start + 100])
        await loki.wait_for(lambda there, at=loki.pushes: there.pushes >= at + 3, WAIT_S)
    tried, lasted_s = loki.pushes - before, time.monotonic() - since
    # Pauses of up to 20 ms, 40 ms … 500 ms, each 250 ms on average in the end; one request at a time.
    assert tried < 20 + 20 * lasted_s
    assert (await agent.metrics())["consecutive_failures"] > 0
    loki.faults = FaultPlan()
    await until_arrived(agent, loki, {str(log): lines})
    assert loki.repeats == 0


# --- refused for good ----------------------------------------------------------------------------------------------


async def test_t92_ten_of_three_hundred_too_far_behind_are_dead_letters_and_the_rest_is_sent_once(
    tmp_path: Path, loki: LokiStandIn, launch: Launch
) -> None:
    log = tmp_path / "app.log"
    now = time.time()
    first = f'{{"timestamp": {now:.3f}, "newest": true}}'.encode()
    late = set(range(15, 300, 30))
    # All within an hour, or they would not go together; ten of them more than an hour before the newest.
    lines = [
        f'{{"timestamp": {now - (3700 if n in late else 3000) + n / 1000:.3f}, "seq": {n}}}'.encode()
        for n in range(300)
    ]
    agent = launch(loki.url, str(log), redact=PLAIN)
    await agent.start()
    append(log, [first])
    await loki.wait_for(lambda there: there.accepted >= 1, WAIT_S)
    append(log, lines)
    await loki.wait_for(lambda there: there.accepted >= 291, WAIT_S)
    seen = await agent.until(lambda seen: seen["waiting_entries"] == 0)
    assert stored(loki) == {str(log): [first, *(line for n, line in enumerate(lines) if n not in late)]}
    assert sorted(each["line"] for each in letters(agent)) == sorted(lines[n].decode() for n in late)
    assert {each["reason"] for each in letters(agent)} == {"too_far_behind"}
    assert seen["dropped_entries_total"] == len(late)
    assert_nothing_is_unaccounted(seen)
    assert loki.pushes == 2, "ten are as many as a reply lists, so none is sent again"
    append(log, [f'{{"timestamp": {now + 1:.3f}, "after": 1}}'.encode()])
    await loki.wait_for(lambda there: there.accepted >= 292, WAIT_S)


class RefusesWholeBodies(LokiStandIn):
    """Answers 400 to a request with the word POISON in it, in words no agent knows, and stores nothing of it."""

    def _store(self, tenant: str, pushes: list[wire.Push]) -> Reply:
        if any(b"POISON" in line for push in pushes for line in push.lines):
            return 400, "something in there is not to our taste"
        return super()._store(tenant, pushes)


async def test_t93_one_poison_entry_is_found_by_halving(tmp_path: Path, launch: Launch) -> None:
    log = tmp_path / "app.log"
    lines = numbered("line", 500, size=50)
    poison = b"POISON " + lines[321]
    append(log, [*lines[:321], poison, *lines[321:]])
    async with RefusesWholeBodies(limits=Limits.without_rates()) as loki:
        agent = launch(loki.url, str(log), redact=PLAIN)
        await agent.start()
        await loki.wait_for(lambda there: there.accepted >= 500, WAIT_S)
        seen = await agent.until(lambda seen: seen["waiting_entries"] == 0)
        assert not difference({str(log): lines}, stored(loki))
        assert [each["line"] for each in letters(agent)] == [poison.decode()]
        assert seen["dropped_entries_total"] == 1
        assert_nothing_is_unaccounted(seen)
        assert loki.pushes <= 2 * math.ceil(math.log2(501)) + 1


@pytest.mark.parametrize(("limit", "too_long"), [(1_000_000, 0), (2000, 1)], ids=["1 MB", "2 kB"])
async def test_t94_a_413_is_sent_in_pieces_and_what_is_too_large_alone_is_a_dead_letter(
    tmp_path: Path, launch: Launch, limit: int, too_long: int
) -> None:
    log = tmp_path / "app.log"
    lines = numbered("line", 1500) if limit > 10_000 else numbered("line", 40, size=300)
    giants = numbered("giant", too_long, size=5000)
    append(log, [*lines[:20], *giants, *lines[20:]])
    async with LokiStandIn(limits=Limits(tenant_rate=None, stream_rate=None, max_wire_bytes=limit)) as loki:
        agent = launch(loki.url, str(log), redact=PLAIN, batch='max_bytes = "3MiB"')
        await agent.start()
        await loki.wait_for(lambda there: there.accepted >= len(lines), WAIT_S)
        seen = await agent.until(lambda seen: seen["waiting_entries"] == 0)
        assert any(each.status == 413 for each in loki.requests)
        assert not difference({str(log): lines}, stored(loki))
        assert [each["line"].encode() for each in letters(agent)] == giants
        assert seen.get("dropped_entries_total", 0) == too_long
        assert_nothing_is_unaccounted(seen)


# --- for an operator to mend ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [401, 403, 404])
async def test_t95_a_refusal_that_an_operator_must_mend_holds_everything_and_is_told(
    tmp_path: Path, loki: LokiStandIn, launch: Launch, code: int
) -> None:
    log = tmp_path / "app.log"
    lines = numbered("line", 300)
    append(log, lines[:100])
    loki.faults = FaultPlan.always(Status(code, "no"))
    agent = launch(loki.url, str(log), redact=PLAIN)
    await agent.start()
    seen = await agent.until(lambda seen: seen["delivery_held"] == 1, WAIT_S)
    append(log, lines[100:])
    seen = await agent.until(lambda seen: seen["waiting_entries"] == len(lines), WAIT_S)
    assert_nothing_is_unaccounted(seen)
    assert await health(agent) == "degraded"
    assert str(code) in await agent.status()
    assert f"Loki answers {code}" in agent.errors()
    loki.faults = FaultPlan()
    await until_arrived(agent, loki, {str(log): lines})
    assert await health(agent) == "healthy"
    assert letters(agent) == []


class AsksForAToken(LokiStandIn):
    """401 unless the right token comes along."""

    token = "right"

    async def _push(self, request: aiohttp.web.Request) -> aiohttp.web.StreamResponse:
        if request.headers.get("Authorization") != f"Bearer {self.token}":
            return aiohttp.web.Response(status=401, text="no")
        return await super()._push(request)


async def test_t95_a_token_that_is_renewed_on_disk_is_used_without_a_restart(tmp_path: Path, launch: Launch) -> None:
    log, token = tmp_path / "app.log", tmp_path / "token"
    lines = numbered("line", 100)
    append(log, lines)
    token.write_text("wrong\n")
    token.chmod(0o600)
    async with AsksForAToken(limits=Limits.without_rates()) as loki:
        agent = launch(loki.url, str(log), redact=PLAIN, loki=f'bearer_token = {{ file = "{token}" }}')
        await agent.start()
        await agent.until(lambda seen: seen["delivery_held"] == 1, WAIT_S)
        assert loki.accepted == 0
        token.write_text("right\n")
        await until_arrived(agent, loki, {str(log): lines})
