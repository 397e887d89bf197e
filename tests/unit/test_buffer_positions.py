"""Positions on disk: what a later version appends is not missed by an older one, and what an older one left out is 0."""

import msgspec
from test_buffer_samples import file_of, position

from agent.buffer.meta import decode_head, encode_head
from agent.model import FileId, Position


def head(known: dict[FileId, Position]) -> bytes:
    return encode_head(known, {})


def test_every_field_of_a_position_comes_back() -> None:
    whole = Position(
        7, 4, b"p" * 16, b"a" * 16, 2, position(0).origin, generation=1 << 31, mtime_ns=1_795_000_000 * 10**9
    )
    decoded = decode_head(head({file_of("a"): whole}))
    assert decoded is not None
    assert decoded[0] == {file_of("a"): whole}


def test_a_position_without_generation_and_time_is_read_as_one_that_does_not_know_them() -> None:
    positions, clocks = msgspec.msgpack.decode(head({file_of("a"): position(7)}))
    older = msgspec.msgpack.encode([[fields[:11] for fields in positions], clocks])
    decoded = decode_head(older)
    assert decoded is not None
    assert decoded[0] == {file_of("a"): position(7)}


def test_fields_of_a_later_version_are_skipped() -> None:
    positions, clocks = msgspec.msgpack.decode(head({file_of("a"): position(7)}))
    later = msgspec.msgpack.encode([[[*fields, "more"] for fields in positions], clocks])
    decoded = decode_head(later)
    assert decoded is not None
    assert decoded[0] == {file_of("a"): position(7)}
