"""The bytes of an open file, those of an archive decompressed: all offsets are in what a reader sees."""

from __future__ import annotations

import contextlib
import os
from enum import Enum

from agent.tail.archive import GzipReader, is_other_archive, may_be_archive
from agent.tail.descriptor import data_from, generation_of
from agent.tail.identity import ANCHOR_BYTES, GZIP_MAGIC

HEAD_OF_KIND_BYTES = 10


class Kind(Enum):
    """What a file is by its first bytes: text, an archive that is read decompressed, or one that is left alone."""

    TEXT = "text"
    ARCHIVE = "archive"
    IGNORED = "ignored"


def kind_of(head: bytes, *, archives: bool) -> Kind | None:
    """By the first 10 bytes; None while there are too few. archives: gzip files are read."""
    if is_other_archive(head) or (head.startswith(GZIP_MAGIC) and not archives):
        return Kind.IGNORED
    if head.startswith(GZIP_MAGIC):
        return Kind.ARCHIVE
    return None if may_be_archive(head) else Kind.TEXT


class Content:
    """Owns the descriptor. Everything here raises OSError, and may be slow where the file system is."""

    __slots__ = ("_gzip", "fd")

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._gzip: GzipReader | None = None

    def decompress(self) -> None:
        """From now on."""
        self._gzip = GzipReader(self.fd)

    @property
    def is_archive(self) -> bool:
        return self._gzip is not None

    @property
    def is_damaged(self) -> bool:
        """An archive, and all that could be decompressed of it has been read."""
        return self._gzip is not None and self._gzip.damaged

    def read(self, offset: int, size: int) -> bytes:
        """Fewer only at the end."""
        return os.pread(self.fd, size, offset) if self._gzip is None else self._gzip.read(offset, size)

    def anchor(self, offset: int) -> bytes:
        """Up to 256 bytes before `offset`."""
        k = min(ANCHOR_BYTES, offset)
        return self.read(offset - k, k) if k else b""

    def data_from(self, offset: int) -> int:
        """Where the next content is: behind the hole at `offset`, or there."""
        return data_from(self.fd, offset)

    @property
    def generation(self) -> int:
        """Which use of its inode it is; 0 when the file system does not say."""
        return generation_of(self.fd)

    def close(self) -> None:
        with contextlib.suppress(OSError):  # a file system that is gone says so; the descriptor is free all the same
            os.close(self.fd)
