"""Kin of a file in its directory: itself under another name, copies of it, and generations between known ones."""

from __future__ import annotations

import os
import stat
import time
from collections import OrderedDict
from collections.abc import Callable, Container, Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from agent.config import Source
from agent.tail.identity import Key
from agent.tail.kubernetes import written_ns
from agent.tail.names import Names

_TICK_S = 0.02
"""Times of changes come from a clock that ticks every 10 ms at the slowest (CONFIG_HZ=100)."""
_SECONDS_TICK_S = 2.5
"""Of a file system that keeps whole seconds, or every other."""
_MOST_TARGETS, _MOST_LINKS = 4, 10_000


class Relative(NamedTuple):
    """A regular file. `log`: the path whose name its name extends, where it was found so."""

    path: str
    key: Key
    size: int
    mtime_ns: int
    log: str = ""


class Relatives:
    """Belongs to one thread.

    Thousands of files of one directory may be rotated at once, so it is listed once for all of them, as long as nothing in
    it changes.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._listed: dict[str, _Listed] = {}
        self._targets: OrderedDict[str, list[str]] = OrderedDict()

    def leads_to(self, path: str, target: str) -> None:
        """What a link leads to now, which has relatives of its own. Those it led to last are looked for as well."""
        targets = self._targets.setdefault(path, [])
        if target not in targets[-1:]:
            targets[:] = [*(one for one in targets if one != target), target][-_MOST_TARGETS:]
            self._targets.move_to_end(path)
            if len(self._targets) > _MOST_LINKS:
                self._targets.popitem(last=False)

    def places(self, source: Source, path: str) -> tuple[str, ...]:
        """Directories in which relatives of the file at `path` are: its own, and that into which rotation moves it; of a link,
        those of what it leads to as well."""
        return tuple(dict.fromkeys(place for place, _ in self._places(source, path)))

    def _places(self, source: Source, path: str) -> Iterator[tuple[str, str]]:
        """Each with the path whose name the names there extend."""
        for log in (path, *self._targets.get(path, ())):
            directory = os.path.dirname(log)
            yield directory, log
            if source.olddir:
                yield os.path.join(directory, source.olddir), log

    def forget(self) -> None:
        """List anew what is asked for next: not every file system tells of changes in a directory."""
        self._listed.clear()

    def of(self, source: Source, path: str) -> list[Relative]:
        """Regular files beside `path` whose names extend its name, the longest unchanged first.

        Raises OSError when a directory cannot be listed; one that does not exist has none.
        """
        kin = [
            relative._replace(log=log)
            for place, log in self._places(source, path)
            for name in self._list(place).by_name.extending(os.path.basename(log))
            if (relative := regular_at(os.path.join(place, name))) is not None
        ]
        ages = written_ns({relative.path: relative.mtime_ns for relative in kin})
        kin = [relative._replace(mtime_ns=ages[relative.path]) for relative in kin]
        return sorted(kin, key=lambda relative: relative.mtime_ns)

    def with_keys(self, directories: Iterable[str], keys: Container[Key], inodes: Iterable[int]) -> dict[Key, Relative]:
        """Where in directories files with these keys are, whatever their names. `inodes`: the second half of the keys.

        Raises OSError as `of` does.
        """
        wanted = set(inodes)
        found: dict[Key, Relative] = {}
        for directory in directories:
            by_inode = self._list(directory).by_inode
            for inode in wanted & by_inode.keys():
                for name in by_inode[inode]:
                    relative = regular_at(os.path.join(directory, name))
                    if relative is not None and relative.key in keys:
                        found[relative.key] = relative
        return found

    def may_have(self, source: Source, path: str) -> bool:
        """Whether there are any, by the names alone. Perhaps, where these cannot be listed: whoever asks further is told why."""
        return self._may_have(source, path, "")

    def may_have_archive(self, source: Source, path: str) -> bool:
        return self._may_have(source, path, ".gz")

    def _may_have(self, source: Source, path: str, ending: str) -> bool:
        try:
            return any(
                name.endswith(ending)
                for place, log in self._places(source, path)
                for name in self._list(place).by_name.extending(os.path.basename(log))
            )
        except OSError:
            return True

    def _list(self, directory: str) -> _Listed:
        """What is in a directory now. The last list of it serves as long as the directory looks the same, if it was made when
        it had looked so for a while: what changes right after may not show in the times."""
        try:
            seen = os.stat(directory)
        except FileNotFoundError:
            return _Listed((), 0.0, 0.0, [])
        looks = (seen.st_dev, seen.st_ino, seen.st_mtime_ns, seen.st_ctime_ns)
        tick_s = _TICK_S if seen.st_ctime_ns % 10**9 else _SECONDS_TICK_S
        last, now = self._listed.get(directory), self._clock()
        since = last.since if last is not None and last.looks == looks else now
        if last is None or last.looks != looks or last.at - since < tick_s:
            last = self._listed[directory] = _Listed(looks, since, now, _entries(directory))
        return last


@dataclass(slots=True, eq=False)
class _Listed:
    """looks: what a stat of the directory shows.  since: it is known to look so (clock).  at: when it was listed."""

    looks: tuple[int, ...]
    since: float
    at: float
    entries: list[tuple[str, int]]
    _by_name: Names | None = None
    _by_inode: dict[int, list[str]] | None = None

    @property
    def by_name(self) -> Names:
        if self._by_name is None:
            self._by_name = Names(name for name, _ in self.entries)
        return self._by_name

    @property
    def by_inode(self) -> dict[int, list[str]]:
        if self._by_inode is None:
            self._by_inode = {}
            for name, inode in self.entries:
                self._by_inode.setdefault(inode, []).append(name)
        return self._by_inode


def _entries(directory: str) -> list[tuple[str, int]]:
    """Names with inodes."""
    try:
        with os.scandir(directory) as entries:
            return [(entry.name, entry.inode()) for entry in entries]
    except FileNotFoundError:
        return []


def regular_at(path: str) -> Relative | None:
    """The regular file of that name, no link, if there is one. Raises OSError when that cannot be seen."""
    try:
        seen = os.lstat(path)
    except FileNotFoundError:
        return None
    return (
        Relative(path, (seen.st_dev, seen.st_ino), seen.st_size, seen.st_mtime_ns)
        if stat.S_ISREG(seen.st_mode)
        else None
    )
