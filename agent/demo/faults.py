"""What can happen to a push on its way, and the plan that says when.

A plan answers one question per push, "what goes wrong with this one?", from a script, from seeded dice, or by stream. It
does nothing itself: `agent.demo.loki` acts it out.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from agent.demo.query import Query, parse_query


@dataclass(frozen=True, slots=True)
class Status:
    """Nothing is stored and this is the answer."""

    code: int
    text: str = ""
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Delay:
    """The push is handled, after a while."""

    seconds: float


@dataclass(frozen=True, slots=True)
class ResetBefore:
    """The connection is reset; nothing is stored."""


@dataclass(frozen=True, slots=True)
class ResetAfter:
    """Everything is stored, then the connection is reset without an answer."""


@dataclass(frozen=True, slots=True)
class HalfReply:
    """Everything is stored, the answer breaks off inside its headers."""


@dataclass(frozen=True, slots=True)
class SlowReply:
    """Everything is stored, the answer comes a byte per interval (a slow loris)."""

    interval_s: float = 0.1


@dataclass(frozen=True, slots=True)
class NeverRead:
    """The body is never read and no answer comes, until the client gives up or `seconds` have passed."""

    seconds: float = 3600.0


@dataclass(frozen=True, slots=True)
class Down:
    """Connections are reset, new ones refused, for so long (or until `LokiStandIn.up()`); nothing is stored."""

    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Partial:
    """The first part of each stream is stored, the answer is a refusal: a per-stream limit without sharding."""

    share: float = 0.5
    code: int = 429
    text: str = "Per stream rate limit exceeded"


Fault = Status | Delay | ResetBefore | ResetAfter | HalfReply | SlowReply | NeverRead | Down | Partial

# What a random plan does unless told: each of them passes, so every line still arrives.
PASSING: tuple[Fault, ...] = (
    Status(429, "ingestion rate limit exceeded for user fake"),
    Status(500, "rpc error: code = DeadlineExceeded desc = context deadline exceeded"),
    Status(503, "no healthy upstream", (("Retry-After", "0"),)),
    Delay(0.05),
    ResetBefore(),
    ResetAfter(),
    HalfReply(),
    SlowReply(0.001),
    Partial(),
)


class FaultPlan:
    """No faults; see `script`, `random`, `always` and `for_stream` for more."""

    def __init__(self) -> None:
        self._script: list[Fault | None] = []
        self._dice: random.Random | None = None
        self._share = 0.0
        self._kinds: list[Fault] = []
        self._weights: list[float] = []
        self._left: int | None = 0
        self._streams: list[tuple[Query, FaultPlan]] = []

    @classmethod
    def script(cls, faults: Iterable[Fault | None]) -> FaultPlan:
        """One after the other, one per push; None lets a push pass, and so does the end of the script."""
        plan = cls()
        plan._script = list(faults)
        return plan

    @classmethod
    def always(cls, fault: Fault) -> FaultPlan:
        """The same for every push, until `stop`."""
        return cls.random(0, share=1.0, kinds=(fault,))

    @classmethod
    def random(
        cls,
        seed: int,
        share: float = 0.3,
        kinds: Sequence[Fault] | Mapping[Fault, float] = PASSING,
        at_most: int | None = None,
    ) -> FaultPlan:
        """That share of pushes, chosen by dice of this seed. `kinds` may weigh; after `at_most` faults all is well."""
        plan = cls()
        weights = kinds if isinstance(kinds, Mapping) else dict.fromkeys(kinds, 1.0)
        plan._dice, plan._share, plan._left = random.Random(seed), share, at_most
        plan._kinds, plan._weights = list(weights), list(weights.values())
        return plan

    def for_stream(self, selector: str, faults: FaultPlan | Iterable[Fault | None]) -> FaultPlan:
        """Adds a plan for pushes whose first stream matches a LogQL selector; such pushes know no other. Returns self."""
        plan = faults if isinstance(faults, FaultPlan) else FaultPlan.script(faults)
        self._streams.append((parse_query(selector), plan))
        return self

    def stop(self) -> None:
        """All is well from now on."""
        self._script, self._dice, self._streams = [], None, []

    @property
    def needs_labels(self) -> bool:
        """Whether the stream must be known before the fault is."""
        return bool(self._streams)

    def next(self, labels: Mapping[str, str] | None = None) -> Fault | None:
        """The fate of the next push. `labels` are those of its first stream, when known."""
        for query, plan in self._streams:
            if labels is not None and query.takes_stream(labels):
                return plan.next(labels)
        if self._script:
            return self._script.pop(0)
        if self._dice is None or self._left == 0 or self._dice.random() >= self._share:
            return None
        if self._left is not None:
            self._left -= 1
        return self._dice.choices(self._kinds, self._weights)[0]
