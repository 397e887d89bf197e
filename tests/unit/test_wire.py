"""agent.wire against the protobuf library and against itself."""

import contextlib
import gzip
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
    out: list[bytes] = []
    size = wire._encode_entries(times, texts, metadata, out)
    body = wire_writer.push_request(b"head", times, texts, metadata)
    assert body == b"\n" + wire.varint(size + 4) + b"head" + b"".join(out)


@pytest.mark.parametrize("odd", [-1, 1 << 62, 1 << 75])
def test_times_that_are_not_written_fast_are_written(odd: int) -> None:
    assert wire_writer.push_request(b"", [1, odd], [b"a", b"b"], [b"", b""]) is None
    stream = wire.decode_protobuf(wire.encode_protobuf("{}", [1, odd], [b"a", b"b"], [b"", b""]))[0]
    assert stream.timestamps_ns == [1, odd]


@pytest.mark.parametrize("size", [0, 100, 16_000, 17_000, 2_090_000, 2_100_000, 3_000_000])
def test_a_body_of_any_length_is_written(size: int) -> None:
    for _ in range(2):  # the second into the buffer of the first
        body = wire.encode_protobuf("{}", [5], [b"x" * size], [b""])
        assert wire_writer.push_request(b"\n\x02{}", [5], [b"x" * size], [b""]) == body
        assert wire.decode_protobuf(body)[0].lines == [b"x" * size]


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
def test_what_a_body_is_compressed_into_leaves_nothing_of_the_one_before(sizes: list[int], far: bool) -> None:
    for size in [*sizes, *([3 * 1024 * 1024, 1] if far else [])]:
        line = bytes(range(97, 123)) * (size // 26) + b"z" * (size % 26)
        packed = wire.encode(wire.PROTOBUF, "{}", [1], [line], [b""])
        assert packed == bytes(cramjam.snappy.compress_raw(wire.encode_protobuf("{}", [1], [line], [b""])))
        assert wire.decode(wire.PROTOBUF, packed).lines == [line]


def test_a_body_is_compressed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compiled, it was done twice, and the first of the two thrown away: a tenth of what a line costs."""
    real = cramjam.snappy
    done: list[int] = []

    def compress_into(body: bytes, out: bytearray) -> Any:
        done.append(len(body))
        return real.compress_raw_into(body, out)

    monkeypatch.setattr(
        cramjam,
        "snappy",
        SimpleNamespace(compress_raw_max_len=real.compress_raw_max_len, compress_raw_into=compress_into),
    )

    wire.encode(wire.PROTOBUF, "{}", [1], [b"a line"], [b""])

    assert done == [len(wire.encode_protobuf("{}", [1], [b"a line"], [b""]))]
