"""How long to wait: after failures, and between records of one stream."""

from __future__ import annotations

from collections.abc import Callable

from agent.config import Retry


class Backoff:
    """random: uniform in 0..1. Delays in seconds; `failures` counts from 1."""

    def __init__(self, settings: Retry, random: Callable[[], float]) -> None:
        self._first_s = settings.first_delay
        self._max_s = settings.max_delay
        self._random = random

    def jittered(self, failures: int) -> float:
        """Exponential with full jitter: anything between now and the ceiling, so that many agents spread evenly."""
        # The exponent is bounded, or a number too large for a float comes out after a day of failures.
        return self._random() * min(self._max_s, self._first_s * 2.0 ** min(failures - 1, 32))

    def slow(self, _: int) -> float:
        """For what only an operator can mend: the upper half of the longest delay."""
        return self._max_s * (0.5 + self._random() / 2)


class Pace:
    """At most `bytes_per_s` of line bytes in each group, on average; a record goes whole. 0 is no limit."""

    _FORGET_ABOVE = 4096

    def __init__(self, bytes_per_s: int) -> None:
        self._bytes_per_s = bytes_per_s
        self._free_at_s: dict[str, float] = {}

    def delay_s(self, group: str, line_bytes: int, now_s: float) -> float:
        """How long the next record of the group has to wait. Counts it as sent."""
        if not self._bytes_per_s:
            return 0.0
        if len(self._free_at_s) > self._FORGET_ABOVE:
            self._free_at_s = {group: at_s for group, at_s in self._free_at_s.items() if at_s > now_s}
        start_s = max(now_s, self._free_at_s.get(group, now_s))
        self._free_at_s[group] = start_s + line_bytes / self._bytes_per_s
        return start_s - now_s
