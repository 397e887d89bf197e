"""The pusher against a Loki that keeps what it is sent and answers as told."""

import asyncio
import gc
import math
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from agent import config, wire
from agent.model import Body, Record, StreamClock
from agent.observe.events import EntriesRefused, Event, PushAccepted, PushFailed, PushHeld, PushRecovered
from agent.push.client import LokiClient, Unreachable
from agent.push.dead_letters import DeadLetter
from agent.push.pusher import HALVE_AFTER_LIMITED, PIECES_A_TURN, SUSPECT_AFTER, Outcome, Pusher
from agent.push.reply import Reply
from agent.secret import SecretMissing

OK = Reply(204, "")
RATE = Reply(429, "ingestion rate limit exceeded for user fake (limit: 1 bytes/sec)")
STREAM_RATE = Reply(429, "Per stream rate limit exceeded (limit: 3MB/sec) while attempting to ingest for stream '{}'")
POISON = Reply(500, "label name is empty\n")
START_NS = 1_735_787_045_000_000_000

Answer = Reply | Unreachable | SecretMissing
Rule = Callable[[wire.Push], Answer]


class FakeLoki:
    """`script` answers come first, then `rule` decides. Entries of an accepted push are kept, each once."""

    def __init__(self, *script: Answer, rule: Rule = lambda _: OK) -> None:
        self.script = list(script)
        self.rule = rule
        self.payloads: list[bytes] = []
        self.pushes: list[wire.Push] = []
        self.stored: dict[tuple[str, int, bytes, bytes], None] = {}
        self.now = self.most = 0

    async def post(self, encoding: str, payload: bytes) -> Reply:
        self.now += 1
        self.most = max(self.most, self.now)
        await asyncio.sleep(0)
        self.now -= 1
        push = wire.decode(encoding, payload)
        self.payloads.append(payload)
        self.pushes.append(push)
        answer = self.script.pop(0) if self.script else self.rule(push)
        if isinstance(answer, Exception):
            raise answer
        if answer.status == 204:
            self.store(push)
        return answer

    def store(self, push: wire.Push, *, but: Sequence[int] = ()) -> None:
        for at, (ns, line, meta) in enumerate(zip(push.timestamps_ns, push.lines, push.metadata, strict=True)):
            if at not in but:
                self.stored[push.labels, ns, line, meta] = None

    @property
    def lines(self) -> list[bytes]:
        return [line for _, _, line, _ in self.stored]

    @property
    def sizes(self) -> list[int]:
        return [len(push.lines) for push in self.pushes]


class FakeGraveyard:
    def __init__(self) -> None:
        self.rows: list[DeadLetter] = []
        self.failures = 0

    async def add(self, rows: Sequence[DeadLetter]) -> None:
        if self.failures:
            self.failures -= 1
            raise OSError(28, "No space left on device")
        self.rows += rows


class Rig:
    """A pusher whose sleeps take no time and are noted."""

    def __init__(self, loki: FakeLoki, **settings: object) -> None:
        self.loki = loki
        self.graves = FakeGraveyard()
        self.events: list[Event] = []
        self.slept: list[float] = []
        self.now_s = 0.0
        self.loads: list[int] = []
        self.at_hand: dict[int, tuple[Body, ...]] = {}
        self.noted: list[tuple[int, int, int]] = []
        self.records: dict[int, tuple[Body, ...]] = {}
        self.push = Pusher(
            config.Loki(**settings),
            loki,
            self.graves,
            self.events.append,
            load=self._load,
            at_hand=lambda record: self.at_hand.pop(record.sequence, None),
            note=lambda record, bodies, refused: self.noted.append((record.sequence, bodies, refused)),
            random=lambda: 1.0,
            sleep=self._sleep,
            clock=lambda: self.now_s,
            wall=lambda: 1e9 + self.now_s,
        )

    def record(self, *bodies: Body, group: str = "g") -> Record:
        sequence = len(self.records) + 1
        self.records[sequence] = bodies
        return Record(sequence, group, sum(b.entries for b in bodies), sum(b.line_bytes for b in bodies), 0, 0, 0)

    def counted(self, kind: type[Event]) -> int:
        return sum(isinstance(event, kind) for event in self.events)

    def _load(self, record: Record) -> tuple[Body, ...]:
        self.loads.append(record.sequence)
        return self.records[record.sequence]

    async def _sleep(self, delay_s: float) -> None:
        self.slept.append(delay_s)
        self.now_s += delay_s
        await asyncio.sleep(0)


