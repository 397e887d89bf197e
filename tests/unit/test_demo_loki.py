"""The Loki stand-in as a server: what tests can ask of it, and every way in which it can fail."""

import asyncio
import io
import itertools
import json
import re
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from agent import wire
from agent.demo.faults import (
    Delay,
    Down,
    FaultPlan,
    HalfReply,
    NeverRead,
    Partial,
    ResetAfter,
    ResetBefore,
    SlowReply,
    Status,
)
from agent.demo.limits import SECOND_NS, Limits
from agent.demo.loki import LokiStandIn
from agent.demo.replies import journal_line
from agent.demo.store import StoredEntry

NOW = time.time_ns()
_HEADERS = wire.HTTP_HEADERS[wire.PROTOBUF]


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


def body(*lines: str, labels: str = '{job="j"}', start: int = 0) -> bytes:
    times = [NOW + start + n for n in range(len(lines))]
    return wire.encode(wire.PROTOBUF, labels, times, [line.encode() for line in lines], [b""] * len(lines))


async def push(
    session: aiohttp.ClientSession,
    loki: LokiStandIn,
    payload: bytes | io.BytesIO,
    timeout_s: float = 10,
    **headers: str,
) -> tuple[int, str]:
    timeout = aiohttp.ClientTimeout(total=timeout_s)
    url = f"{loki.url}/loki/api/v1/push"
    async with session.post(url, data=payload, headers={**_HEADERS, **headers}, timeout=timeout) as reply:
        return reply.status, await reply.text()


def lines(loki: LokiStandIn) -> list[bytes]:
    return [entry.line for entry in loki.entries()]


async def test_what_came_can_be_asked_for(session: aiohttp.ClientSession) -> None:
    async with LokiStandIn() as loki:
        first = body("a", "b", labels='{job="j", host="1"}')
        assert await push(session, loki, first) == (204, "")
        assert await push(session, loki, first) == (204, "")
        await push(session, loki, body("c", labels='{job="j", host="2"}'))
        assert (loki.accepted, loki.repeats, loki.pushes) == (3, 2, 3)
        assert loki.streams() == [f'{{host="{n}", job="j", service_name="j"}}' for n in (1, 2)]
        assert loki.entries({"host": "2"}) == [StoredEntry(loki.streams()[1], NOW, b"c", ())]
        assert loki.entries({"host": "3"}) == []
        one, two, three = loki.requests
        assert (one.status, one.entries, one.labels, one.fault) == (204, 2, ('{job="j", host="1"}',), "")
        assert one.digest == two.digest != three.digest
        assert one.headers["Content-Encoding"] == "snappy"


async def test_waiting_ends_with_the_push_that_was_waited_for(session: aiohttp.ClientSession) -> None:
    async with LokiStandIn() as loki, asyncio.TaskGroup() as tasks:
        waiting = tasks.create_task(loki.wait_for(lambda loki: loki.accepted >= 2))
        await push(session, loki, body("a"))
        assert not waiting.done()
        await push(session, loki, body("b", start=1))


async def test_waiting_in_vain_says_how_far_it_came(session: aiohttp.ClientSession) -> None:
    async with LokiStandIn() as loki:
        await push(session, loki, body("a"))
        with pytest.raises(TimeoutError, match="1 accepted, 0 repeats, 1 pushes"):
            await loki.wait_for(lambda loki: loki.accepted > 1, timeout_s=0.01)


async def test_a_listener_sees_entries_as_they_become_visible(session: aiohttp.ClientSession) -> None:
    async with LokiStandIn() as loki:
        heard: list[bytes] = []
        loki.on_entries = lambda _, entries: heard.extend(entry.line for entry in entries)
        assert loki.on_entries is not None
        for _ in range(2):
            await push(session, loki, body("a", "b"))
        assert heard == [b"a", b"b"]


async def test_tenants_are_kept_apart(session: aiohttp.ClientSession) -> None:
    async with LokiStandIn(limits=Limits(auth_enabled=True)) as loki:
        assert await push(session, loki, body("a")) == (401, "no org id\n")
        assert (await push(session, loki, body("a"), **{"X-Scope-OrgID": "one"}))[0] == 204
        assert (await push(session, loki, body("b"), **{"X-Scope-OrgID": "two"}))[0] == 204
        assert [entry.line for entry in loki.entries(tenant="one")] == [b"a"]
        assert loki.entries(tenant="three") == []
        assert len(loki.entries()) == 2
        asked = f"{loki.url}/loki/api/v1/query_range"
        async with session.post(asked, data={"query": '{job="j"}'}, headers={"X-Scope-OrgID": "two"}) as reply:
            (result,) = (await reply.json())["data"]["result"]
            assert result["values"] == [[str(NOW), "b"]]
        async with session.get(asked, params={"query": '{job="j"}'}) as reply:
            assert reply.status == 401


