"""What frames say in MessagePack: the tally, a record's meta, a head's positions and clocks.

All are arrays, read by position; a later version may append fields, which this one skips. Names of files and what is made
of them are bytes, for they need not be UTF-8. `docs/buffer-format.md` lists the fields.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import msgspec

from agent.model import Batch, Body, FileId, Origin, Position, Span, StreamClock


class Tally(msgspec.Struct, array_like=True, frozen=True, order=True):
    """What lies before a place. sequence: of the next record; entries; records: those with bodies."""

    sequence: int = 1
    entries: int = 0
    records: int = 0


class _Position(msgspec.Struct, array_like=True, frozen=True):
    # Names are bytes: those of files need not be UTF-8.
    device: int
    inode: int
    incarnation: int
    offset: int
    prefix_length: int
    prefix_digest: bytes
    anchor_digest: bytes
    part: int
    source: bytes
    path: bytes
    labels: list[tuple[bytes, bytes]]
    generation: int = 0
    mtime_ns: int = 0


class _Clock(msgspec.Struct, array_like=True, frozen=True):
    labels: bytes
    tie_ns: int
    high_ns: int
    file: tuple[int, int, int] | None


class _HeadPayload(msgspec.Struct, array_like=True, frozen=True):
    positions: list[_Position]
    clocks: list[_Clock]


class _Span(msgspec.Struct, array_like=True, frozen=True):
    start: int
    after: _Position


class BodyMeta(msgspec.Struct, array_like=True, frozen=True):
    """A `model.Body` without its payload. length: bytes of the payload."""

    labels: bytes
    encoding: str
    length: int
    entries: int
    line_bytes: int
    oldest_ns: int
    newest_ns: int
    tie_ns: int
    high_ns: int


class RecordMeta(msgspec.Struct, array_like=True, frozen=True):
    """What a record says of itself. tally: before it."""

    tally: Tally
    group_bytes: bytes
    raw_spans: list[_Span]
    bodies: list[BodyMeta]

    @property
    def group(self) -> str:
        return _from_bytes(self.group_bytes)

    @property
    def entries(self) -> int:
        return sum(body.entries for body in self.bodies)

    @property
    def line_bytes(self) -> int:
        return sum(body.line_bytes for body in self.bodies)

    @property
    def after(self) -> Tally:
        """The tally behind this record."""
        before = self.tally
        return Tally(before.sequence + 1, before.entries + self.entries, before.records + bool(self.bodies))

    @property
    def places(self) -> tuple[tuple[FileId, int, int], ...]:
        """The bytes of files it covers, without what else is known of them."""
        return tuple((_file_of(raw.after), raw.start, raw.after.offset) for raw in self.raw_spans)

    @property
    def spans(self) -> tuple[Span, ...]:
        return tuple(Span(_file_of(raw.after), raw.start, _position_of(raw.after)) for raw in self.raw_spans)

    def clocks(self) -> Iterator[tuple[str, StreamClock]]:
        for body in self.bodies:
            yield _from_bytes(body.labels), StreamClock(body.tie_ns, body.high_ns)


@dataclass(frozen=True, slots=True)
class HeldClock:
    """A stream's clock and the file that fed the stream last; both are forgotten together."""

    clock: StreamClock
    file: FileId | None


def _to_bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _from_bytes(data: bytes) -> str:
    return data.decode("utf-8", "surrogatepass")


def _raw_position(file: FileId, at: Position) -> _Position:
    return _Position(
        file.device,
        file.inode,
        file.incarnation,
        at.offset,
        at.prefix_length,
        at.prefix_digest,
        at.anchor_digest,
        at.part,
        _to_bytes(at.origin.source),
        _to_bytes(at.origin.path),
        [(_to_bytes(name), _to_bytes(value)) for name, value in at.origin.labels],
        at.generation,
        at.mtime_ns,
    )


def _file_of(raw: _Position) -> FileId:
    return FileId(raw.device, raw.inode, raw.incarnation)


def _position_of(raw: _Position) -> Position:
    labels = tuple((_from_bytes(name), _from_bytes(value)) for name, value in raw.labels)
    origin = Origin(_from_bytes(raw.source), _from_bytes(raw.path), labels)
    return Position(
        raw.offset,
        raw.prefix_length,
        raw.prefix_digest,
        raw.anchor_digest,
        raw.part,
        origin,
        raw.generation,
        raw.mtime_ns,
    )


encode_meta = msgspec.msgpack.Encoder().encode
decode_tally = msgspec.msgpack.Decoder(Tally).decode
decode_record = msgspec.msgpack.Decoder(RecordMeta).decode
_decode_head = msgspec.msgpack.Decoder(_HeadPayload).decode


def record_meta(batch: Batch, tally: Tally) -> RecordMeta:
    bodies = [
        BodyMeta(
            _to_bytes(body.labels),
            body.encoding,
            len(body.payload),
            body.entries,
            body.line_bytes,
            body.oldest_ns,
            body.newest_ns,
            body.clock.tie_ns,
            body.clock.high_ns,
        )
        for body in batch.bodies
    ]
    spans = [_Span(span.start, _raw_position(span.file, span.after)) for span in batch.spans]
    return RecordMeta(tally, _to_bytes(batch.group), spans, bodies)


def encode_head(positions: Mapping[FileId, Position], clocks: Mapping[str, HeldClock]) -> bytes:
    payload = _HeadPayload(
        [_raw_position(file, position) for file, position in positions.items()],
        [
            _Clock(
                _to_bytes(labels),
                held.clock.tie_ns,
                held.clock.high_ns,
                (held.file.device, held.file.inode, held.file.incarnation) if held.file else None,
            )
            for labels, held in clocks.items()
        ],
    )
    return encode_meta(payload)


def decode_head(payload: bytes) -> tuple[dict[FileId, Position], dict[str, HeldClock]] | None:
    """Positions and clocks of a head; None when they do not decode."""
    try:
        raw = _decode_head(payload)
        positions = {_file_of(position): _position_of(position) for position in raw.positions}
        clocks = {
            _from_bytes(clock.labels): HeldClock(
                StreamClock(clock.tie_ns, clock.high_ns), FileId(*clock.file) if clock.file else None
            )
            for clock in raw.clocks
        }
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
    return positions, clocks


def decode_bodies(meta: RecordMeta, payload: bytes) -> tuple[Body, ...]:
    bodies = []
    at = 0
    for body in meta.bodies:
        bodies.append(
            Body(
                labels=_from_bytes(body.labels),
                payload=payload[at : at + body.length],
                encoding=body.encoding,
                entries=body.entries,
                line_bytes=body.line_bytes,
                oldest_ns=body.oldest_ns,
                newest_ns=body.newest_ns,
                clock=StreamClock(body.tie_ns, body.high_ns),
            )
        )
        at += body.length
    return tuple(bodies)
