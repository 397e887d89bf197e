"""agent.wire against the protobuf library and against itself."""

import contextlib
import gzip
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import cramjam
import orjson
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, timestamp_pb2
from hypothesis import given
from hypothesis import strategies as st

from agent import wire, wire_writer


def push_request_class() -> type:
    """Loki's PushRequest, built from the field numbers of `pkg/push/push.proto` (Loki 3.7)."""
    file = descriptor_pb2.FileDescriptorProto(name="push.proto", package="logproto", syntax="proto3")
    file.dependency.append("google/protobuf/timestamp.proto")
    kinds = descriptor_pb2.FieldDescriptorProto

    def message(name: str, *fields: tuple[str, int, int, int, str]) -> None:
        made = file.message_type.add(name=name)
        for field, number, kind, label, type_name in fields:
            made.field.add(name=field, number=number, type=kind, label=label, type_name=type_name or None)

    text, nested, one, many = kinds.TYPE_STRING, kinds.TYPE_MESSAGE, kinds.LABEL_OPTIONAL, kinds.LABEL_REPEATED
    message("LabelPair", ("name", 1, text, one, ""), ("value", 2, text, one, ""))
    message(
        "Entry",
        ("timestamp", 1, nested, one, ".google.protobuf.Timestamp"),
        ("line", 2, text, one, ""),
        ("metadata", 3, nested, many, ".logproto.LabelPair"),
    )
    message("Stream", ("labels", 1, text, one, ""), ("entries", 2, nested, many, ".logproto.Entry"))
    message("PushRequest", ("streams", 1, nested, many, ".logproto.Stream"))
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(timestamp_pb2.DESCRIPTOR.serialized_pb)
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("logproto.PushRequest"))


PushRequest = push_request_class()

lines = st.text(max_size=300).map(str.encode) | st.integers(0, 40_000).map(lambda n: b"x" * n)
pairs = st.lists(st.tuples(st.text(max_size=20).map(str.encode), st.text(max_size=200).map(str.encode)), max_size=4)
entries = st.lists(st.tuples(st.integers(0, 4 * 10**18), lines, pairs), max_size=8)


@given(st.text(max_size=50), entries)
def test_the_protobuf_library_reads_what_was_written(
    labels: str, wanted: list[tuple[int, bytes, list[tuple[bytes, bytes]]]]
) -> None:
    body = wire.encode_protobuf(
        labels,
        [ns for ns, _, _ in wanted],
        [line for _, line, _ in wanted],
        [wire.encode_metadata(p) for _, _, p in wanted],
    )
    request = PushRequest.FromString(body)
    (stream,) = request.streams
    assert stream.labels == labels
    read = [
        (
            entry.timestamp.seconds * 10**9 + entry.timestamp.nanos,
            entry.line.encode(),
            [(pair.name.encode(), pair.value.encode()) for pair in entry.metadata],
        )
        for entry in stream.entries
    ]
    assert read == wanted


@given(
    st.sampled_from([0, 1, 127, 128, 16383, 16384, 2**21 - 1, 2**21, 2**28 - 1, 2**28, 999_999_999]),
    st.integers(-5, 2**33),
)
def test_every_size_of_nanoseconds_is_written_right(nanos: int, seconds: int) -> None:
    body = wire.encode_protobuf("{}", [seconds * 10**9 + nanos], [b"x"], [b""])
    stamp = PushRequest.FromString(body).streams[0].entries[0].timestamp
    assert (stamp.seconds, stamp.nanos) == (seconds, nanos)


