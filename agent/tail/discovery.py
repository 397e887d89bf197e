"""Which files there are now, and which of them may be read.

A scan lists paths and stats them; it opens nothing. Only regular files are read. A symbolic link, of a file or of a
directory on the way, must lead to a place below the glob's root, its directory prefix without wildcards: whoever may
write into a log directory must not make the agent ship /etc/shadow.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from agent.config import Source
from agent.globs import has_wildcard, literal, matches, part_pattern, path_pattern, root_of, states
from agent.tail import kubernetes
from agent.tail.directories import Directories
from agent.tail.identity import Key
from agent.tail.mounts import WHOLE_TREE, Area

_MOST_PATHS = 100_000
_OPEN_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


class Found(NamedTuple):
    """A regular file that matches a glob, as it was at the scan. `changed_ns`: its ctime. `target`: where a link leads.

    A tuple: every scan makes one for each file, and a frozen dataclass takes three times as long to make.
    """

    source: Source
    path: str
    key: Key
    size: int
    mtime_ns: int
    changed_ns: int
    target: str = ""

    @property
    def is_link(self) -> bool:
        return bool(self.target)


@dataclass(frozen=True, slots=True)
class Refused:
    """A path that matches a glob and must not be read, and why."""

    source: Source
    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class Unseen:
    """A path that matches a glob and could not be looked at. It may exist or not."""

    source: Source
    path: str
    error: OSError


@dataclass(slots=True)
class Listing:
    """One scan. `directories`: where what matches can appear. `roots`: of each source, the real directories its files may
    lie in."""

    directories: Directories
    found: list[Found] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    unseen: list[Unseen] = field(default_factory=list)
    roots: dict[str, tuple[str, ...]] = field(default_factory=dict)


class NotTheFile(Exception):
    """What was opened is not the regular file that was expected under that path."""


def list_files(sources: Sequence[Source], area: Area = WHOLE_TREE) -> Listing:
    """Everything in an area that matches now. A path belongs to the first source that includes it."""
    directories = Directories(area)
    listing = Listing(directories)
    taken: set[str] = set()
    for source in sources:
        excluded = [path_pattern(pattern) for pattern in source.exclude]
        roots = []
        for include in source.include:
            if not area.is_reached_from(root_of(include)):
                continue
            walk = _Walk(source, area, listing)
            links = _Links(root_of(include))
            roots.append(links.root)
            pods: dict[str, _Links] = {}
            for name in walk.matches(include):
                path = _pod_log(name)
                if path in taken or (excluded and _is_excluded(excluded, name, path)):
                    continue
                taken.add(path)
                if path == name:
                    _judge(source, path, links, listing)
                else:
                    root = kubernetes.pods_beside(name)
                    directories.add(os.path.dirname(path))
                    _judge(source, path, pods.setdefault(root, _Links(root)), listing)
            roots += [beside.root for beside in pods.values()]
        if source.olddir and source.olddir.startswith("/"):
            # On another file system, which may hang, links on the way are not resolved.
            olddir = os.path.realpath(source.olddir) if area.holds(source.olddir) else source.olddir
            roots.append(os.path.join(olddir, ""))
        listing.roots[source.name] = tuple(roots)
    return listing


class Sources:
    """Which source wants a path: one that includes it, though its file need not be there."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self._sources = sources
        self._by_path: dict[str, Source | None] = {}

    def of(self, path: str) -> Source | None:
        """The source that a file found under `path` belongs to; None when no source wants it."""
        if path not in self._by_path:
            if len(self._by_path) >= _MOST_PATHS:
                self._by_path.clear()
            names = (path, *kubernetes.alias_of(path))
            wanting = (source for source in self._sources for name in names if _shows(source, name, path))
            self._by_path[path] = next(wanting, None)
        return self._by_path[path]


def _shows(source: Source, name: str, path: str) -> bool:
    excluded = [path_pattern(pattern) for pattern in source.exclude]
    return any(matches(include, name) for include in source.include) and not _is_excluded(excluded, name, path)


def _is_excluded(excluded: Iterable[re.Pattern[str]], name: str, path: str) -> bool:
    return any(pattern.fullmatch(path) or pattern.fullmatch(name) for pattern in excluded)


def _pod_log(path: str) -> str:
    """The log that a link of the kubelet stands for, for any other path that path. Two trees then name each file alike."""
    if not kubernetes.is_alias_name(path):
        return path
    try:
        return kubernetes.aliased(path, os.readlink(path)) or path
    except OSError:  # no link, or gone
        return path


