"""Kin of a file in its directory: itself under another name, copies of it, and generations between known ones.

    app.log → app.log.1, app.log-20260101, app.log.2026-01-01T00, app-20260101.log, app.log.2.gz, old/app.log.1

Names only say where to look; identity is decided by inode and content.
"""

from __future__ import annotations

import bisect
import os
import re
import stat
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from agent.config import Source
from agent.model import Position
from agent.tail.archive import GzipReader
from agent.tail.discovery import Key, NotTheFile, open_regular
from agent.tail.identity import ANCHOR_BYTES, GZIP_MAGIC, PREFIX_BYTES, Seen, Verdict, compare, fingerprint
from agent.tail.kubernetes import written_ns

# `.backup` is what logrotate makes of a file that a reopening writer created before logrotate could (`create`).
_SUFFIX = re.compile(r"[.\-_]\d[\dTZ.\-_:]*(?:\.backup)?")
_LEAST_DIGITS_OF_A_DATE = 6
_STEP = 256 * 1024
_MOST_RATIO = 1032  # deflate cannot do better
_DATED = re.compile(r"(.+?)[.\-_]\d[\dTZ.\-_:]*(\.[A-Za-z]\w*)")


def possible_bases(name: str) -> Iterator[str]:
    """Names that `name` may be a rotated or copied form of, longest first."""
    for end in range(len(name) - 1, 0, -1):
        yield name[:end]
    if dated := _DATED.fullmatch(name):
        yield dated[1] + dated[2]


def is_rotated_name(name: str, base: str) -> bool:
    """Whether rotation gives such names: a number or a date after the base name or before its extension."""
    name = name.removesuffix(".gz")
    if name.startswith(base):
        return _SUFFIX.fullmatch(name, len(base)) is not None
    dated = _DATED.fullmatch(name)
    return dated is not None and dated[1] + dated[2] == base


def may_be_a_sibling(name: str, base: str) -> bool:
    """Whether the name may as well be given to another log: a short number before the extension, as in `worker-2.log`
    beside `worker.log`. Some rotations give such names; who writes two logs gives them more often."""
    dated = None if name.startswith(base) else _DATED.fullmatch(name.removesuffix(".gz"))
    if dated is None:
        return False
    number = name[len(dated[1]) : dated.start(2)]
    return sum(character.isdigit() for character in number) < _LEAST_DIGITS_OF_A_DATE


def extends(name: str, base: str) -> bool:
    if name.startswith(base):
        return name != base
    return is_rotated_name(name, base)


class Names:
    """The names in a directory, to be asked whether any extends a given one."""

    def __init__(self, names: Iterable[str]) -> None:
        self._sorted = sorted(names)
        dated = (_DATED.fullmatch(name.removesuffix(".gz")) for name in self._sorted)
        self._bases = {match[1] + match[2] for match in dated if match is not None}
        self.archives = [name for name in self._sorted if name.endswith(".gz")]

    def extend(self, base: str) -> bool:
        at = bisect.bisect_right(self._sorted, base)
        return base in self._bases or (at < len(self._sorted) and self._sorted[at].startswith(base))


def places(source: Source, path: str) -> tuple[str, ...]:
    """Directories in which relatives of the file at `path` are: its own, and that into which rotation moves it."""
    directory = os.path.dirname(path)
    return (directory, os.path.join(directory, source.olddir)) if source.olddir else (directory,)


@dataclass(frozen=True, slots=True)
class Relative:
    path: str
    key: Key
    size: int
    mtime_ns: int


def relatives(source: Source, path: str) -> list[Relative]:
    """Regular files beside `path` whose names extend its name, the longest unchanged first.

    Raises OSError when a directory cannot be listed; one that does not exist has none.
    """
    base = os.path.basename(path)
    kin = [relative for place in places(source, path) for relative in _named_after(base, place)]
    ages = written_ns({relative.path: relative.mtime_ns for relative in kin})
    kin = [replace(relative, mtime_ns=ages[relative.path]) for relative in kin]
    return sorted(kin, key=lambda relative: relative.mtime_ns)


def names_of(directories: Iterable[str], keys: Container[Key], inodes: Container[int]) -> dict[Key, Relative]:
    """Where in directories files with these keys are, whatever their names. `inodes`: the second half of the keys."""
    found: dict[Key, Relative] = {}
    for directory in directories:
        kin = _entries(directory, lambda entry: entry.inode() in inodes)
        found |= {relative.key: relative for relative in kin if relative.key in keys}
    return found


def _named_after(base: str, directory: str) -> Iterator[Relative]:
    # Tells most names apart: of thousands in a directory each may be asked for.
    stem = base.rpartition(".")[0] or base
    try:
        names = [name for name in os.listdir(directory) if name.startswith(stem)]
    except FileNotFoundError:
        return
    for name in names:
        if extends(name, base):
            yield from _regular(os.path.join(directory, name))