async def test_its_clock_is_an_argument(session: aiohttp.ClientSession) -> None:
    async with LokiStandIn(clock_ns=lambda: NOW + 8 * 24 * 3600 * SECOND_NS) as loki:
        status, text = await push(session, loki, body("old"))
        assert status == 400
        assert "timestamp too old" in text


# --- faults ---------------------------------------------------------------------------------------------------------


async def test_a_status_is_answered_and_nothing_stored(session: aiohttp.ClientSession) -> None:
    async with LokiStandIn(FaultPlan.script([Status(429, "slow", (("Retry-After", "7"),))])) as loki:
        async with session.post(f"{loki.url}/loki/api/v1/push", data=body("a"), headers=_HEADERS) as reply:
            assert (reply.status, await reply.text(), reply.headers["Retry-After"]) == (429, "slow\n", "7")
        assert lines(loki) == []
        assert (loki.requests[0].status, loki.requests[0].fault) == (429, "Status")


@pytest.mark.parametrize("headers", [{}, {"Connection": "close"}])
@pytest.mark.parametrize(
    ("fault", "stored"), [(ResetBefore(), []), (ResetAfter(), [b"a"]), (HalfReply(), [b"a"]), (Down(), [])]
)
async def test_a_broken_connection_leaves_what_it_says(session: aiohttp.ClientSession, fault, stored, headers) -> None:
    async with LokiStandIn(FaultPlan.script([fault])) as loki:
        with pytest.raises((aiohttp.ClientError, ConnectionError)):
            await push(session, loki, body("a"), **headers)
        assert lines(loki) == stored
        assert (loki.requests[0].status, loki.requests[0].fault) == (0, type(fault).__name__)
        await loki.up()
        assert await push(session, loki, body("a")) == (204, "")
        assert lines(loki) == [b"a"]


async def test_a_slow_reply_comes_in_the_end(session: aiohttp.ClientSession) -> None:
    async with LokiStandIn(FaultPlan.script([SlowReply(0.0001), SlowReply(0.0001)])) as loki:
        assert await push(session, loki, body("a")) == (204, "")
        status, text = await push(session, loki, wire.encode(wire.PROTOBUF, '{job="j"}', [0], [b"old"], [b""]))
        assert status == 400
        assert "timestamp too old" in text


async def test_a_reply_that_is_too_slow_was_stored_all_the_same(session: aiohttp.ClientSession) -> None:
    async with LokiStandIn(FaultPlan.script([SlowReply(60)])) as loki:
        with pytest.raises(TimeoutError):
            await push(session, loki, body("a"), timeout_s=0.1)
        assert lines(loki) == [b"a"]


async def test_a_delayed_push_is_stored_although_nobody_waits_for_it(session: aiohttp.ClientSession) -> None:
    async with LokiStandIn(FaultPlan.script([Delay(0.2)])) as loki:
        with pytest.raises(TimeoutError):
            await push(session, loki, body("a"), timeout_s=0.05)
        assert lines(loki) == []
        await loki.wait_for(lambda loki: loki.accepted == 1)


async def test_a_body_that_is_never_read_stops_its_sender(session: aiohttp.ClientSession) -> None:
    async with LokiStandIn(FaultPlan.always(NeverRead())) as loki:
        with pytest.raises(TimeoutError):
            await push(session, loki, io.BytesIO(b"x" * 50_000_000), timeout_s=0.1)
        assert loki.accepted == 0
        loki.faults.stop()
        assert await push(session, loki, body("a")) == (204, "")


async def test_a_part_is_stored_and_the_whole_refused(session: aiohttp.ClientSession) -> None:
    async with LokiStandIn(FaultPlan.script([Partial(0.5, 429, "ignored")])) as loki:
        payload = body("a", "b", "c")
        assert await push(session, loki, payload) == (429, "ignored\n")
        assert lines(loki) == [b"a"]
        assert await push(session, loki, payload) == (204, "")
        assert lines(loki) == [b"a", b"b", b"c"]
        assert loki.repeats == 1


