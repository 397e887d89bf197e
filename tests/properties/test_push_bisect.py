"""Whatever the poison, dividing a body delivers exactly the rest, in order."""

import asyncio
import math
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from agent import config, wire
from agent.model import Body, Record, StreamClock
from agent.push.dead_letters import DeadLetter
from agent.push.pusher import Outcome, Pusher
from agent.push.reply import Reply

LABELS = '{host="h"}'


class PickyLoki:
    """Refuses any request with poison in it, or stores what is good of it, as told."""

    def __init__(self, poison: set[int], refusal: Reply, *, keeps_the_rest: bool) -> None:
        self.poison = poison
        self.refusal = refusal
        self.keeps_the_rest = keeps_the_rest
        self.stored: dict[int, None] = {}
        self.requests = 0

    async def post(self, encoding: str, payload: bytes) -> Reply:
        self.requests += 1
        push = wire.decode(encoding, payload)
        assert push.labels == LABELS
        good = [ns for ns in push.timestamps_ns if ns not in self.poison]
        whole = len(good) == len(push.timestamps_ns)
        if whole or self.keeps_the_rest:
            self.stored |= dict.fromkeys(good)
        return Reply(204, "") if whole else self.refusal


class Graveyard:
    def __init__(self) -> None:
        self.rows: list[DeadLetter] = []

    async def add(self, rows: Sequence[DeadLetter]) -> None:
        self.rows += rows


REFUSALS = st.sampled_from(
    [
        (Reply(400, "couldn't parse labels: 1:3"), False),
        (Reply(500, "label name is empty"), False),
        (Reply(413, ""), False),
        (Reply(400, "max entry size '9' bytes exceeded for stream '{}'"), True),
        (Reply(400, "entry for stream '{}' has timestamp too new: 2040"), True),
    ]
)


@given(st.data(), st.integers(1, 60), REFUSALS, st.sampled_from([wire.PROTOBUF, wire.JSON]))
def test_exactly_the_others_are_delivered_in_order(
    data: st.DataObject, count: int, refusal: tuple[Reply, bool], encoding: str
) -> None:
    poison = data.draw(st.sets(st.integers(0, count - 1)))
    lines = [b"line %d" % n for n in range(count)]
    payload = wire.encode(encoding, LABELS, list(range(count)), lines, [b""] * count)
    line_bytes = sum(map(len, lines))
    body = Body(LABELS, payload, encoding, count, line_bytes, 0, count - 1, StreamClock(0, count - 1))
    loki, graves = PickyLoki(poison, refusal[0], keeps_the_rest=refusal[1]), Graveyard()
    push = Pusher(config.Loki(), loki, graves, lambda _: None, load=lambda _: (body,))

    outcome = asyncio.run(push(Record(1, "g", count, line_bytes, 0, 0, 0)))

    good = [n for n in range(count) if n not in poison]
    assert outcome == Outcome(len(good), len(poison), sum(len(lines[n]) for n in good))
    assert sorted(loki.stored) == good
    if not refusal[1]:
        assert list(loki.stored) == good
    assert [(row.timestamp_ns, row.line) for row in graves.rows] == [(n, lines[n]) for n in sorted(poison)]
    assert loki.requests <= 1 + 2 * len(poison) * math.ceil(math.log2(count) if count > 1 else 0)