def body(count: int, *, labels: str = '{host="h"}', encoding: str = wire.PROTOBUF, first: int = 0) -> Body:
    stamps = [START_NS + n for n in range(first, first + count)]
    lines = [b"line %d" % n for n in range(first, first + count)]
    metadata = [wire.encode_metadata([(b"id", b"%d" % n)]) if n % 2 else b"" for n in range(first, first + count)]
    return Body(
        labels=labels,
        payload=wire.encode(encoding, labels, stamps, lines, metadata),
        encoding=encoding,
        entries=count,
        line_bytes=sum(map(len, lines)),
        oldest_ns=stamps[0],
        newest_ns=stamps[-1],
        clock=StreamClock(stamps[-1], stamps[-1]),
    )


def expected(*numbers: int) -> list[bytes]:
    return [b"line %d" % n for n in numbers]


# --- accepted ------------------------------------------------------------------------------------------------------


async def test_what_is_at_hand_is_sent_without_a_look_at_the_disk_and_once() -> None:
    rig = Rig(FakeLoki(Reply(503, ""), OK))
    record = rig.record(body(3))
    rig.at_hand[record.sequence] = rig.records[record.sequence]
    assert (await rig.push(record)).delivered_entries == 3
    assert rig.loads == [record.sequence]  # by the second attempt
    assert len(rig.slept) == 1


async def test_an_accepted_record_is_sent_once_as_it_is() -> None:
    rig = Rig(FakeLoki())
    sent = body(3)
    assert await rig.push(rig.record(sent)) == Outcome(3, 0, sent.line_bytes)
    assert rig.loki.payloads == [sent.payload]
    assert rig.slept == []
    assert [event for event in rig.events if isinstance(event, PushAccepted)] == [PushAccepted(3, sent.line_bytes)]
    statistics = rig.push.statistics()
    assert (statistics.in_flight, statistics.sleeping, statistics.consecutive_failures, statistics.held) == (
        0,
        0,
        0,
        None,
    )
    assert statistics.last_success_epoch_s == 1e9


async def test_the_bodies_of_a_record_go_in_order_from_one_load() -> None:
    rig = Rig(FakeLoki())
    first, second = body(2, labels='{a="1"}'), body(3, labels='{a="2"}')
    assert await rig.push(rig.record(first, second)) == Outcome(5, 0, first.line_bytes + second.line_bytes)
    assert rig.loki.payloads == [first.payload, second.payload]
    assert rig.loads == [1]


async def test_a_record_without_bodies_is_done_at_once() -> None:
    rig = Rig(FakeLoki())
    assert await rig.push(rig.record()) == Outcome(0, 0, 0)
    assert rig.loki.payloads == []


# --- again ---------------------------------------------------------------------------------------------------------


async def test_errors_are_outlasted_with_the_same_bytes_and_growing_pauses() -> None:
    rig = Rig(FakeLoki(*[Reply(500, "empty ring")] * 5))
    sent = body(3)
    assert (await rig.push(rig.record(sent))).delivered_entries == 3
    assert rig.loki.payloads == [sent.payload] * 6
    assert rig.slept == [0.5, 1.0, 2.0, 4.0, 8.0]
    assert rig.counted(PushFailed) == 5
    assert [event for event in rig.events if isinstance(event, PushRecovered)] == [PushRecovered(5, 15.5)]


async def test_a_thousand_failures_do_not_make_it_give_up() -> None:
    rig = Rig(FakeLoki(*[Unreachable("connect", "refused")] * 1000))
    assert (await rig.push(rig.record(body(3)))).delivered_entries == 3
    assert max(rig.slept) == 30.0