def _entries(directory: str, wanted: Callable[[os.DirEntry[str]], bool]) -> list[Relative]:
    found: list[Relative] = []
    try:
        with os.scandir(directory) as entries:
            for entry in entries:
                if wanted(entry):
                    found += _regular(entry.path)
    except FileNotFoundError:
        return []
    return found


def _regular(path: str) -> list[Relative]:
    try:
        seen = os.lstat(path)
    except FileNotFoundError:
        return []
    if not stat.S_ISREG(seen.st_mode):
        return []
    return [Relative(path, (seen.st_dev, seen.st_ino), seen.st_size, seen.st_mtime_ns)]


def look_at(fd: int, known: Position) -> Seen:
    """What a file shows when asked about a position."""
    k = min(ANCHOR_BYTES, known.offset)
    return Seen(
        os.fstat(fd).st_size,
        os.pread(fd, known.prefix_length, 0) if known.prefix_length else b"",
        os.pread(fd, k, known.offset - k) if k else b"",
    )


@contextmanager
def _opened(path: str, key: Key) -> Iterator[int | None]:
    """The file that a scan saw, open for the block; None where its name no longer leads to it."""
    try:
        fd, _ = open_regular(path, key)
    except (FileNotFoundError, NotTheFile):
        yield None
        return
    try:
        yield fd
    finally:
        os.close(fd)


def holds(fd: int, known: Position) -> bool:
    """Whether a file holds what was read up to `known`."""
    return compare(known, look_at(fd, known)) is Verdict.SAME


def is_copy_of_position(copy: Relative, known: Position) -> bool:
    with _opened(copy.path, copy.key) as fd:
        return fd is not None and holds(fd, known)


def is_shorter_copy(copy: Relative, known: Position, anchors: Sequence[tuple[int, bytes]]) -> bool:
    """Whether the file ends before `known`, and holds what was read before: it was made while reading went on."""
    before = next(((offset, digest) for offset, digest in reversed(anchors) if offset <= copy.size), None)
    if before is None or copy.size >= known.offset:
        return False
    with _opened(copy.path, copy.key) as fd:
        if fd is None:
            return False
        offset, digest = before
        k = min(ANCHOR_BYTES, offset)
        has_prefix = known.prefix_length > copy.size or (
            fingerprint(os.pread(fd, known.prefix_length, 0)) == known.prefix_digest
        )
        return has_prefix and fingerprint(os.pread(fd, k, offset - k)) == digest


def is_archive_of(archive: Relative, known: Position) -> bool:
    """Whether the file, decompressed, holds what was read up to `known`."""
    if archive.size * _MOST_RATIO < known.offset:
        return False
    with _opened(archive.path, archive.key) as fd:
        if fd is None or os.pread(fd, 2, 0) != GZIP_MAGIC:
            return False
        content = GzipReader(fd)
        k = min(ANCHOR_BYTES, known.offset)
        prefix = content.read(0, known.prefix_length)
        return (
            fingerprint(prefix) == known.prefix_digest
            and fingerprint(content.read(known.offset - k, k) if k else b"") == known.anchor_digest
        )


def is_archive_of_file(archive: Relative, original_fd: int, *, in_the_making: bool = False) -> bool:
    """Whether the file, decompressed, is another byte by byte, or the beginning of it."""
    size = os.fstat(original_fd).st_size
    if archive.size * _MOST_RATIO < size and not in_the_making:
        return False
    with _opened(archive.path, archive.key) as fd:
        if fd is None or os.pread(fd, 2, 0) != GZIP_MAGIC:
            return False
        content, at = GzipReader(fd), 0
        while plain := content.read(at, _STEP):
            if plain != os.pread(original_fd, len(plain), at):
                return False
            at += len(plain)
        return at == size or in_the_making


def is_archive_beside(archive: Relative, plain: Relative) -> bool:
    """Whether the file is, or is becoming, the archive of another. That stays until its archive is complete, or for good."""
    with _opened(plain.path, plain.key) as fd:
        return fd is not None and is_archive_of_file(archive, fd, in_the_making=True)


def is_copy_of_file(copy: Relative, original_fd: int) -> bool:
    """Whether the file holds the beginning of another that still has all its content."""
    if copy.size == 0 or copy.size > os.fstat(original_fd).st_size:
        return False
    with _opened(copy.path, copy.key) as fd:
        if fd is None:
            return False
        beginning = min(PREFIX_BYTES, copy.size)
        ending = min(ANCHOR_BYTES, copy.size)
        places = ((0, beginning), (copy.size - ending, ending))
        return all(os.pread(fd, length, at) == os.pread(original_fd, length, at) for at, length in places)


def is_compressed(path: str, key: Key) -> bool:
    with _opened(path, key) as fd:
        return fd is not None and os.pread(fd, 2, 0) == GZIP_MAGIC
