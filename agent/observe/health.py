"""Is the agent alive, is it ready: decided from facts.

Alive: the loops made progress lately, or wait for something outside (a full buffer, Loki). Ready: configuration valid,
state locked, first scan done. Neither depends on Loki being up or on files existing.
"""

from __future__ import annotations

from dataclasses import dataclass

STUCK_AFTER_S = 120.0


@dataclass(frozen=True, slots=True)
class Facts:
    """What health is judged by.

    collect_age_s:    since `collect` last finished a turn.
    collect_waits:    it waits for room in the buffer, or on the disk.
    first_scan_done:  every source has been looked at once.
    held:             why Loki gets nothing at the moment, in words for people; None when it does.
    """

    collect_age_s: float
    collect_waits: bool
    first_scan_done: bool
    stopping: bool
    held: str | None


def alive(facts: Facts) -> bool:
    return facts.collect_waits or facts.stopping or facts.collect_age_s < STUCK_AFTER_S


def ready_checks(facts: Facts) -> dict[str, bool]:
    """Each condition of readiness by name. Being asked at all means configuration and state lock are fine."""
    return {
        "configuration": True,
        "state": True,
        "first_scan": facts.first_scan_done,
        "running": not facts.stopping,
    }


def status(facts: Facts) -> str:
    """One word for `/health`: healthy, degraded (Loki takes nothing, lines wait safely) or stuck."""
    if not alive(facts):
        return "stuck"
    return "degraded" if facts.held is not None or facts.collect_waits else "healthy"