async def test_down_refuses_connections_and_comes_back_on_its_port(session: aiohttp.ClientSession) -> None:
    async with LokiStandIn() as loki:
        url = loki.url
        await push(session, loki, body("a"))
        await loki.down()
        with pytest.raises((aiohttp.ClientError, ConnectionError)):
            await push(session, loki, body("b"))
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
        with socket.socket() as thief, pytest.raises(OSError, match="in use"):
            thief.bind(("127.0.0.1", int(url.rpartition(":")[2])))
        await loki.up()
        assert loki.url == url
        assert await push(session, loki, body("b")) == (204, "")


async def test_down_ends_by_itself_when_a_time_was_given(session: aiohttp.ClientSession) -> None:
    async with LokiStandIn(FaultPlan.script([Down(0.01)])) as loki:
        for attempt in itertools.count():
            try:
                assert await push(session, loki, body("a")) == (204, "")
            except (aiohttp.ClientError, ConnectionError):
                assert attempt < 10_000
            else:
                break
        assert lines(loki) == [b"a"]


async def test_a_fault_may_meet_one_stream_only(session: aiohttp.ClientSession) -> None:
    plan = FaultPlan().for_stream('{job="bad"}', FaultPlan.always(Status(400, "no")))
    async with LokiStandIn(plan) as loki:
        for _ in range(2):
            assert (await push(session, loki, body("x", labels='{job="bad"}')))[0] == 400
            assert (await push(session, loki, body("y", labels='{job="good"}')))[0] == 204
        plan.for_stream('{job="hung"}', [NeverRead(0)])
        with pytest.raises((aiohttp.ClientError, ConnectionError)):
            await push(session, loki, body("z", labels='{job="hung"}'))
        assert (await push(session, loki, body("z", labels="{broken")))[0] == 400
        assert lines(loki) == [b"y"]


async def test_whatever_the_dice_do_a_client_that_retries_gets_everything_in_once(
    session: aiohttp.ClientSession,
) -> None:
    expected = [f"line {n}".encode() for n in range(300)]
    async with LokiStandIn(FaultPlan.random(11, share=0.5)) as loki:
        for n in range(0, 300, 10):
            await _push_until_taken(session, loki, body(*(f"line {m}" for m in range(n, n + 10)), start=n))
        assert lines(loki) == expected
        assert loki.repeats > 0
        assert len({seen.fault for seen in loki.requests}) > 5


async def _push_until_taken(session: aiohttp.ClientSession, loki: LokiStandIn, payload: bytes) -> None:
    while True:
        try:
            status, _ = await push(session, loki, payload)
        except (aiohttp.ClientError, ConnectionError):
            continue
        if status == 204:
            return


# --- as a process ---------------------------------------------------------------------------------------------------


async def test_the_process_prints_its_url_and_tells_what_it_holds(
    session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    journal = tmp_path / "journal"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "agent.demo.loki", "--journal", str(journal), "--no-rates"),
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    url = (await process.stdout.readline()).decode().strip()
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+", url)
    for labels in ('{job="a"}', '{job="b"}', '{job="b"}'):
        async with session.post(f"{url}/loki/api/v1/push", data=body("x", labels=labels), headers=_HEADERS) as reply:
            assert reply.status == 204
    async with session.get(f"{url}/test/counts") as reply:
        assert await reply.json() == {"accepted": 2, "repeats": 1, "pushes": 3, "streams": 2, "discarded": {}}
    async with session.get(f"{url}/test/entries", params={"job": "b"}) as reply:
        (entry,) = [json.loads(line) for line in (await reply.text()).splitlines()]
        assert (entry["labels"], entry["timestamp_ns"], entry["line"]) == (
            '{job="b", service_name="b"}',
            str(NOW),
            "x",
        )
    assert len(journal.read_text().splitlines()) == 2
    process.send_signal(signal.SIGTERM)
    assert await process.wait() == 0


def test_a_journal_line_keeps_bytes_that_are_no_text() -> None:
    fields = json.loads(journal_line(StoredEntry("{}", 1, b"a\xff", ((b"n", b"\xfe"),))))
    assert fields["line"].encode("utf-8", "surrogateescape") == b"a\xff"
    assert fields["metadata"]["n"].encode("utf-8", "surrogateescape") == b"\xfe"