class _Walk:
    """Goes along a glob, from the mount points of an area down, and not into other areas.

    Directories are listed only where the glob has a wildcard; names that do not match are not looked at.
    """

    def __init__(self, source: Source, area: Area, listing: Listing) -> None:
        self._source = source
        self._area = area
        self._directories = listing.directories
        self._listing = listing

    def matches(self, include: str) -> Iterator[str]:
        parts = include.split("/")[1:]
        for mount in self._area.mounts:
            names = mount.split("/")[1:] if mount != "/" else []
            for at in states(parts, names):
                yield from self._below(mount if names else "", parts[at:], ()) if at < len(parts) else (mount,)

    def _below(self, directory: str, parts: list[str], above: tuple[Key, ...]) -> Iterator[str]:
        while directory not in self._area.foreign and parts[1:] and not has_wildcard(parts[0]):
            directory, parts = f"{directory}/{literal(parts[0])}", parts[1:]
        if directory in self._area.foreign:
            return
        part, rest = parts[0], parts[1:]
        if part == "**":
            yield from self._anywhere_below(directory, parts, above)
        elif not has_wildcard(part):
            self._directories.add(directory)
            yield f"{directory}/{literal(part)}"
        else:
            fits = part_pattern(part).fullmatch
            hidden = part.startswith(".")
            self._directories.add(directory)
            for entry in self._entries(directory):
                if fits(entry.name) and (hidden or not entry.name.startswith(".")):
                    path = f"{directory}/{entry.name}"
                    if not rest:
                        yield path
                    elif path not in self._area.foreign and _is_directory(entry):
                        yield from self._below(path, rest, above)

    def _anywhere_below(self, directory: str, parts: list[str], above: tuple[Key, ...]) -> Iterator[str]:
        """`**`: here, and in every directory below. A link that leads back up ends there."""
        try:
            seen = os.stat(directory or "/")
        except OSError as error:
            self._cannot_list(directory, error)
            return
        key = (seen.st_dev, seen.st_ino)
        if key in above:
            return
        self._directories.add(directory)
        if parts[1:]:
            yield from self._below(directory, parts[1:], above)
        for entry in self._entries(directory):
            path = f"{directory}/{entry.name}"
            if entry.name.startswith(".") or path in self._area.foreign:
                continue
            if _is_directory(entry):
                yield from self._below(path, parts, (*above, key))
            elif not parts[1:]:
                yield path

    def _entries(self, directory: str) -> list[os.DirEntry[str]]:
        try:
            with os.scandir(directory or "/") as entries:
                return list(entries)
        except OSError as error:
            self._cannot_list(directory, error)
            return []

    def _cannot_list(self, directory: str, error: OSError) -> None:
        if error.errno not in (errno.ENOENT, errno.ENOTDIR):
            self._listing.unseen.append(Unseen(self._source, directory or "/", error))


def _is_directory(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a loop of links, or not ours to see
        return False


def _judge(source: Source, path: str, links: _Links, listing: Listing) -> None:
    try:
        seen = os.lstat(path)
        target = ""
        if stat.S_ISLNK(seen.st_mode):
            seen, target = os.stat(path), os.path.realpath(path)
        if stat.S_ISREG(seen.st_mode) and not links.stay_inside(path, target):
            listing.refused.append(Refused(source, path, "link leads outside"))
        elif stat.S_ISREG(seen.st_mode):
            key = (seen.st_dev, seen.st_ino)
            listing.found.append(Found(source, path, key, seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns, target))
        elif not (stat.S_ISDIR(seen.st_mode) and "**" in path):
            listing.refused.append(Refused(source, path, "not a regular file"))
    except (FileNotFoundError, NotADirectoryError):
        if os.path.islink(path):
            listing.refused.append(Refused(source, path, "link leads nowhere"))
    except OSError as error:
        listing.unseen.append(Unseen(source, path, error))


class _Links:
    """Whether paths stay below a root once links are resolved; each directory is resolved once per scan."""

    def __init__(self, root: str) -> None:
        self.root = os.path.join(os.path.realpath(root), "")
        self._directories: dict[str, bool] = {}

    def stay_inside(self, path: str, target: str) -> bool:
        """target: of a link."""
        if target:
            return target.startswith(self.root)
        directory = path.rpartition("/")[0] or "/"
        inside = self._directories.get(directory)
        if inside is None:
            inside = os.path.join(os.path.realpath(directory), "").startswith(self.root)
            self._directories[directory] = inside
        return inside


def is_regular(seen: os.stat_result, key: Key) -> bool:
    """Whether a stat has shown the regular file of that key: a directory may have been given the inode since."""
    return stat.S_ISREG(seen.st_mode) and (seen.st_dev, seen.st_ino) == key


def open_regular(path: str, key: Key, roots: Sequence[str] = ()) -> tuple[int, os.stat_result]:
    """Open the file that a scan saw, or raise. Never blocks on a FIFO, never follows a name that was swapped since.

    roots: the file must lie below one of them, else it is forbidden as if by its mode; asked of the open descriptor, for a
    link can be switched between any two looks at its name. The caller owns the descriptor.
    """
    fd = os.open(path, _OPEN_FLAGS)
    try:
        seen = os.fstat(fd)
        is_it = is_regular(seen, key)
        is_inside = not roots or os.readlink(f"/proc/self/fd/{fd}").startswith(tuple(roots))
    except BaseException:
        os.close(fd)
        raise
    if is_it and is_inside:
        return fd, seen
    os.close(fd)
    if is_it:
        raise PermissionError(errno.EACCES, "it lies outside the directories of the globs", path)
    raise NotTheFile(path)
