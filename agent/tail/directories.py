"""Where files or directories that a glob matches can appear, and whether anything did since they were listed."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Mapping

from agent.tail.identity import Key
from agent.tail.mounts import Area

_TOO_FRESH_NS = 50_000_000
"""Times of file systems go in steps, of which there may be several changes in one."""
_UNKNOWN_NS = -1


class Directories:
    """Filled in the course of a scan, each before it is listed. What changes while it is listed then shows at the next look.

    changed_ns: of each, when its names changed last; unknown when that is so fresh that another change would not show.
    """

    def __init__(self, area: Area) -> None:
        self._area = area
        self._keys: dict[str, Key] = {}
        self.changed_ns: dict[str, int] = {}

    def add(self, path: str) -> None:
        """A directory that is not there is stood for by the nearest above it that is."""
        directory = path.rstrip("/") or "/"
        while directory not in self._keys and self._area.holds(directory):
            try:
                seen = os.stat(directory)
            except (FileNotFoundError, NotADirectoryError):
                if directory == "/":
                    return
                directory = os.path.dirname(directory)
                continue
            except OSError:  # not ours to see
                return
            if stat.S_ISDIR(seen.st_mode):
                self._keys[directory] = (seen.st_dev, seen.st_ino)
                is_fresh = time.time_ns() - seen.st_mtime_ns < _TOO_FRESH_NS
                self.changed_ns[directory] = _UNKNOWN_NS if is_fresh else seen.st_mtime_ns
            return

    def with_keys(self) -> frozenset[tuple[str, Key]]:
        """Each with its key, so that a directory removed and made again under its name is another one."""
        return frozenset(self._keys.items())


def have_changed(changed_ns: Mapping[str, int]) -> bool:
    """Whether names in any of these directories changed since."""
    return any(_changed_ns(directory) != known for directory, known in changed_ns.items())


def _changed_ns(directory: str) -> int:
    try:
        return os.stat(directory).st_mtime_ns
    except OSError:
        return _UNKNOWN_NS - 1
