"""Events as lines on stderr, for journald or the container runtime.

Repeats of one event are held back for ten seconds and then reported with their number, so that a failing disk or Loki
cannot fill the log it is reported to.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TextIO

import msgspec
import orjson

from agent.observe.events import Event, Level

QUIET_S = 10.0

_RANK = {"debug": 0, "info": 1, "warning": 2, "error": 3}
# Priorities of sd-daemon(3), which journald takes from the start of a line.
_PRIORITY = {"debug": "<7>", "info": "<6>", "warning": "<4>", "error": "<3>"}


class Reporter:
    """Writes events at or above `level` to `out`, as text or as JSON lines.

    journald: put the priority in front, as journald reads it.
    """

    def __init__(
        self,
        level: Level,
        out: TextIO,
        *,
        as_json: bool = False,
        journald: bool = False,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._least = _RANK[level]
        self._out = out
        self._as_json = as_json
        self._journald = journald
        self._clock = clock
        self._wall = wall
        self._seen: dict[tuple[object, ...], tuple[float, int]] = {}

    def observe(self, event: Event) -> None:
        kind = type(event)
        if kind.level is None or _RANK[kind.level] < self._least:
            return
        key = (kind, *(getattr(event, name) for name in kind.once_per))
        now = self._clock()
        last, held = self._seen.get(key, (-QUIET_S, 0))
        if now - last < QUIET_S:
            self._seen[key] = (last, held + 1)
            return
        if len(self._seen) > 1000:
            self._seen.clear()
        self._seen[key] = (now, 0)
        self._write(kind.level, event, held)

    def _write(self, level: Level, event: Event, held: int) -> None:
        values = msgspec.structs.asdict(event)
        message = event.text.format(**values) + (f" ({held} more like it were held back)" if held else "")
        # A path is the application's to choose: no control character of it reaches a terminal.
        message = "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in message)
        when = datetime.fromtimestamp(self._wall(), UTC).isoformat(timespec="milliseconds")
        if self._as_json:
            row = {"timestamp": when, "level": level, "event": type(event).__name__, "message": message}
            line = orjson.dumps(row).decode()
        else:
            line = f"{when} {level.upper():7} {message}"
        self._out.write((_PRIORITY[level] if self._journald else "") + line + "\n")
        self._out.flush()
