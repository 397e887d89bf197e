"""The on-disk format of the buffer. Pure: bytes in, values out.

A segment file (all numbers little-endian, all checksums CRC-32 as in zlib):

    offset length
         0      8  magic "GSBUFFER"
         8      4  format version, 1
        12      4  checksum of bytes 0..12 and 16..32       the first 32 bytes keep this meaning in all versions
        16      8  segment number
        24      4  tag: random, in every frame too, so that nothing else can pass for a frame of this segment
        28      4  zero
        32         frames, without gaps: one head, then records

A frame:

         0      4  magic F5 "GSR"
         4      1  kind: 1 head, 2 record
         5      3  zero
         8      4  tag of the segment
        12      4  length of the meta
        16      4  length of the payload
        20      4  checksum of the meta
        24      4  checksum of meta and payload: the one of the meta, carried on
        28      4  checksum of bytes 0..28
        32         meta (MessagePack), then payload

    head    meta: the tally here · payload: every position and every stream clock (MessagePack)
    record  meta: tally before it, group, spans, what is known of each body · payload: the bodies, one after the other

The checksums stand so that an index needs only headers and metas, and a damaged length cannot lead astray: a header
that is not intact is searched on from, byte by byte, to the next that is.

A tally counts what lies before a place in the log: the sequence of the next record, entries, records with bodies.
Whatever lies between two good frames and was lost is known from the difference of their tallies.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum

import msgspec
from zlib_ng.zlib_ng import crc32

from agent.buffer.meta import HeldClock, RecordMeta, Tally, decode_record, decode_tally, encode_head, encode_meta
from agent.model import Batch, FileId, Position

FORMAT_VERSION = 1
FILE_MAGIC = b"GSBUFFER"
FRAME_MAGIC = b"\xf5GSR"

_FILE_START = struct.Struct("<8sI")
_FILE_REST = struct.Struct("<QII")
FILE_HEADER_BYTES = _FILE_START.size + 4 + _FILE_REST.size
_FRAME = struct.Struct("<4sB3xIIIII")
FRAME_HEADER_BYTES = _FRAME.size + 4
assert FILE_HEADER_BYTES == 32
assert FRAME_HEADER_BYTES == 32

_RESYNC_STEP_BYTES = 1 << 20

Read = Callable[[int, int], bytes]
"""(offset, length) → the bytes there; fewer only where the file ends."""


class Kind(IntEnum):
    HEAD = 1
    RECORD = 2


# --- file header ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class FileHeader:
    version: int
    number: int
    tag: int


def encode_file_header(number: int, tag: int, version: int = FORMAT_VERSION) -> bytes:
    start, rest = _FILE_START.pack(FILE_MAGIC, version), _FILE_REST.pack(number, tag, 0)
    return start + crc32(start + rest).to_bytes(4, "little") + rest


def decode_file_header(data: bytes) -> FileHeader | None:
    """None when these are not 32 intact bytes of a segment's beginning. The version may be one to come."""
    if len(data) < FILE_HEADER_BYTES or not data.startswith(FILE_MAGIC):
        return None
    if crc32(data[:12] + data[16:32]) != int.from_bytes(data[12:16], "little"):
        return None
    version = _FILE_START.unpack_from(data)[1]
    number, tag, _ = _FILE_REST.unpack_from(data, 16)
    return FileHeader(version, number, tag)


# --- encoding ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Draft:
    """A frame of which only the segment is still open. meta and payload: final bytes."""

    kind: Kind
    meta: bytes
    payload: tuple[bytes, ...]

    @property
    def length(self) -> int:
        return FRAME_HEADER_BYTES + len(self.meta) + sum(map(len, self.payload))


def draft_record(meta: RecordMeta, batch: Batch) -> Draft:
    return Draft(Kind.RECORD, encode_meta(meta), tuple(body.payload for body in batch.bodies))


def draft_head(tally: Tally, positions: Mapping[FileId, Position], clocks: Mapping[str, HeldClock]) -> Draft:
    return Draft(Kind.HEAD, encode_meta(tally), (encode_head(positions, clocks),))


def encode(draft: Draft, tag: int) -> list[bytes]:
    """The frame's bytes, in pieces."""
    of_meta = crc32(draft.meta)
    of_all = of_meta
    for piece in draft.payload:
        of_all = crc32(piece, of_all)
    payload_bytes = sum(map(len, draft.payload))
    header = _FRAME.pack(FRAME_MAGIC, draft.kind, tag, len(draft.meta), payload_bytes, of_meta, of_all)
    return [header, crc32(header).to_bytes(4, "little"), draft.meta, *draft.payload]


# --- decoding ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Frame:
    """An intact frame. meta: a Tally for a head. payload: empty unless it was asked for."""

    offset: int
    length: int
    meta: Tally | RecordMeta
    payload: bytes = b""