async def test_a_lost_reply_repeats_the_same_bytes_which_loki_has_already() -> None:
    loki = FakeLoki(Unreachable("reset", "Server disconnected"))
    rig = Rig(loki)
    sent = body(3)
    loki.store(wire.decode(sent.encoding, sent.payload))  # stored, though the reply never came
    assert (await rig.push(rig.record(sent))).delivered_entries == 3
    assert loki.payloads == [sent.payload] * 2
    assert loki.lines == expected(0, 1, 2)


async def test_bytes_are_loaded_for_each_attempt() -> None:
    rig = Rig(FakeLoki(RATE, RATE))
    await rig.push(rig.record(body(3)))
    assert rig.loads == [1, 1, 1]


async def test_no_bytes_are_held_during_a_pause() -> None:
    rig = Rig(FakeLoki(RATE, Reply(503, ""), Reply(401, ""), Unreachable("reset", "")))
    rig.loki.payloads = FullOfHoles()
    record = rig.record(body(3))
    (kept,) = rig.records.pop(record.sequence)
    payload = kept.payload
    del kept
    rig.push._load = lambda _: (replace(body(3), payload=payload),)
    pauses = 0

    async def sleep(_: float) -> None:
        nonlocal pauses
        pauses += 1
        gc.collect()  # the fake's exception and its frame hold each other
        while sys.getrefcount(payload) > alone:  # a worker thread may still be about to let go
            await asyncio.sleep(0)

    rig.push._sleep = sleep
    alone = sys.getrefcount(payload)
    await rig.push(record)
    assert pauses == 4


class FullOfHoles(list[bytes]):
    """Keeps nothing."""

    def append(self, _: bytes) -> None:
        return


async def test_over_a_real_connection_a_lost_reply_costs_nothing() -> None:
    received: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        size = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        received.append(await reader.readexactly(size))
        if len(received) > 1:
            writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    settings = config.Loki(url=f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    sent = body(3)
    async with server, LokiClient(settings) as client:
        rig = Rig(FakeLoki())
        rig.push._client = client
        assert (await rig.push(rig.record(sent))).delivered_entries == 3
    assert received == [sent.payload] * 2


async def test_retry_after_is_waited_for_when_it_is_longer() -> None:
    rig = Rig(FakeLoki(Reply(503, "", 7.0), Reply(503, "", 0.1)))
    await rig.push(rig.record(body(1)))
    assert rig.slept == [7.0, 1.0]


async def test_a_body_sent_before_a_failure_of_the_next_is_not_sent_again() -> None:
    rig = Rig(FakeLoki(OK, Reply(503, "")))
    first, second = body(2, labels='{a="1"}'), body(3, labels='{a="2"}')
    await rig.push(rig.record(first, second))
    assert rig.loki.payloads == [first.payload, second.payload, second.payload]


async def test_cancelling_leaves_nothing_behind() -> None:
    rig = Rig(FakeLoki(rule=lambda _: Reply(503, "")))
    task = asyncio.create_task(rig.push(rig.record(body(3))))
    while len(rig.loki.payloads) < 10:
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (rig.push.statistics().in_flight, rig.push.statistics().sleeping) == (0, 0)
    rig.loki.rule = lambda _: OK
    assert (await rig.push(rig.record(body(3)))).delivered_entries == 3


# --- held ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer",
    [
        Reply(401, "no org id"),
        Reply(403, ""),
        Reply(404, "404 page not found"),
        Reply(260, "ingestion blocked for user 'fake' until '2040' with status code '260'"),
        Reply(307, ""),
        Reply(400, "tenant ID is too long: max 150 characters"),
        Unreachable("tls", "certificate has expired"),
        SecretMissing("file /run/token is not there: create it"),
    ],
)
async def test_what_an_operator_must_mend_holds_everything_loudly_and_then_goes_on(answer: Answer) -> None:
    rig = Rig(FakeLoki(answer, answer))
    told: list[str | None] = []
    rig.loki.rule = lambda _: (told.append(rig.push.statistics().held), OK)[1]
    sent = body(3)
    assert (await rig.push(rig.record(sent))).delivered_entries == 3
    assert rig.loki.payloads == [sent.payload] * 3
    assert rig.slept == [30.0, 30.0]
    assert rig.counted(PushHeld) == 2
    assert told[0] is not None
    assert rig.push.statistics().held is None


