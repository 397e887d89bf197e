"""Whole lines at the end of a file that wait for more of their kind: a line of a container in parts, an event. Pure.

They hold the offset at their first byte. What they wait for may stand in the next generation of the file; it may also never
come, and so the wait has an end.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class OpenEnd:
    """lines: there are such lines.  _began, _grew: since when they begin, and end, where they do now (clock)."""

    lines: bool = False
    _begin: int = -1
    _end: int = -1
    _began: float = 0.0
    _grew: float = 0.0

    def look(self, begin: int, end: int, now: float) -> bool:
        """Note where they are after a read. True when they begin here as of now."""
        if not self.lines:
            self._begin = self._end = -1
            return False
        is_new = begin != self._begin
        if is_new:
            self._begin, self._began = begin, now
        if is_new or end != self._end:
            self._end, self._grew = end, now
        return is_new

    def is_silent(self, now: float, timeout_s: float) -> bool:
        """Nothing was added for so long."""
        return self.lines and now - self._grew >= timeout_s

    def has_waited(self, now: float, longest_s: float) -> bool:
        return self.lines and now - self._began >= longest_s
