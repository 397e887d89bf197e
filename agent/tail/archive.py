"""A gzip file read as if it were plain: offsets are those of the decompressed bytes.

Members that follow one another are one text. An archive that ends in the middle, or holds garbage after its last whole
block, gives what can be decompressed and is then at its end, `damaged`. So is one that goes on for megabytes and gives
nothing, by padding or empty members: whoever may write it shall not stop all others. Memory is bounded by the size of one read.
"""

from __future__ import annotations

import os
import re
import zlib

from agent.tail.descriptor import data_from
from agent.tail.identity import ANCHOR_BYTES, GZIP_MAGIC, PREFIX_BYTES

_OTHER_MAGICS = (b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd", b"\x04\x22\x4d\x18", b"\x89LZO\0\r\n\x1a\n")
_BZIP2 = re.compile(rb"BZh[1-9]1AY&SY")
_STEP = 64 * 1024
_GZIP_WBITS = 31

# In bytes that give nothing. Honest archives are far from it: compressed text is no longer than the text, padding fills a block.
_MOST_FRUITLESS = 4 * 1024 * 1024
_COST_OF_MEMBER = 64
_WORTH_OF_BYTE = 4


def is_other_archive(head: bytes) -> bool:
    """Whether a file begins as xz, zstd, lz4, lzop or bzip2 do: compressed, and nothing that is read."""
    return head.startswith(_OTHER_MAGICS) or _BZIP2.match(head) is not None


def may_be_archive(head: bytes) -> bool:
    """Whether the first bytes may go on as any compressed file begins: there are not enough of them."""
    return any(magic.startswith(head) for magic in (GZIP_MAGIC, *_OTHER_MAGICS, b"BZh"))


class GzipReader:
    """`read` is meant for rising offsets; going back starts over, except within the first 4096 bytes, which are kept."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._head = b""
        self._rewind()

    def _rewind(self) -> None:
        self.damaged = False
        self._ended = False
        self._compressed_at = self._fruitless = 0
        self._unused = b""
        self._member = zlib.decompressobj(_GZIP_WBITS)
        self._window = bytearray()
        self._window_at = 0

    def read(self, offset: int, size: int) -> bytes:
        if offset + size <= len(self._head):
            return self._head[offset : offset + size]
        if offset < self._window_at:
            self._rewind()
        while not self._ended and self._window_at + len(self._window) < offset + size:
            self._more()
            passed = min(offset - ANCHOR_BYTES - self._window_at, len(self._window))
            if passed > 0 and len(self._head) == PREFIX_BYTES:
                del self._window[:passed]
                self._window_at += passed
        begin = offset - self._window_at
        return bytes(self._window[begin : begin + size])

    def ends_at(self, offset: int) -> bool:
        """Whether nothing more will come after `offset`."""
        return self._ended and offset >= self._window_at + len(self._window)

    def _more(self) -> None:
        data = self._unused or self._compressed()
        if not data:
            self._ended = self.damaged = True  # only a whole member ends an archive
            return
        try:
            plain = self._member.decompress(data, 4 * _STEP)
        except zlib.error:
            self._ended = self.damaged = True
            return
        self._keep(plain)
        self._unused = self._member.unconsumed_tail
        rest = self._member.unused_data if self._member.eof else self._unused
        self._spend(len(data) - len(rest) - _WORTH_OF_BYTE * len(plain))
        if self._member.eof:
            self._next_member(rest)

    def _compressed(self) -> bytes:
        data = os.pread(self._fd, _STEP, self._compressed_at)
        self._compressed_at += len(data)
        return data

    def _keep(self, plain: bytes) -> None:
        self._window += plain
        if self._window_at == 0 and len(self._head) < PREFIX_BYTES:
            self._head = bytes(self._window[:PREFIX_BYTES])

    def _next_member(self, rest: bytes) -> None:
        self._spend(_COST_OF_MEMBER)
        begun = b""
        while not self._ended:
            begun = rest.lstrip(b"\0")
            self._spend(len(rest) - len(begun))
            if len(begun) >= len(GZIP_MAGIC):
                break
            if not begun:  # padding, which may go on as a hole of many gigabytes
                self._compressed_at = data_from(self._fd, self._compressed_at)
            if not (more := self._compressed()):
                break
            rest = begun + more
        if begun.startswith(GZIP_MAGIC):
            self._member = zlib.decompressobj(_GZIP_WBITS)
            self._unused = begun
        elif not self._ended:
            self._ended, self.damaged = True, bool(begun)

    def _spend(self, cost: int) -> None:
        self._fruitless = max(0, self._fruitless + cost)
        if self._fruitless > _MOST_FRUITLESS:
            self._ended = self.damaged = True