async def test_the_held_text_names_the_status_and_the_setting() -> None:
    rig = Rig(FakeLoki(Reply(401, "no org id")))
    told: list[str | None] = []
    rig.loki.rule = lambda _: (told.append(rig.push.statistics().held), OK)[1]
    await rig.push(rig.record(body(1)))
    assert told == ["Loki answers 401: no org id (check loki.basic_auth, loki.bearer_token and loki.tenant_id)"]


async def test_dead_letters_that_cannot_be_written_hold_the_record() -> None:
    rig = Rig(FakeLoki(rule=lambda _: POISON))
    rig.graves.failures = 2
    assert await rig.push(rig.record(body(1))) == Outcome(0, 1, 0)
    assert len(rig.loki.payloads) == 3
    assert len(rig.graves.rows) == 1
    held = next(event for event in rig.events if isinstance(event, PushHeld))
    assert "No space left" in held.advice


# --- too large, limited --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", [wire.PROTOBUF, wire.JSON])
async def test_a_body_that_is_too_large_goes_in_pieces_in_order(encoding: str) -> None:
    rig = Rig(FakeLoki(rule=lambda push: OK if len(push.lines) <= 3 else Reply(413, "request body too large")))
    sent = body(20, encoding=encoding)
    assert await rig.push(rig.record(sent)) == Outcome(20, 0, sent.line_bytes)
    assert rig.loki.lines == expected(*range(20))
    assert rig.graves.rows == []


async def test_the_grpc_limit_of_an_ingester_is_a_413() -> None:
    too_large = Reply(
        500, "rpc error: code = ResourceExhausted desc = grpc: received message larger than max (9 vs. 4)"
    )
    rig = Rig(FakeLoki(rule=lambda push: OK if len(push.lines) <= 5 else too_large))
    assert (await rig.push(rig.record(body(20)))).delivered_entries == 20
    assert rig.slept == []


async def test_a_single_entry_that_is_too_large_becomes_a_dead_letter() -> None:
    rig = Rig(FakeLoki(rule=lambda push: Reply(413, "too large") if b"line 2" in push.lines else OK))
    sent = body(5)
    assert await rig.push(rig.record(sent)) == Outcome(4, 1, sent.line_bytes - len(b"line 2"))
    (row,) = rig.graves.rows
    assert (row.reason, row.line, row.timestamp_ns) == ("request_body_too_large", b"line 2", START_NS + 2)


async def test_a_request_limited_four_times_is_halved() -> None:
    rig = Rig(FakeLoki(rule=lambda push: OK if len(push.lines) <= 4 else RATE))
    assert (await rig.push(rig.record(body(16)))).delivered_entries == 16
    assert rig.loki.sizes == [16] * HALVE_AFTER_LIMITED + ([8] * HALVE_AFTER_LIMITED + [4, 4]) * 2
    assert rig.loki.lines == expected(*range(16))


async def test_a_single_entry_that_is_limited_is_never_given_up() -> None:
    rig = Rig(FakeLoki(*[RATE] * 50))
    assert await rig.push(rig.record(body(1))) == Outcome(1, 0, 6)


async def test_rate_limited_entries_listed_in_a_400_are_not_given_up() -> None:
    rig = Rig(
        FakeLoki(Reply(400, STREAM_RATE.body + "; entry too far behind, total ignored: 3 out of 3 for stream: {}"))
    )
    assert await rig.push(rig.record(body(3))) == Outcome(3, 0, 18)


