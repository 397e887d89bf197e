"""Sends a record until Loki has it or has refused it for good. No number of attempts makes it give up.

    accepted                      next piece
    some entries refused          these become dead letters; which they are is in the reply, or found by halving
    refused as a whole            halved until the entries to blame stand alone, which become dead letters
    too large, limited 4 times    halved
    failed, or not configured     the same bytes again: exponential back-off with full jitter, or Retry-After if longer

Each attempt loads the bytes, takes a turn at the gate and goes as far as it gets; before a pause everything is let go.
"""

from __future__ import annotations

import asyncio
import random as dice
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, assert_never

from tenacity import AsyncRetrying, RetryCallState, retry_if_result

from agent import config
from agent.model import Body, Record
from agent.observe.events import (
    BodySplit,
    Emit,
    EntriesRefused,
    PushAccepted,
    PushFailed,
    PushHeld,
    PushRecovered,
    PushReplied,
)
from agent.push.backoff import Backoff, Pace
from agent.push.client import Unreachable
from agent.push.dead_letters import DeadLetter
from agent.push.delivery import Delivery, Piece, entries_of, payload_of
from agent.push.gate import Gate
from agent.push.reply import (
    Accepted,
    Misconfigured,
    Partial,
    Reply,
    Scope,
    TooLarge,
    TryLater,
    Unacceptable,
    Verdict,
    classify,
    classify_no_reply,
    told,
)
from agent.secret import SecretMissing

HALVE_AFTER_LIMITED = 4
"""Refusals for a rate after which a request is halved: a token bucket never has room for more than its burst."""

SUSPECT_AFTER = 6
"""Failures in a row after which a request is halved, if Loki took others meanwhile: something about this one is at fault,
such as an error 500 that no rule knows or a proxy that cuts long requests off."""

PIECES_A_TURN = 16
"""Requests for one record after which it lets the others go first: of some it takes thousands to find whom Loki refused."""

TELL_RECOVERY_AFTER = 2
"""Failed rounds that make a recovery worth a message; single failures come and go."""

_CODES = frozenset(
    {200, 204, 260, 301, 302, 307, 308, 400, 401, 403, 404, 405, 408, 413, 422, 429, 499, 500, 502, 503, 504}
)


class Client(Protocol):
    async def post(self, encoding: str, payload: bytes) -> Reply:
        """Raises Unreachable, SecretMissing."""


class Graveyard(Protocol):
    """Where dead letters go."""

    async def add(self, rows: Sequence[DeadLetter]) -> None:
        """Returns when they are durable. Raises OSError."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a record: delivered + refused = its entries. delivered_bytes: of lines."""

    delivered_entries: int
    refused_entries: int
    delivered_bytes: int


@dataclass(frozen=True, slots=True)
class PushStatistics:
    """held: why delivery waits for an operator, None while it does not. Times are those of the clocks handed in."""

    in_flight: int
    sleeping: int
    consecutive_failures: int
    held: str | None
    last_success_s: float | None
    last_success_epoch_s: float | None


@dataclass(frozen=True, slots=True)
class _Answer:
    """A verdict and what to say of it. outcome: a word out of a small set. message: Loki's words, bounded."""

    verdict: Verdict
    outcome: str
    message: str


