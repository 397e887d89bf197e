"""One segment file: made, looked into, read.

Invariants: a segment is written by one writer, once; what lies before its durable end never changes. Records never cross
segments, and a segment's head holds all that must be remembered, so a whole older file may be deleted at any time.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

from agent.buffer.errors import FutureFormat
from agent.buffer.meta import RecordMeta, Tally
from agent.buffer.record import (
    FILE_HEADER_BYTES,
    FORMAT_VERSION,
    Draft,
    Frame,
    Read,
    decode_file_header,
    encode,
    encode_file_header,
    first_tag,
    frames,
)
from agent.durable import sync_directory

_NAME = re.compile(r"(\d{12,20})\.segment")
_NUL_STEP_BYTES = 1 << 20


class Place(NamedTuple):
    """Where in the log; places compare in the order of writing."""

    segment: int
    offset: int


@dataclass(frozen=True, slots=True)
class Mark:
    """A place between two records, and what lies before it."""

    place: Place
    tally: Tally


@dataclass(frozen=True, slots=True)
class Segment:
    """A segment file as known now.

    start: where its records begin. end: its size in bytes, of the one written to the durable part. tally: at start.
    """

    number: int
    path: Path
    tag: int
    start: int
    end: int
    tally: Tally

    @property
    def beginning(self) -> Mark:
        return Mark(Place(self.number, self.start), self.tally)


def _free_bytes(directory: Path) -> int:
    facts = os.statvfs(directory)
    return facts.f_bavail * facts.f_frsize


@dataclass(frozen=True, slots=True)
class Storage:
    """The calls that can fail for want of space or health, so that tests can make them fail.

    write: (fd, data, offset) → bytes written. sync: makes a file's bytes and size durable. sync_directory: its names.
    free_bytes: of the directory's file system, for unprivileged users.
    """

    write: Callable[[int, memoryview, int], int] = os.pwrite
    sync: Callable[[int], None] = os.fdatasync
    sync_directory: Callable[[Path], None] = sync_directory
    free_bytes: Callable[[Path], int] = _free_bytes


def file_name(number: int) -> str:
    return f"{number:012d}.segment"


def number_of(name: str) -> int | None:
    """None when the name is not that of a segment."""
    match = _NAME.fullmatch(name)
    number = int(match[1]) if match else None
    return number if number is not None and file_name(number) == name else None


# --- writing -------------------------------------------------------------------------------------------------------


def create(directory: Path, number: int, tag: int, tally: Tally, head: Draft, storage: Storage) -> tuple[Segment, int]:
    """A new segment, durable with its head and its name, and the file descriptor to write to it.

    Raises OSError; then there is no such file (unless even removing it failed), and `number` is not to be used again.
    """
    path = directory / file_name(number)
    data = encode_file_header(number, tag) + b"".join(encode(head, tag))
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        write_all(storage, fd, data, 0)
        storage.sync(fd)
        storage.sync_directory(directory)
    except OSError:
        os.close(fd)
        with contextlib.suppress(OSError):
            path.unlink()
        raise
    return Segment(number, path, tag, len(data), len(data), tally), fd


def write_all(storage: Storage, fd: int, data: bytes, offset: int) -> None:
    """Writes until everything is written. Raises OSError; then any part of it may be there."""
    rest = memoryview(data)
    while rest:
        written = storage.write(fd, rest, offset)
        if written <= 0:
            raise OSError(errno.EIO, "nothing was written")
        rest, offset = rest[written:], offset + written


# --- reading -------------------------------------------------------------------------------------------------------


def read_at(fd: int, offset: int, length: int) -> bytes:
    """The bytes there, fewer at the end of the file. What the disk cannot read comes as NULs, and fails its checksum."""
    pieces = []
    while length:
        try:
            piece = os.pread(fd, length, offset)
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            piece = bytes(length)
        if not piece:
            break
        pieces.append(piece)
        offset, length = offset + len(piece), length - len(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


@contextlib.contextmanager
def reading(path: Path) -> Iterator[Read]:
    """Raises OSError, FileNotFoundError among them."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield partial(read_at, fd)
    finally:
        os.close(fd)


@dataclass(frozen=True, slots=True)
class Empty:
    """No bytes but NULs: a file that was made and never reached the disk."""


@dataclass(frozen=True, slots=True)
class Ruined:
    """Bytes, and no intact frame among them."""


@dataclass(frozen=True, slots=True)
class Foreign:
    """Has the name of a segment and is none, or another one: left alone."""


def inspect(path: Path, number: int) -> Segment | Empty | Ruined | Foreign:
    """What the file is, at the cost of its first bytes when they are intact. Raises FutureFormat and OSError."""
    if not path.is_file() or path.is_symlink():
        return Foreign()
    with reading(path) as read:
        size = path.stat().st_size
        header = decode_file_header(read(0, FILE_HEADER_BYTES))
        if header is not None and header.version > FORMAT_VERSION:
            raise FutureFormat(
                f"{path} has format {header.version}, this version reads up to {FORMAT_VERSION}: "
                "install the newer version again, or let it deliver everything before going back"
            )
        if header is not None and header.number != number:
            return Foreign()
        tag = header.tag if header is not None else first_tag(read, size)
        if tag is None:
            return Empty() if _only_nuls(read, size) else Ruined()
        return _opening(read, path, number, tag, size) or Ruined()


def _opening(read: Read, path: Path, number: int, tag: int, size: int) -> Segment | None:
    """The segment by its first intact frame, which is the head unless that is damaged."""
    for found in frames(read, FILE_HEADER_BYTES, size, tag, payload=False):
        if isinstance(found, Frame):
            if isinstance(found.meta, RecordMeta):
                return Segment(number, path, tag, FILE_HEADER_BYTES, size, found.meta.tally)
            return Segment(number, path, tag, found.offset + found.length, size, found.meta)
    return None


def _only_nuls(read: Read, size: int) -> bool:
    return not any(read(at, _NUL_STEP_BYTES).strip(b"\0") for at in range(0, size, _NUL_STEP_BYTES))