@given(
    st.lists(
        st.tuples(st.integers(0, (1 << 62) - 1) | st.integers(0, 4).map(lambda s: s * 10**9), lines, pairs), max_size=8
    )
)
def test_both_ways_to_write_entries_give_the_same_bytes(
    wanted: list[tuple[int, bytes, list[tuple[bytes, bytes]]]],
) -> None:
    times, texts = [ns for ns, _, _ in wanted], [line for _, line, _ in wanted]
    metadata = [wire.encode_metadata(p) for _, _, p in wanted]
    packed = wire_writer.snappy_push_request(b"\n\x04{a=}", times, texts, metadata)
    assert packed is not None
    assert bytes(cramjam.snappy.decompress_raw(packed)) == wire.encode_protobuf("{a=}", times, texts, metadata)


@pytest.mark.parametrize("odd", [-1, 1 << 62, 1 << 75])
def test_times_that_are_not_written_fast_are_written(odd: int) -> None:
    assert wire_writer.snappy_push_request(b"", [1, odd], [b"a", b"b"], [b"", b""]) is None
    stream = wire.decode_protobuf(wire.encode_protobuf("{}", [1, odd], [b"a", b"b"], [b"", b""]))[0]
    assert stream.timestamps_ns == [1, odd]


def compressible(size: int) -> bytes:
    return (b"a line of which snappy makes less 0123456789 " * (size // 44 + 1))[:size]


@pytest.mark.parametrize("make", [compressible, os.urandom])
@pytest.mark.parametrize(
    "sizes",
    [
        [],
        [0],
        [100],
        [16_000],
        [63_000, 63_000],
        [64_480] * 3,
        [65_500] * 2,
        [65_536],
        [700_000, 5],
        [5, 700_000, 3_000_000],
        [400] * 1_000,
        [64_512 - 20 + step for step in range(40)],
    ],
)
def test_a_body_of_any_length_is_written(make: Callable[[int], bytes], sizes: list[int]) -> None:
    texts = [make(size) for size in sizes]
    arguments = ([5] * len(sizes), texts, [b""] * len(sizes))
    for _ in range(2):  # the second into the buffer of the first
        body = wire.encode_protobuf("{}", *arguments)
        packed = wire_writer.snappy_push_request(b"\n\x02{}", *arguments)
        assert packed is not None
        assert bytes(cramjam.snappy.decompress_raw(packed)) == body
        whole = cramjam.snappy.compress_raw(body)
        assert len(packed) <= len(whole) + 64 + len(whole) // 50  # a block has little less to refer to
        assert wire.decode_protobuf(body)[0].lines == texts


def test_bodies_that_threads_write_at_a_time_do_not_mix() -> None:
    """A refused body is divided, and its parts encoded, in a thread."""
    bodies = [([n] * 500, [b"%d " % n * 100] * 500, [b""] * 500) for n in range(8)]
    plain = [wire.encode_protobuf("{}", *body) for body in bodies]
    with ThreadPoolExecutor(4) as threads:
        for _ in range(20):
            packed = list(threads.map(lambda body: wire_writer.snappy_push_request(b"\n\x02{}", *body), bodies))
            assert [bytes(cramjam.snappy.decompress_raw(one)) for one in packed if one is not None] == plain


@given(entries, st.sampled_from([wire.PROTOBUF, wire.JSON]))
def test_decoding_gives_back_what_was_encoded(
    wanted: list[tuple[int, bytes, list[tuple[bytes, bytes]]]], encoding: str
) -> None:
    unique = [(ns, line, list(dict(pairs).items())) for ns, line, pairs in wanted]
    labels = wire.format_labels({"a": 'q"\\\n\x00é'})
    metadata = [wire.encode_metadata(pairs) for _, _, pairs in unique]
    payload = wire.encode(encoding, labels, [ns for ns, _, _ in unique], [line for _, line, _ in unique], metadata)
    push = wire.decode(encoding, payload)
    assert wire.parse_labels(push.labels) == wire.parse_labels(labels)
    assert push.timestamps_ns == [ns for ns, _, _ in unique]
    assert push.lines == [line for _, line, _ in unique]
    assert [wire.decode_metadata(meta) for meta in push.metadata] == [pairs for _, _, pairs in unique]


def test_the_second_before_1970_is_written_too() -> None:
    push = wire.decode(wire.PROTOBUF, wire.encode(wire.PROTOBUF, "{}", [-5], [b"x"], [b""]))
    assert push.timestamps_ns == [-5]


def test_the_same_entries_give_the_same_bytes() -> None:
    for encoding in (wire.PROTOBUF, wire.JSON):
        first = wire.encode(encoding, '{a="1"}', [5], [b"x"], [b""])
        assert first == wire.encode(encoding, '{a="1"}', [5], [b"x"], [b""])


def test_json_is_as_loki_wants_it() -> None:
    payload = wire.encode(wire.JSON, '{a="1"}', [5], [b"x\xff"], [wire.encode_metadata([(b"k", b"v")])])
    document = orjson.loads(gzip.decompress(payload))
    assert document == {"streams": [{"stream": {"a": "1"}, "values": [["5", "x�", {"k": "v"}]]}]}


@given(
    st.dictionaries(
        st.from_regex(r"[a-z_][a-z0-9_]{0,8}", fullmatch=True), st.text(max_size=30).filter(bool), max_size=5
    )
)
def test_labels_are_read_back_as_they_were(labels: dict[str, str]) -> None:
    assert wire.parse_labels(wire.format_labels(labels)) == labels


@given(st.binary(max_size=200))
def test_garbage_is_a_bad_body_and_nothing_else(data: bytes) -> None:
    for attempt in (lambda: wire.decode(wire.PROTOBUF, data), lambda: wire.decode(wire.JSON, data)):
        try:
            attempt()
        except wire.BadBody:
            continue


@given(st.binary(max_size=200))
def test_garbage_inside_good_snappy_is_a_bad_body(data: bytes) -> None:
    with contextlib.suppress(wire.BadBody):
        wire.decode(wire.PROTOBUF, bytes(cramjam.snappy.compress_raw(data)))


def test_lists_of_different_length_are_refused() -> None:
    with pytest.raises(ValueError, match="different lengths"):
        wire.encode_protobuf("{}", [1], [b"a", b"b"], [b""])


@given(sizes=st.lists(st.integers(0, 3000), min_size=2, max_size=5), far=st.booleans())
def test_a_body_has_nothing_of_the_one_before(sizes: list[int], far: bool) -> None:
    for size in [*sizes, *([3 * 1024 * 1024, 1] if far else [])]:
        line = bytes(range(97, 123)) * (size // 26) + b"z" * (size % 26)
        packed = wire.encode(wire.PROTOBUF, "{}", [1], [line], [b""])
        plain = wire.encode_protobuf("{}", [1], [line], [b""])
        assert bytes(cramjam.snappy.decompress_raw(packed)) == plain
        assert wire.decode(wire.PROTOBUF, packed).lines == [line]


def test_each_byte_of_a_body_is_compressed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compiled, each was compressed twice, and the first of the two thrown away: a tenth of what a line costs."""
    real = cramjam.snappy
    done: list[int] = []

    def compress_into(body: bytes, out: bytearray) -> Any:
        done.append(len(body))
        return real.compress_raw_into(body, out)

    def compress(body: bytes) -> Any:
        done.append(len(body))
        return real.compress_raw(body)

    counting = SimpleNamespace(
        compress_raw_max_len=real.compress_raw_max_len, compress_raw_into=compress_into, compress_raw=compress
    )
    monkeypatch.setattr(cramjam, "snappy", counting)

    wire.encode(wire.PROTOBUF, "{}", [1] * 400, [b"a line" * 50] * 400, [b""] * 400)

    assert sum(done) == len(wire.encode_protobuf("{}", [1] * 400, [b"a line" * 50] * 400, [b""] * 400))
    assert len(done) == (
        1 if hasattr(wire.encode, "__code__") else 3
    )  # all at once; two blocks, and what stands before them
