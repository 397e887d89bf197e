"""Whether one file holds what was read of another, or is its copy or its archive. Only content tells."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from agent.model import Position
from agent.tail.archive import GzipReader
from agent.tail.discovery import NotTheFile, open_regular
from agent.tail.identity import ANCHOR_BYTES, GZIP_MAGIC, PREFIX_BYTES, Key, Seen, Verdict, compare, fingerprint
from agent.tail.one_file import OneFile
from agent.tail.open_files import is_want_of_room
from agent.tail.relatives import Relative

_STEP = 256 * 1024
_MOST_COMPARED = 16
_MOST_RATIO = 1032  # deflate cannot do better


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


def verdict_on(fd: int, known: Position) -> Verdict:
    """Whether a file holds what was read up to `known`, and if not, what shows it."""
    return compare(known, look_at(fd, known))


def holds(fd: int, known: Position) -> bool:
    return verdict_on(fd, known) is Verdict.SAME


def is_copy_of_position(copy: Relative, known: Position) -> bool:
    with _opened(copy.path, copy.key) as fd:
        return fd is not None and holds(fd, known)


def begins_as(copy: Relative, known: Position) -> bool:
    """Whether the file begins with what is remembered of the beginning of another; False where it is too short to tell."""
    if copy.size < known.prefix_length:
        return False
    with _opened(copy.path, copy.key) as fd:
        return fd is not None and fingerprint(os.pread(fd, known.prefix_length, 0)) == known.prefix_digest


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


def is_archive_of_unread(archive: Relative, file: OneFile) -> bool:
    """Whether it is what a file of which nothing was read became. Only its whole content can tell: others may begin alike."""
    fd = None if file.offset else opened(file)
    if fd is None:
        return False
    pair = (archive.key, archive.size, archive.mtime_ns, file.size, file.mtime_ns)
    if pair not in file.compared:  # both may be large, and they are asked about at every change in their directory
        file.compared = {**dict(list(file.compared.items())[-_MOST_COMPARED:]), pair: is_archive_of_file(archive, fd)}
    return file.compared[pair]


def opened(file: OneFile) -> int | None:
    """The descriptor of a followed file that is no archive and still holds what is known of it; None otherwise.

    Raises OSError for want of descriptors.
    """
    if file.is_archive or not (file.is_open or file.path):
        return None
    try:
        return file.fd if file.open() is Verdict.SAME else None
    except NotTheFile:
        return None
    except OSError as error:
        if is_want_of_room(error):
            raise
        return None


def is_archive_beside(archive: Relative, plain: Relative) -> bool:
    """Whether the file is, or is becoming, the archive of another. That stays until its archive is complete, or for good."""
    with _opened(plain.path, plain.key) as fd:
        return fd is not None and is_archive_of_file(archive, fd, in_the_making=True)


def is_beginning(copy: Relative, beginning: bytes) -> bool:
    """Whether all that a file holds are the first of these bytes."""
    with _opened(copy.path, copy.key) as fd:
        return fd is not None and copy.size > 0 and os.pread(fd, copy.size, 0) == beginning[: copy.size]


def is_copy_of(copy: Relative, original: Relative) -> bool:
    with _opened(original.path, original.key) as fd:
        return fd is not None and is_copy_of_file(copy, fd)


def is_copy_of_file(copy: Relative, original_fd: int) -> bool:
    """Whether the file holds the beginning of another that still has all its content."""
    if copy.size == 0 or copy.size > os.fstat(original_fd).st_size:
        return False
    with _opened(copy.path, copy.key) as fd:
        return fd is not None and is_beginning_of(fd, copy.size, original_fd)


def is_beginning_of(fd: int, size: int, original_fd: int) -> bool:
    """Whether a file of this size holds the beginning of another, by its first and last bytes."""
    if size > os.fstat(original_fd).st_size:
        return False
    beginning, ending = min(PREFIX_BYTES, size), min(ANCHOR_BYTES, size)
    places = ((0, beginning), (size - ending, ending))
    return all(os.pread(fd, length, at) == os.pread(original_fd, length, at) for at, length in places)


def is_compressed(path: str, key: Key) -> bool:
    with _opened(path, key) as fd:
        return fd is not None and os.pread(fd, 2, 0) == GZIP_MAGIC
