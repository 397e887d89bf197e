"""Every noteworthy happening, declared once: its message, its level and its counter.

A part that acts (never the pure core) is handed `emit` and calls it with one of these. `report.py` writes the message to
stderr, `metrics.py` adds to the counter. An event names the place (path, offset, count, reason), never the content of a
line.

To declare one: subclass `Event`, write the message as a docstring's first line for the manual and as `text` for the
operator, and name its counter, if it counts, with the fields that become the counter's labels. Label fields hold values
out of a small fixed set, never a path or a message.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal

Level = Literal["debug", "info", "warning", "error"]


@dataclass(frozen=True, slots=True)
class Event:
    """level:   of the message; None counts in silence.
    text:    format of the message, over the event's fields.
    counter: name without the prefix `greenstack_agent_` and the suffix `_total`; None counts nothing.
    by:      fields that become labels of the counter.
    amount:  field to add to the counter; None adds one.
    once_per: fields whose values make two events the same for rate limiting (the class alone when empty).
    """

    level: ClassVar[Level | None] = "info"
    text: ClassVar[str] = ""
    counter: ClassVar[str | None] = None
    by: ClassVar[tuple[str, ...]] = ()
    amount: ClassVar[str | None] = None
    once_per: ClassVar[tuple[str, ...]] = ()


Emit = Callable[[Event], None]


# --- the process ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class AgentStarted(Event):
    """The agent has its configuration and its state, and begins."""

    text = "greenstack-agent {version} started: {sources} sources, state in {state_dir}, Loki at {url}"
    version: str
    sources: int
    state_dir: str
    url: str


@dataclass(frozen=True, slots=True)
class AgentStopping(Event):
    """A signal asked the agent to stop."""

    text = "stopping on {signal}: no more reading, up to {grace_s:g} s to deliver what is read"
    signal: str
    grace_s: float


@dataclass(frozen=True, slots=True)
class AgentStopped(Event):
    """The agent ends; what Loki does not have is in the buffer."""

    text = "stopped: {waiting} entries stay in the buffer for the next start"
    waiting: int


# --- tail ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ChunkRead(Event):
    """Lines were read from a file."""

    level = None
    counter = "read_lines"
    by = ("source",)
    amount = "lines"
    source: str
    lines: int
    size_bytes: int


# --- transform -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class LinesDropped(Event):
    """Lines were given up on purpose or by policy, before delivery."""

    level = "warning"
    text = "{count} lines of {path} dropped: {reason}"
    counter = "dropped_entries"
    by = ("reason",)
    amount = "count"
    once_per = ("path", "reason")
    path: str
    reason: str
    count: int


# --- buffer --------------------------------------------------------------------------------------------------------

# --- push ----------------------------------------------------------------------------------------------------------