# --- refused -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("answer", [POISON, Reply(400, "snappy: corrupt input"), Reply(400, "what?"), Reply(422, "")])
@pytest.mark.parametrize("poison", [0, 1, 100, 255])
async def test_one_poison_entry_is_found_with_few_requests(answer: Reply, poison: int) -> None:
    culprit = b"line %d" % poison
    rig = Rig(FakeLoki(rule=lambda push: answer if culprit in push.lines else OK))
    sent = body(256)
    assert await rig.push(rig.record(sent)) == Outcome(255, 1, sent.line_bytes - len(culprit))
    assert len(rig.loki.payloads) <= 1 + 2 * math.log2(256)
    assert rig.loki.lines == expected(*(n for n in range(256) if n != poison))
    (row,) = rig.graves.rows
    assert (row.line, row.labels, row.timestamp_ns) == (culprit, '{host="h"}', START_NS + poison)
    assert [event for event in rig.events if isinstance(event, EntriesRefused)] == [
        EntriesRefused(row.reason, 1, row.message)
    ]


def far_behind(push: wire.Push, refused: Sequence[int], *, listed: int = 10, judged: int | None = None) -> Reply:
    """The words of an ingester (Loki 3.7, pkg/ingester/instance.go)."""
    parts = []
    for at in refused[:listed]:
        seconds, nanos = divmod(push.timestamps_ns[at], 10**9)
        fraction = f".{nanos:09d}".rstrip("0").rstrip(".")
        when = f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S}{fraction} +0000 UTC"
        parts.append(f"entry with timestamp {when} ignored, reason: 'entry too far behind, entry timestamp is: …',\n")
    total = len(push.lines) if judged is None else judged
    return Reply(400, "".join(parts) + f"user 'fake', total ignored: {len(refused)} out of {total} for stream: {{}}")


def refusing(loki: FakeLoki, bad: frozenset[bytes], **words: int) -> Rule:
    """Stores all but the bad entries and says so."""

    def rule(push: wire.Push) -> Reply:
        refused = [at for at, line in enumerate(push.lines) if line in bad]
        loki.store(push, but=refused)
        return far_behind(push, refused, **words) if refused else OK

    return rule


async def test_entries_that_the_reply_lists_become_dead_letters_without_a_second_request() -> None:
    loki = FakeLoki()
    bad = frozenset(expected(*range(40, 50)))
    loki.rule = refusing(loki, bad)
    rig = Rig(loki)
    assert await rig.push(rig.record(body(300))) == Outcome(290, 10, body(300).line_bytes - 70)
    assert len(loki.payloads) == 1
    assert [row.line for row in rig.graves.rows] == expected(*range(40, 50))
    assert {row.reason for row in rig.graves.rows} == {"too_far_behind"}
    assert "line" not in rig.graves.rows[0].message


async def test_entries_that_the_reply_does_not_list_are_found_by_halving() -> None:
    loki = FakeLoki()
    bad = frozenset(expected(*range(0, 300, 23)))
    loki.rule = refusing(loki, bad)
    rig = Rig(loki)
    assert await rig.push(rig.record(body(300))) == Outcome(286, 14, body(300).line_bytes - sum(map(len, bad)))
    assert {row.line for row in rig.graves.rows} == bad
    assert len(loki.stored) == 286
    assert len(loki.payloads) < 10


async def test_a_reply_that_hides_other_refusals_is_not_taken_at_its_word() -> None:
    loki = FakeLoki()
    bad = frozenset(expected(1))
    loki.rule = refusing(loki, bad, judged=3)  # another check let only three entries come so far
    rig = Rig(loki)
    assert (await rig.push(rig.record(body(4)))).refused_entries == 1
    assert len(loki.payloads) > 1


async def test_entries_refused_for_several_reasons_keep_each_its_own() -> None:
    loki = FakeLoki()
    words = {0: "has timestamp too old", 1: "max entry size '9' bytes exceeded", 2: "max entry size '9' bytes exceeded"}

    def rule(push: wire.Push) -> Reply:
        told = Counter(words[int(line.split()[-1]) % 3] for line in push.lines)
        return Reply(
            400, "; ".join(f"{count} errors like: entry for stream '{{}}' {why}" for why, count in told.items())
        )

    loki.rule = rule
    rig = Rig(loki)
    assert await rig.push(rig.record(body(6))) == Outcome(0, 6, 0)
    reasons = Counter(row.reason for row in rig.graves.rows)
    assert reasons == {"greater_than_max_sample_age": 2, "line_too_long": 4}


