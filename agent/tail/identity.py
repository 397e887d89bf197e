"""Is this still the file we were reading? Pure.

A file is known by its first bytes (the prefix, up to 4096 of those already read) and by the bytes just before the place
where reading goes on (the anchor, up to 256). The anchor catches what no size can: a file truncated and grown again past
the offset. Where the file system counts how often an inode was used, that generation tells even equal contents apart.
In doubt the answer is "another file": its lines are then read from the start, repeated rather than lost.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import Enum

from agent.model import Position

PREFIX_BYTES = 4096
ANCHOR_BYTES = 256
GZIP_MAGIC = b"\x1f\x8b"
Key = tuple[int, int]
"""(device, inode)"""


class Verdict(Enum):
    SAME = "same"
    INODE_USED_AGAIN = "inode used again"
    SHORTER = "shorter than what was read"
    BEGINS_OTHERWISE = "other first bytes"
    DIFFERS_BEFORE_OFFSET = "other bytes before the offset"


@dataclass(frozen=True, slots=True)
class Seen:
    """What a file shows when asked about a position.

    size:   bytes.
    prefix: its first `position.prefix_length` bytes, or as many as there are.
    before: the min(256, offset) bytes before `position.offset`, or as many as there are.
    generation: of the inode; 0 when unknown.
    """

    size: int
    prefix: bytes
    before: bytes
    generation: int = 0


def fingerprint(data: bytes) -> bytes:
    """16 bytes; empty for no data."""
    return hashlib.blake2b(data, digest_size=16).digest() if data else b""


def compare(known: Position, seen: Seen) -> Verdict:
    """A position at offset 0 knows nothing, so every file is the same as it: nothing of it was read."""
    if known.generation and seen.generation and known.generation != seen.generation:
        return Verdict.INODE_USED_AGAIN
    if seen.size < known.offset:
        return Verdict.SHORTER
    if fingerprint(seen.prefix) != known.prefix_digest:
        return Verdict.BEGINS_OTHERWISE
    if fingerprint(seen.before) != known.anchor_digest:
        return Verdict.DIFFERS_BEFORE_OFFSET
    return Verdict.SAME
