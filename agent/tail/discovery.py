"""Which files there are now, and which of them may be read.

A scan lists paths and stats them; it opens nothing. Only regular files are read. A symbolic link, of a file or of a
directory on the way, must lead to a place below the glob's root, its directory prefix without wildcards: whoever may
write into a log directory must not make the agent ship /etc/shadow.
"""

from __future__ import annotations

import glob
import os
import re
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from agent.config import Source
from agent.tail import kubernetes

Key = tuple[int, int]
"""(device, inode)"""

_OPEN_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Found:
    """A regular file that matches a glob, as it was at the scan."""

    source: Source
    path: str
    key: Key
    size: int
    mtime_ns: int
    is_link: bool = False


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
    """One scan. `directories`: where matching files can appear, each with its key, so that a directory removed and
    made again under its name is another one."""

    found: list[Found] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    unseen: list[Unseen] = field(default_factory=list)
    directories: frozenset[tuple[str, Key]] = frozenset()


class NotTheFile(Exception):
    """What was opened is not the regular file that was expected under that path."""


def list_files(sources: Sequence[Source]) -> Listing:
    """Everything that matches now. A path belongs to the first source that includes it."""
    listing = Listing()
    directories: set[str] = set()
    taken: set[str] = set()
    for source in sources:
        excluded = [re.compile(glob_pattern(pattern)) for pattern in source.exclude]
        for include in source.include:
            directories.update(glob.iglob(os.path.dirname(include), recursive=True, include_hidden=False))
            links = _Links(root_of(include))
            pods: dict[str, _Links] = {}
            for name in glob.iglob(include, recursive=True):
                path = _pod_log(name)
                if path in taken or any(pattern.fullmatch(path) or pattern.fullmatch(name) for pattern in excluded):
                    continue
                taken.add(path)
                if path == name:
                    _judge(source, path, links, listing)
                else:
                    root = kubernetes.pods_beside(name)
                    directories.add(os.path.dirname(path))
                    _judge(source, path, pods.setdefault(root, _Links(root)), listing)
    listing.directories = frozenset(_with_keys(directories))
    return listing


def _pod_log(path: str) -> str:
    """The log that a link of the kubelet stands for, for any other path that path. Two trees then name each file alike."""
    if not kubernetes.is_alias_name(path):
        return path
    try:
        return kubernetes.aliased(path, os.readlink(path)) or path
    except OSError:  # no link, or gone
        return path


def _judge(source: Source, path: str, links: _Links, listing: Listing) -> None:
    try:
        seen = os.lstat(path)
        is_link = stat.S_ISLNK(seen.st_mode)
        if is_link:
            seen = os.stat(path)
        if stat.S_ISREG(seen.st_mode) and not links.stay_inside(path, is_link):
            listing.refused.append(Refused(source, path, "link leads outside"))
        elif stat.S_ISREG(seen.st_mode):
            key = (seen.st_dev, seen.st_ino)
            listing.found.append(Found(source, path, key, seen.st_size, seen.st_mtime_ns, is_link))
        elif not (stat.S_ISDIR(seen.st_mode) and "**" in path):
            listing.refused.append(Refused(source, path, "not a regular file"))
    except FileNotFoundError:
        if os.path.islink(path):
            listing.refused.append(Refused(source, path, "link leads nowhere"))
    except OSError as error:
        listing.unseen.append(Unseen(source, path, error))


class _Links:
    """Whether paths stay below a root once links are resolved; each directory is resolved once per scan."""

    def __init__(self, root: str) -> None:
        self._root = os.path.join(os.path.realpath(root), "")
        self._directories: dict[str, bool] = {}

    def stay_inside(self, path: str, is_link: bool) -> bool:
        if is_link:
            return os.path.realpath(path).startswith(self._root)
        directory = os.path.dirname(path)
        inside = self._directories.get(directory)
        if inside is None:
            inside = os.path.join(os.path.realpath(directory), "").startswith(self._root)
            self._directories[directory] = inside
        return inside


def _with_keys(directories: set[str]) -> Iterator[tuple[str, Key]]:
    for directory in directories:
        try:
            seen = os.stat(directory)
        except OSError:  # gone again, or not ours to see: the next scan tells
            continue
        if stat.S_ISDIR(seen.st_mode):
            yield directory.rstrip("/") or "/", (seen.st_dev, seen.st_ino)


def root_of(include: str) -> str:
    """The directories of a glob before its first wildcard: `/var/log/greenstack` for `/var/log/greenstack/*.log`."""
    directory = os.path.dirname(include)
    while glob.has_magic(_unescaped(directory)):
        directory = os.path.dirname(directory)
    return re.sub(r"\[(.)\]", r"\1", directory)


def _unescaped(pattern: str) -> str:
    """Without what `glob.escape` writes for a literal `*`, `?` or `[`."""
    return re.sub(r"\[[*?[]\]", "", pattern)


def glob_pattern(pattern: str) -> str:
    """A glob as a regular expression for a whole path: `*` and `?` stay within a directory, `**` does not."""
    out, at = "", 0
    while at < len(pattern):
        closing = pattern.find("]", at + 2) if pattern[at] == "[" else -1
        if pattern.startswith("**/", at):
            out, at = out + "(?:[^/]+/)*", at + 3
        elif pattern.startswith("**", at):
            out, at = out + ".*", at + 2
        elif closing > 0:
            inside = pattern[at + 1 : closing].replace("\\", "\\\\").replace("[", "\\[")
            out, at = out + ("[^" + inside[1:] if inside.startswith("!") else "[" + inside) + "]", closing + 1
        else:
            out, at = out + {"*": "[^/]*", "?": "[^/]"}.get(pattern[at], re.escape(pattern[at])), at + 1
    return out


def open_regular(path: str, key: Key) -> tuple[int, os.stat_result]:
    """Open the file that a scan saw, or raise. Never blocks on a FIFO, never follows a name that was swapped since.

    The caller owns the descriptor.
    """
    fd = os.open(path, _OPEN_FLAGS)
    seen = os.fstat(fd)
    if not stat.S_ISREG(seen.st_mode) or (seen.st_dev, seen.st_ino) != key:
        os.close(fd)
        raise NotTheFile(path)
    return fd, seen
