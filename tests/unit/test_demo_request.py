import gzip

import cramjam
import pytest

from agent import wire
from agent.demo.limits import Limits
from agent.demo.request import BadRequest, read_push, tenant_of

PROTOBUF = {"Content-Type": "application/x-protobuf"}


def refusal(headers: dict[str, str], body: bytes, limits: Limits | None = None) -> tuple[int, str]:
    with pytest.raises(BadRequest) as caught:
        read_push(headers, body, limits or Limits())
    return caught.value.status, caught.value.text


@pytest.mark.parametrize("encoding", [wire.PROTOBUF, wire.JSON])
def test_what_the_agent_writes_is_read_as_it_was(encoding: str) -> None:
    metadata = wire.encode_metadata([(b"request_id", "ü".encode())])
    lines = ["größe".encode(), b"two"]
    body = wire.encode(encoding, '{job="j"}', [-5_000_000_000, 7], lines, [metadata, b""])
    (push,) = read_push(wire.HTTP_HEADERS[encoding], body, Limits())
    assert (push.labels, push.timestamps_ns, push.lines, push.metadata) == (
        '{job="j"}',
        [-5_000_000_000, 7],
        lines,
        [metadata, b""],
    )


def test_a_body_over_the_limit_is_413_in_protobuf_and_400_in_json() -> None:
    text = "request body too large: message size too large than max (11 vs 10)"
    assert refusal(PROTOBUF, b"x" * 11, Limits(max_wire_bytes=10)) == (413, text)
    assert refusal({"Content-Type": "application/json"}, b"x" * 11, Limits(max_wire_bytes=10)) == (400, text)


@pytest.mark.parametrize(
    "body",
    [
        b"\x0a\x05",  # a field longer than its message
        b"\x0a\x02\x0a\xff",
        b"\x0b",  # a wire type that is none
        wire.encode_protobuf("{}", [1 << 75], [b"x"], [b""]),  # beyond the year 9999
        wire.encode_protobuf("{}", [1], [b"x"], [b"\x1a\x02\x0a\x05"]),  # metadata cut off
    ],
)
def test_a_broken_message_is_400(body: bytes) -> None:
    assert refusal(PROTOBUF, bytes(cramjam.snappy.compress_raw(body)))[0] == 400


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b'{"streams": 1}',
        b'{"streams": [1]}',
        b'{"streams": [{"stream": {"a": 1}, "values": []}]}',
        b'{"streams": [{"stream": {"a": "b"}, "values": [["1"]]}]}',
        b'{"streams": [{"stream": {"a": "b"}, "values": [["1", 2]]}]}',
        b'{"streams": [{"stream": {"a": "b"}, "values": {}}]}',
    ],
)
def test_broken_json_is_400(body: bytes) -> None:
    assert refusal({"Content-Type": "application/json"}, body)[0] == 400


def test_missing_and_null_parts_of_json_are_empty() -> None:
    assert read_push({"Content-Type": "application/json"}, b"{}", Limits()) == []
    (push,) = read_push({"Content-Type": "application/json"}, b'{"streams": [{"stream": null}]}', Limits())
    assert (push.labels, push.lines) == ("{}", [])


def test_a_body_cut_off_inside_its_gzip_is_400() -> None:
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    assert refusal(headers, gzip.compress(b'{"streams": []}')[:-3]) == (400, "unexpected EOF")
    assert refusal(headers, b"plain") == (400, "gzip: invalid header")


def test_gzip_around_the_snappy_block_is_taken() -> None:
    body = gzip.compress(wire.encode(wire.PROTOBUF, '{job="j"}', [1], [b"x"], [b""]))
    assert read_push({**PROTOBUF, "Content-Encoding": "gzip"}, body, Limits())[0].lines == [b"x"]


@pytest.mark.parametrize(
    ("org_id", "status", "text"),
    [
        (None, 401, "no org id"),
        ("", 401, "no org id"),
        ("a|b", 400, "multiple org IDs present"),
        ("a/b", 400, "tenant ID 'a/b' contains unsupported character '/'"),
        ("x" * 151, 400, "tenant ID is too long: max 150 characters"),
        ("..", 400, "tenant ID is '.' or '..'"),
    ],
)
def test_a_bad_tenant_is_refused(org_id: str | None, status: int, text: str) -> None:
    with pytest.raises(BadRequest) as caught:
        tenant_of(org_id, Limits(auth_enabled=True))
    assert (caught.value.status, caught.value.text) == (status, text)


def test_a_tenant_is_named_only_where_tenants_are_on() -> None:
    assert tenant_of("team-a_(1)", Limits(auth_enabled=True)) == "team-a_(1)"
    assert tenant_of("team-a", Limits()) == "fake"