async def test_a_refusal_that_counts_every_entry_needs_one_request() -> None:
    loki = FakeLoki()
    loki.rule = refusing(loki, frozenset(expected(*range(100))))
    rig = Rig(loki)
    assert await rig.push(rig.record(body(100))) == Outcome(0, 100, 0)
    assert len(loki.payloads) == 1
    assert len(rig.graves.rows) == 100
    assert rig.counted(PushAccepted) == 0
    assert rig.push.statistics().last_success_s is None


async def test_a_refused_stream_needs_one_request() -> None:
    rig = Rig(FakeLoki(rule=lambda _: Reply(400, "stream '{}' has label value too long: 'x'")))
    assert await rig.push(rig.record(body(100))) == Outcome(0, 100, 0)
    assert len(rig.loki.payloads) == 1
    assert {row.reason for row in rig.graves.rows} == {"label_value_too_long"}


async def test_words_without_a_count_are_followed_up() -> None:
    loki = FakeLoki()

    def rule(push: wire.Push) -> Reply:
        refused = [at for at, line in enumerate(push.lines) if line in expected(3, 4)]
        loki.store(push, but=refused)
        return Reply(400, "max entry size '9' bytes exceeded for stream '{}' while …") if refused else OK

    loki.rule = rule
    rig = Rig(loki)
    assert await rig.push(rig.record(body(8))) == Outcome(6, 2, 36)
    assert [row.line for row in rig.graves.rows] == expected(3, 4)


async def test_an_error_500_that_only_one_record_meets_is_halved_in_the_end_and_holds_nobody_up() -> None:
    culprit = b"line 2"
    rig = Rig(FakeLoki(rule=lambda push: Reply(500, "never heard of") if culprit in push.lines else OK))
    stuck = asyncio.create_task(rig.push(rig.record(body(4), group="stuck")))
    for number in range(200):
        await rig.push(rig.record(body(1, labels='{g="other"}', first=100 + number), group="other"))
    # All but the culprit came through; the culprit itself is never given up on an error 500.
    while not set(expected(0, 1)) <= set(rig.loki.lines):
        await rig.push(rig.record(body(1, labels='{g="other"}', first=99), group="other"))
    assert rig.graves.rows == []
    assert len(rig.loki.pushes) > SUSPECT_AFTER
    rig.loki.rule = lambda _: OK
    assert await stuck == Outcome(4, 0, 24)


# --- side by side --------------------------------------------------------------------------------------------------


async def test_a_limited_stream_does_not_hold_up_another() -> None:
    limited = True
    rig = Rig(FakeLoki(rule=lambda push: STREAM_RATE if limited and push.labels == '{g="slow"}' else OK))
    slow = asyncio.create_task(rig.push(rig.record(body(1, labels='{g="slow"}'), group="slow")))
    while not rig.slept:
        await asyncio.sleep(0)
    for _ in range(20):
        await rig.push(rig.record(body(1, labels='{g="fast"}'), group="fast"))
    assert not slow.done()
    limited = False
    assert (await slow).delivered_entries == 1


async def test_structured_metadata_that_is_disallowed_holds_its_stream_only() -> None:
    disallowed = Reply(400, "stream '{}' includes structured metadata, but this feature is disallowed. Please see …")
    forbidden = True
    rig = Rig(FakeLoki(rule=lambda push: disallowed if forbidden and push.labels == '{g="meta"}' else OK))
    meta = asyncio.create_task(rig.push(rig.record(body(2, labels='{g="meta"}'), group="meta")))
    while not rig.slept:
        await asyncio.sleep(0)
    await rig.push(rig.record(body(1, labels='{g="plain"}'), group="plain"))
    assert "allow_structured_metadata" in (rig.push.statistics().held or "")
    forbidden = False
    assert (await meta).delivered_entries == 2
    assert rig.push.statistics().held is None
    assert rig.graves.rows == []


