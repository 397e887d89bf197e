"""Positions of files that nobody follows just now: of an earlier run, on something unmounted, or absent.

A file that cannot be seen is not gone. Only one that is positively absent, looked for in a directory that could be listed
on the device it was on, is forgotten, and that after days. The threads of all areas share this.
"""

from __future__ import annotations

import threading
from collections.abc import Container, Iterable
from dataclasses import dataclass

from agent.model import FileId, Position, Resume, Span
from agent.tail.identity import Key
from agent.tail.mounts import Area

_MOST = 20_000
_ABSENT_S = 7 * 86400.0
_LEAST_ABSENT_S = 3600.0

Known = tuple[FileId, Position]


@dataclass(frozen=True, slots=True)
class _Absent:
    """since: clock; since when it has been positively absent, None while it only cannot be seen."""

    known: Known
    since: float | None


class Memory:
    """is_first_start: files that are found now were there before the very first start."""

    def __init__(self, resume: Resume) -> None:
        self._lock = threading.Lock()
        self._absent: dict[Key, _Absent] = {}
        self._gone: dict[Key, None] = {}  # those that are positively absent, in the order in which they went
        self._by_path: dict[str, set[Key]] = {}
        for key, known in latest_positions(resume).items():
            self._put(key, _Absent(known, None))
        self._incarnations = {key: absent.known[0].incarnation for key, absent in self._absent.items()}
        self._over: list[FileId] = []
        self.is_first_start = resume.is_first
        self.lost = resume.lost
        self._lost_later: dict[Key, list[Span]] = {}
        latest = {absent.known[0] for absent in self._absent.values()}
        self._over += [file for file in resume.positions if file not in latest]

    def __bool__(self) -> bool:
        """Whether anything is remembered."""
        return bool(self._absent)

    # --- positions --------------------------------------------------------------------------------------------------

    def claim(self, area: Area) -> dict[Key, Known]:
        """Those of an area: its own thread looks for them from now on."""
        with self._lock:
            mine = {
                key: absent.known for key, absent in self._absent.items() if area.holds(absent.known[1].origin.path)
            }
            for key in mine:
                self._pop(key)
            return mine

    def take(self, keys: Iterable[Key]) -> dict[Key, Known]:
        """Those of files that are there again."""
        with self._lock:
            return {key: self._pop(key) for key in self._absent.keys() & set(keys)}

    def take_moved(self, inodes: Iterable[int]) -> dict[Key, Known]:
        """Those with these inodes on whatever device: its number may be another after a reboot or a new mount."""
        wanted = set(inodes)
        with self._lock:
            keys = [key for key in self._absent if key[1] in wanted]
            return {key: self._pop(key) for key in keys}

    def remember(self, key: Key, known: Known, since: float | None) -> None:
        with self._lock:
            if key in self._absent:
                self._pop(key)
            self._put(key, _Absent(known, since))
            if len(self._gone) > _MOST:
                self._over.append(self._pop(next(iter(self._gone)))[0])

    def of_path(self, path: str) -> list[Position]:
        with self._lock:
            return [self._absent[key].known[1] for key in self._by_path.get(path, ())]

    def of_key(self, key: Key) -> Position | None:
        with self._lock:
            absent = self._absent.get(key)
            return absent.known[1] if absent is not None else None

    def expire(self, now: float, wall_ns: int) -> None:
        """Forget what has been absent for days. A wall clock that jumps by years makes nothing forgotten within an hour."""
        with self._lock:
            for key, absent in list(self._absent.items()):
                if absent.since is None:
                    continue
                absent_s = now - absent.since
                unwritten_s = (wall_ns - absent.known[1].mtime_ns) / 1e9
                if absent_s >= _ABSENT_S or (absent_s >= _LEAST_ABSENT_S and unwritten_s >= _ABSENT_S):
                    self._over.append(self._pop(key)[0])

    def _put(self, key: Key, absent: _Absent) -> None:
        self._absent[key] = absent
        if absent.since is not None:
            self._gone[key] = None
        self._by_path.setdefault(absent.known[1].origin.path, set()).add(key)

    def _pop(self, key: Key) -> Known:
        known = self._absent.pop(key).known
        self._gone.pop(key, None)
        path = known[1].origin.path
        self._by_path[path].discard(key)
        if not self._by_path[path]:
            del self._by_path[path]
        return known

    # --- spans to be read again -------------------------------------------------------------------------------------

    def lose(self, spans: Iterable[Span]) -> None:
        """These bytes were read, and what was made of them is lost: whoever follows their files reads them again."""
        with self._lock:
            for span in spans:
                self._lost_later.setdefault((span.file.device, span.file.inode), []).append(span)

    def take_lost(self, followed: Container[Key]) -> list[Span]:
        if not self._lost_later:
            return []
        with self._lock:
            mine = [key for key in self._lost_later if key in followed]
            return [span for key in mine for span in self._lost_later.pop(key)]

    # --- identities -------------------------------------------------------------------------------------------------

    def next_id(self, key: Key) -> FileId:
        """For content of an inode that is not what was known of it."""
        with self._lock:
            return FileId(*key, self._incarnations.get(key, -1) + 1)

    def in_use(self, file: FileId) -> None:
        with self._lock:
            self._incarnations[file.device, file.inode] = file.incarnation

    def is_over(self, file: FileId) -> None:
        """It will never be read again: deleted, or its inode holds other content."""
        with self._lock:
            self._over.append(file)

    def over(self) -> list[FileId]:
        """Files that are over, each told once."""
        with self._lock:
            over, self._over = self._over, []
            return over

    def drop(self, file: FileId) -> None:
        """Nothing at all is known of it from now on, not even which number its inode's content had."""
        with self._lock:
            key = (file.device, file.inode)
            if self._incarnations.get(key) == file.incarnation and key not in self._absent:
                del self._incarnations[key]


def latest_positions(resume: Resume) -> dict[Key, Known]:
    """The last incarnation of each inode; what came before it was read, or went on in a copy."""
    known: dict[Key, Known] = {}
    for file, position in sorted(resume.positions.items(), key=lambda item: item[0].incarnation):
        known[file.device, file.inode] = (file, position)
    for span in resume.lost:
        known.setdefault((span.file.device, span.file.inode), (span.file, span.after))
    return known
