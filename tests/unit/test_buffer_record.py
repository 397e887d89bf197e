from __future__ import annotations

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_buffer_samples import batch, body, file_of, position, span

from agent.buffer.meta import HeldClock, RecordMeta, Tally, decode_bodies, decode_head, record_meta
from agent.buffer.record import (
    FILE_HEADER_BYTES,
    FRAME_HEADER_BYTES,
    FRAME_MAGIC,
    Corrupt,
    End,
    Frame,
    Torn,
    decode,
    decode_file_header,
    draft_head,
    draft_record,
    encode,
    encode_file_header,
    first_tag,
    frames,
)
from agent.model import Batch, FileId, StreamClock

TAG = 0xC0FFEE


def reader(data: bytes):
    return lambda offset, length: data[offset : offset + length]


def record(number: int, made: Batch | None = None) -> bytes:
    made = made or batch("a", number)
    return b"".join(encode(draft_record(record_meta(made, Tally(number, number, number)), made), TAG))


def sequences(data: bytes, *, payload: bool = True) -> list[int | str]:
    found = frames(reader(data), 0, len(data), TAG, payload=payload)
    return [each.meta.tally.sequence if isinstance(each, Frame) else type(each).__name__ for each in found]


def test_a_record_comes_back_as_it_was() -> None:
    made = Batch("g", (span("a", 0, 9), span("b", 4, 8)), (body(b"one", entries=2), body(b"", labels="{}")))
    meta = record_meta(made, Tally(5, 70, 4))
    data = b"".join(encode(draft_record(meta, made), TAG))
    found = decode(reader(data), 0, len(data), TAG, payload=True)
    assert isinstance(found, Frame)
    assert isinstance(found.meta, RecordMeta)
    assert found.length == len(data)
    assert found.meta.spans == made.spans
    assert found.meta.group == "g"
    assert decode_bodies(found.meta, found.payload) == made.bodies
    assert found.meta.after == Tally(6, 73, 5)
    assert decode(reader(data), len(data), len(data), TAG, payload=True) == End()


@pytest.mark.parametrize("size", [8, 100, 5_000, 300_000])
def test_checksums_are_those_of_zlib(size: int) -> None:
    data = record(1, batch("a", 1, size=size, bodies=2))
    end_of_meta = FRAME_HEADER_BYTES + int.from_bytes(data[12:16], "little")
    assert int.from_bytes(data[20:24], "little") == zlib.crc32(data[FRAME_HEADER_BYTES:end_of_meta])
    assert int.from_bytes(data[24:28], "little") == zlib.crc32(data[FRAME_HEADER_BYTES:])
    assert int.from_bytes(data[28:32], "little") == zlib.crc32(data[:28])


def test_a_batch_without_bodies_moves_the_sequence_but_counts_no_record() -> None:
    assert record_meta(batch(bodies=0), Tally(5, 70, 4)).after == Tally(6, 70, 4)


def test_a_head_comes_back_as_it_was() -> None:
    positions = {file_of("a"): position(3), FileId(2**64 - 1, 2**64 - 1, 4): position(0, "/log/\udcff\ud800")}
    clocks = {"{}": HeldClock(StreamClock(-1, 2), file_of("a")), '{a="\udc80"}': HeldClock(StreamClock(3, 4), None)}
    data = b"".join(encode(draft_head(Tally(3, 2, 1), positions, clocks), TAG))
    found = decode(reader(data), 0, len(data), TAG, payload=True)
    assert isinstance(found, Frame)
    assert found.meta == Tally(3, 2, 1)
    assert decode_head(found.payload) == (positions, clocks)


def test_the_index_does_not_read_the_bodies() -> None:
    data = record(1, batch(size=100_000))
    read = []

    def counting(offset: int, length: int) -> bytes:
        read.append(length)
        return data[offset : offset + length]

    assert isinstance(decode(counting, 0, len(data), TAG, payload=False), Frame)
    assert sum(read) < 1000


@pytest.mark.parametrize("payload", [True, False])
def test_a_record_cut_anywhere_is_torn(payload: bool) -> None:
    first, second = record(1), record(2)
    for length in range(1, len(second)):
        assert sequences(first + second[:length], payload=payload) == [1, "Torn"]


def test_nuls_behind_the_last_record_are_torn() -> None:
    assert sequences(record(1) + bytes(5000)) == [1, "Torn"]


def test_a_flipped_bit_anywhere_costs_that_record_only() -> None:
    first, second, third = record(1), record(2), record(3)
    for at in range(len(second)):
        damaged = bytearray(second)
        damaged[at] ^= 1 << (at % 8)
        assert sequences(first + bytes(damaged) + third) == [1, "Corrupt", 3], at


def test_a_damaged_payload_leaves_the_meta_readable() -> None:
    data = bytearray(record(1) + record(2))
    data[len(record(1)) - 1] ^= 1
    found = decode(reader(bytes(data)), 0, len(data), TAG, payload=True)
    assert isinstance(found, Corrupt)
    assert found.meta is not None
    assert found.meta.spans == batch("a", 1).spans
    assert found.resume == len(record(1))


def test_a_frame_of_another_segment_does_not_count() -> None:
    foreign = record(9).replace(TAG.to_bytes(4, "little"), (1).to_bytes(4, "little"))
    assert sequences(record(1) + foreign + record(2)) == [1, "Corrupt", 2]


def test_a_frame_inside_a_payload_is_not_found_unless_it_has_the_tag() -> None:
    made = draft_record(record_meta(batch(), Tally()), batch())
    inner = b"".join(encode(made, TAG + 1))
    outer = record(1, Batch("a", (), (body(inner),)))
    damaged = bytearray(outer)
    damaged[5] ^= 1
    assert sequences(bytes(damaged) + record(2)) == ["Corrupt", 2]


def test_a_magic_across_the_windows_of_the_search_is_found() -> None:
    for shift in range(5):
        junk = b"\1" * ((1 << 20) + 1 - shift)
        assert sequences(junk + record(2)) == ["Corrupt", 2]


@given(st.binary(max_size=300), st.booleans())
def test_any_bytes_can_be_decoded(junk: bytes, with_magic: bool) -> None:
    data = (FRAME_MAGIC if with_magic else b"") + junk
    assert list(frames(reader(data), 0, len(data), TAG, payload=True)) == ([Torn(0)] if data else [])


def test_a_file_header_comes_back_and_no_flipped_bit_passes() -> None:
    data = encode_file_header(12, TAG)
    assert len(data) == FILE_HEADER_BYTES
    header = decode_file_header(data)
    assert header is not None
    assert (header.number, header.tag, header.version) == (12, TAG, 1)
    for at in range(len(data)):
        assert decode_file_header(data[:at] + bytes([data[at] ^ 4]) + data[at + 1 :]) is None
        assert decode_file_header(data[:at]) is None


def test_the_tag_is_known_from_any_intact_frame() -> None:
    data = b"\0" * FILE_HEADER_BYTES + b"junk" + record(1)
    assert first_tag(reader(data), len(data)) == TAG
    assert first_tag(reader(data[: -len(record(1)) + FRAME_HEADER_BYTES - 1]), 200) is None