async def test_no_more_requests_than_allowed_are_under_way() -> None:
    rig = Rig(FakeLoki(), max_in_flight=3)
    records = [rig.record(body(1, labels=f'{{g="{n}"}}'), group=str(n)) for n in range(50)]
    outcomes = await asyncio.gather(*map(rig.push, records))
    assert sum(outcome.delivered_entries for outcome in outcomes) == 50
    assert rig.loki.most == 3


async def test_an_outage_is_probed_by_one_request_at_a_time() -> None:
    rig = Rig(FakeLoki(*[Reply(503, "")] * 40), max_in_flight=4)
    most_while_down: list[int] = []

    def rule(_: wire.Push) -> Reply:
        return OK

    async def post(encoding: str, payload: bytes, original: Callable = rig.loki.post) -> Reply:
        if 4 <= len(rig.loki.payloads) < 40:
            most_while_down.append(rig.push.statistics().in_flight)
        return await original(encoding, payload)

    rig.loki.post = post
    rig.loki.rule = rule
    records = [rig.record(body(1, labels=f'{{g="{n}"}}'), group=str(n)) for n in range(100)]
    outcomes = await asyncio.gather(*map(rig.push, records))
    assert sum(outcome.delivered_entries for outcome in outcomes) == 100
    assert max(most_while_down) == 1
    assert len(rig.loki.payloads) == 140


async def test_a_stream_can_be_paced() -> None:
    rig = Rig(FakeLoki(), max_stream_rate=6)
    for number in range(3):
        await rig.push(rig.record(body(1, first=number)))
    assert rig.slept == [1.0, 1.0]


async def test_any_mixture_of_troubles_ends_with_every_entry_settled() -> None:
    troubles = [
        *(RATE, STREAM_RATE, Reply(500, "empty ring"), Reply(502, ""), Reply(401, ""), Reply(413, ""), Reply(260, "")),
        *(Unreachable("timeout", ""), Unreachable("connect", ""), Unreachable("dns", ""), Unreachable("reset", "")),
    ]
    rig = Rig(FakeLoki(*troubles * 20))
    records = [rig.record(body(8, labels=f'{{g="{n}"}}'), group=str(n)) for n in range(10)]
    outcomes = await asyncio.gather(*map(rig.push, records))
    assert sum(outcome.delivered_entries + outcome.refused_entries for outcome in outcomes) == 80
    assert len(rig.loki.stored) + len(rig.graves.rows) == 80
    by_stream = Counter(labels for labels, *_ in rig.loki.stored)
    for labels in by_stream:
        stamps = [ns for stream, ns, *_ in rig.loki.stored if stream == labels]
        assert stamps == sorted(stamps)


async def test_which_bodies_are_settled_is_noted_and_an_earlier_run_need_not_be_repeated() -> None:
    loki = FakeLoki()
    rig = Rig(loki)
    record = rig.record(*(body(2, labels=f'{{a="{number}"}}', first=10 * number) for number in range(3)))
    assert (await rig.push(record)).delivered_entries == 6
    assert rig.noted == [(1, 1, 0), (1, 2, 0)]
    loki.pushes.clear()
    outcome = await rig.push(replace(record, bodies_done=2, refused_before=1))
    assert [push.labels for push in loki.pushes] == ['{a="2"}']
    assert (outcome.delivered_entries, outcome.refused_entries) == (5, 1)


async def test_a_record_that_takes_many_requests_lets_the_others_through() -> None:
    loki = FakeLoki()
    loki.rule = refusing(loki, frozenset(b"line %d" % number for number in range(0, 1000, 2)))
    rig = Rig(loki, max_in_flight=1)
    long, short = rig.record(body(1000)), rig.record(body(1, labels='{a="other"}', first=1), group="other")
    outcome, _ = await asyncio.gather(rig.push(long), rig.push(short))
    assert (outcome.delivered_entries, outcome.refused_entries) == (500, 500)
    assert [push.labels for push in loki.pushes].index('{a="other"}') <= PIECES_A_TURN
    assert len(loki.pushes) > 100