@dataclass(frozen=True, slots=True)
class End:
    """Nothing more; the bytes stop where a frame stops."""


@dataclass(frozen=True, slots=True)
class Torn:
    """From here to the end no frame is whole: a write that was cut, or what a file system leaves after a power cut."""

    offset: int


@dataclass(frozen=True, slots=True)
class Corrupt:
    """offset..resume is damaged. meta: of a record whose meta is intact and whose payload is not, else None."""

    offset: int
    resume: int
    meta: RecordMeta | None = None


Decoded = Frame | End | Torn | Corrupt


@dataclass(frozen=True, slots=True)
class _Header:
    kind: Kind
    meta_bytes: int
    payload_bytes: int
    of_meta: int
    of_all: int

    @property
    def length(self) -> int:
        return FRAME_HEADER_BYTES + self.meta_bytes + self.payload_bytes


def decode(read: Read, offset: int, end: int, tag: int, *, payload: bool) -> Decoded:
    """What lies at `offset` of a segment that is `end` bytes long.

    payload: read and check it too. Without, only meta and lengths are vouched for.
    """
    if offset == end:
        return End()
    header = _header(read(offset, FRAME_HEADER_BYTES), tag)
    if header is None:
        found = _resync(read, offset + 1, end, tag)
        return Torn(offset) if found is None else Corrupt(offset, found)
    if offset + header.length > end:
        return Torn(offset)
    body_at = offset + FRAME_HEADER_BYTES + header.meta_bytes
    meta_bytes = read(offset + FRAME_HEADER_BYTES, header.meta_bytes)
    meta = _meta(header, meta_bytes)
    if meta is None:
        return Corrupt(offset, offset + header.length)
    if not payload:
        return Frame(offset, header.length, meta)
    data = read(body_at, header.payload_bytes)
    if crc32(data, header.of_meta) != header.of_all:
        return Corrupt(offset, offset + header.length, meta if isinstance(meta, RecordMeta) else None)
    return Frame(offset, header.length, meta, data)


def frames(read: Read, offset: int, end: int, tag: int, *, payload: bool) -> Iterator[Frame | Torn | Corrupt]:
    """Everything from `offset` on; a Torn is the last."""
    while True:
        found = decode(read, offset, end, tag, payload=payload)
        if isinstance(found, End):
            return
        yield found
        if isinstance(found, Torn):
            return
        offset = found.resume if isinstance(found, Corrupt) else found.offset + found.length


def tag_at(data: bytes) -> int | None:
    """The tag that the frame header in `data` carries, whatever it is; None when that header is not intact."""
    if len(data) < FRAME_HEADER_BYTES:
        return None
    tag = int(_FRAME.unpack_from(data)[2])
    return tag if _header(data, tag) is not None else None


def first_tag(read: Read, end: int) -> int | None:
    """The tag of the first intact frame; for a segment whose own header is damaged."""
    for offset in _magics(read, 0, end):
        tag = tag_at(read(offset, FRAME_HEADER_BYTES))
        if tag is not None:
            return tag
    return None


def _header(data: bytes, tag: int) -> _Header | None:
    if len(data) < FRAME_HEADER_BYTES or not data.startswith(FRAME_MAGIC):
        return None
    if crc32(data[:28]) != int.from_bytes(data[28:32], "little"):
        return None
    _, kind, its_tag, meta_bytes, payload_bytes, of_meta, of_all = _FRAME.unpack_from(data)
    if its_tag != tag or kind not in (Kind.HEAD, Kind.RECORD):
        return None
    return _Header(Kind(kind), meta_bytes, payload_bytes, of_meta, of_all)


def _meta(header: _Header, data: bytes) -> Tally | RecordMeta | None:
    if crc32(data) != header.of_meta:
        return None
    try:
        return decode_tally(data) if header.kind is Kind.HEAD else decode_record(data)
    except msgspec.MsgspecError:
        return None


def _resync(read: Read, offset: int, end: int, tag: int) -> int | None:
    """Where the next intact header lies; None when there is none."""
    candidates: Iterable[int] = _magics(read, offset, end)
    return next((at for at in candidates if _header(read(at, FRAME_HEADER_BYTES), tag) is not None), None)


def _magics(read: Read, offset: int, end: int) -> Iterator[int]:
    while offset < end:
        window = read(offset, min(_RESYNC_STEP_BYTES, end - offset))
        at = window.find(FRAME_MAGIC)
        while at >= 0:
            yield offset + at
            at = window.find(FRAME_MAGIC, at + 1)
        if len(window) < _RESYNC_STEP_BYTES:
            return
        # A magic may lie across two windows.
        offset += len(window) - len(FRAME_MAGIC) + 1