class Pusher:
    """Call it with a record; several calls may run at a time, one for each group.

    load:    the bodies of a record; it blocks and is run in a thread.
    at_hand: the same at once, where they are in memory.
    note:    told of a record how many of its first bodies are settled, and how many of their entries were refused.
    random:  uniform in 0..1.  sleep, clock: seconds.  wall: epoch seconds.
    """

    def __init__(
        self,
        settings: config.Loki,
        client: Client,
        dead_letters: Graveyard,
        emit: Emit,
        *,
        load: Callable[[Record], tuple[Body, ...]],
        at_hand: Callable[[Record], tuple[Body, ...] | None] = lambda _: None,
        note: Callable[[Record, int, int], None] = lambda _, __, ___: None,
        random: Callable[[], float] = dice.random,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._client = client
        self._dead_letters = dead_letters
        self._emit = emit
        self._load = load
        self._at_hand = at_hand
        self._note = note
        self._sleep = sleep
        self._clock = clock
        self._wall = wall
        self._backoff = Backoff(settings.retry, random)
        self._pace = Pace(settings.max_stream_rate)
        self._gate = Gate(settings.max_in_flight, sleep=sleep, clock=clock)
        self._sleeping = 0
        self._failures = 0
        self._held: dict[str, str] = {}
        self._last_success: tuple[float, float] | None = None

    async def __call__(self, record: Record) -> Outcome:
        """Returns when every entry of the record is stored or is a durable dead letter. May be cancelled at any moment;
        the record must then be sent again as a whole.

        Raises wire.BadBody for a body that has to be divided and cannot be read: a bug, for records are checksummed.
        """
        delay_s = self._pace.delay_s(record.group, record.line_bytes, self._clock())
        if delay_s > 0:
            await self._pause(delay_s)
        delivery = Delivery(record)
        # `_go_on` returns the pause it needs, rather than raising: an exception would keep the frames, and with them the
        # bytes, for as long as the pause lasts.
        pause_s = await self._go_on(delivery)
        if pause_s is not None:  # rarely: to make what tries again costs as much as a fifth of a request
            await self._pause(pause_s)
            again = AsyncRetrying(retry=retry_if_result(_is_unfinished), wait=_pause_asked_for, sleep=self._pause)
            await again(self._go_on, delivery)
        return Outcome(delivery.delivered_entries, delivery.refused_entries, delivery.delivered_bytes)

    def statistics(self) -> PushStatistics:
        success_s, epoch_s = self._last_success or (None, None)
        return PushStatistics(
            in_flight=self._gate.in_flight,
            sleeping=self._sleeping,
            consecutive_failures=self._failures,
            held=next(iter(self._held.values()), None),
            last_success_s=success_s,
            last_success_epoch_s=epoch_s,
        )

    async def _pause(self, delay_s: float) -> None:
        self._sleeping += 1
        try:
            await self._sleep(delay_s)
        finally:
            self._sleeping -= 1

    async def _go_on(self, delivery: Delivery) -> float | None:
        """One attempt: sends piece after piece while Loki takes them. Returns the pause it needs, None at the end."""
        async with self._gate.turn() as probe:
            bodies = self._at_hand(delivery.record)
            if bodies is None:
                bodies = await asyncio.to_thread(self._load, delivery.record)
            delivery.begin(bodies)
            for _ in range(PIECES_A_TURN):
                piece = delivery.next
                if piece is None:
                    return None
                body = bodies[piece.body]
                answer = await self._send(body, piece)
                pause_s = await self._act(delivery, body, piece, answer, probe=probe)
                if pause_s is not None:
                    return pause_s
        return 0.0 if delivery.next else None

    async def _send(self, body: Body, piece: Piece) -> _Answer:
        whole = piece.entries == body.entries
        payload = body.payload if whole else await asyncio.to_thread(payload_of, body, piece)
        began_s = self._clock()
        try:
            reply = await self._client.post(body.encoding, payload)
        except Unreachable as error:
            answer = _Answer(classify_no_reply(error.kind, str(error)), error.kind, told(str(error)))
        except SecretMissing as error:
            answer = _Answer(Misconfigured(str(error)), "secret", str(error))
        else:
            outcome = str(reply.status) if reply.status in _CODES else "other"
            verdict = classify(reply.status, reply.body, reply.retry_after_s, reply.words)
            answer = _Answer(verdict, outcome, told(reply.words))
        self._emit(PushReplied(answer.outcome, self._clock() - began_s, len(payload)))
        return answer

    async def _act(self, delivery: Delivery, body: Body, piece: Piece, answer: _Answer, *, probe: bool) -> float | None:
        """Does what the verdict asks for. Returns a pause, or None to go on at once."""
        match answer.verdict:
            case Accepted():
                self._reached(delivery)
                await self._settle(delivery, body, piece)
                return None
            case Partial() as partial:
                self._reached(delivery)
                return await self._act_on_partial(delivery, body, piece, partial, answer)
            case Unacceptable(reason) | TooLarge(reason):
                self._reached(delivery)
                if piece.entries > 1:
                    self._split(delivery, piece, reason)
                    return None
                return await self._refuse(delivery, body, piece, reason, answer)
            case TryLater() as later:
                self._failures += 1
                return self._try_later(delivery, piece, later, answer, probe=probe)
            case Misconfigured() as hold:
                self._failures += 1
                return self._hold(delivery, hold, answer, probe=probe)
            case _ as never:
                assert_never(never)

    # --- for good -------------------------------------------------------------------------------------------------

    async def _settle(self, delivery: Delivery, body: Body, piece: Piece, refused: Sequence[bytes] = ()) -> None:
        """Loki has the piece, but for the `refused` lines."""
        if piece.entries == body.entries:
            line_bytes = body.line_bytes
        else:
            line_bytes = sum(map(len, (await asyncio.to_thread(entries_of, body, piece)).lines))
        line_bytes -= sum(map(len, refused))
        delivery.settle(piece, delivered_bytes=line_bytes, refused=len(refused))
        if delivery.bodies_done > piece.body:
            self._note(delivery.record, delivery.bodies_done, delivery.refused_entries)
        if piece.entries > len(refused):
            self._last_success = (self._clock(), self._wall())
            self._emit(PushAccepted(piece.entries - len(refused), line_bytes))

    async def _act_on_partial(
        self, delivery: Delivery, body: Body, piece: Piece, partial: Partial, answer: _Answer
    ) -> float | None:
        """Loki stored the rest. To send halves again in search of the refused ones repeats only what it already has."""
        all_of_them = partial.whole or ((partial.refused or 0) >= piece.entries and not partial.mixed)
        if piece.entries == 1 or all_of_them:
            return await self._refuse(delivery, body, piece, partial.reason, answer)
        if partial.timestamps_ns is not None and partial.judged == piece.entries:
            push = await asyncio.to_thread(entries_of, body, piece)
            chosen = [at for at, ns in enumerate(push.timestamps_ns) if ns in partial.timestamps_ns]
            if len(chosen) == partial.refused:
                return await self._refuse(delivery, body, piece, partial.reason, answer, chosen)
        self._split(delivery, piece, partial.reason)
        return None

    async def _refuse(
        self,
        delivery: Delivery,
        body: Body,
        piece: Piece,
        reason: str,
        answer: _Answer,
        chosen: Sequence[int] | None = None,
    ) -> float | None:
        """Makes the chosen entries of a piece (all, by default) dead letters; the rest of it is stored.

        A dead letter that cannot be written holds the record: the piece goes again later and will be refused again.
        """
        push = await asyncio.to_thread(entries_of, body, piece)
        now_s = self._wall()
        rows = [
            DeadLetter(
                now_s, reason, answer.message, body.labels, push.timestamps_ns[at], push.lines[at], push.metadata[at]
            )
            for at in (range(piece.entries) if chosen is None else chosen)
        ]
        try:
            await self._dead_letters.add(rows)
        except OSError as error:
            advice = f"refused entries cannot be kept as dead letters: {error} (make room, or mend the directory)"
            return self._hold(delivery, Misconfigured(advice, "stream"), _Answer(answer.verdict, "dead_letters", ""))
        await self._settle(delivery, body, piece, [row.line for row in rows])
        self._emit(EntriesRefused(reason, len(rows), answer.message))
        return None

    def _split(self, delivery: Delivery, piece: Piece, reason: str) -> None:
        delivery.split(piece)
        self._emit(BodySplit(reason, piece.entries))

    def _reached(self, delivery: Delivery) -> None:
        """Loki answered with its judgement of the entries: it works, for this stream and for the others."""
        if self._gate.failures >= TELL_RECOVERY_AFTER:
            self._emit(PushRecovered(self._gate.failures, self._clock() - self._gate.closed_at_s))
        self._failures = 0
        self._held.pop("", None)
        self._held.pop(delivery.record.group, None)
        self._gate.succeeded()

    # --- again ----------------------------------------------------------------------------------------------------

    def _try_later(self, delivery: Delivery, piece: Piece, later: TryLater, answer: _Answer, *, probe: bool) -> float:
        piece.limited += later.limited
        piece.failures += 1
        suspect = not later.limited and piece.failures >= SUSPECT_AFTER and self._succeeded_since(piece.last_failure_s)
        piece.last_failure_s = self._clock()
        alone = self._is_alone(later.scope) or suspect
        delay_s = self._delay_s(delivery, later.retry_after_s, self._backoff.jittered, alone=alone, probe=probe)
        self._held.pop(_whom(delivery, later.scope), None)
        if piece.entries > 1 and (suspect or piece.limited >= HALVE_AFTER_LIMITED):
            self._split(delivery, piece, "suspect" if suspect else "rate_limited")
        self._emit(PushFailed(answer.outcome, answer.message, delay_s))
        return delay_s

    def _hold(self, delivery: Delivery, hold: Misconfigured, answer: _Answer, *, probe: bool = False) -> float:
        alone = self._is_alone(hold.scope)
        delay_s = self._delay_s(delivery, hold.retry_after_s, self._backoff.slow, alone=alone, probe=probe)
        self._held[_whom(delivery, hold.scope)] = hold.advice
        self._emit(PushHeld(answer.outcome, hold.advice, delay_s))
        return delay_s

    def _delay_s(
        self,
        delivery: Delivery,
        retry_after_s: float | None,
        backoff: Callable[[int], float],
        *,
        alone: bool,
        probe: bool,
    ) -> float:
        """The pause of this record. A failure that is not its own (`alone`) makes all the others wait as well."""

        def delay(failures: int) -> float:
            return max(backoff(failures), retry_after_s or 0.0)

        delivery.failures += 1
        if alone:
            return delay(delivery.failures)
        shared_s = self._gate.failed(delay, probe=probe)
        # A record that has failed for longer than Loki has waits for longer, without making the others wait for it.
        return shared_s if delivery.failures <= self._gate.failures else max(shared_s, delay(delivery.failures))

    def _is_alone(self, scope: Scope) -> bool:
        """A refusal of one stream shows that Loki works, so it opens the gate for the others."""
        if scope == "stream":
            self._gate.succeeded()
        return scope == "stream"

    def _succeeded_since(self, time_s: float) -> bool:
        return self._last_success is not None and self._last_success[0] > time_s


def _whom(delivery: Delivery, scope: Scope) -> str:
    """Key of `_held`: the group, or empty for all."""
    return delivery.record.group if scope == "stream" else ""


def _is_unfinished(pause_s: float | None) -> bool:
    return pause_s is not None


def _pause_asked_for(state: RetryCallState) -> float:
    """tenacity's wait: what the attempt returned, in seconds."""
    assert state.outcome is not None
    return float(state.outcome.result())
