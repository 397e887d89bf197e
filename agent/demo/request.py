"""From an HTTP push request to decoded streams, as Loki 3.7 reads them (pkg/loghttp/push/push.go, pkg/util/http.go).

Pure: headers and body in, streams or a `BadRequest` with Loki's status and text out.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping

import cramjam
import orjson

from agent import wire
from agent.demo.labels import metadata_of
from agent.demo.limits import SECOND_NS, Limits
from agent.wire import BadBody, Push

_INTEGER = re.compile(r"[+-]?[0-9]{1,19}")
_TENANT = re.compile(r"[A-Za-z0-9!\-_.*'()]*")
_RAW_DEFLATE, _GZIP = -15, 31  # zlib's window sizes; a zlib header is what Loki does not take
_EARLIEST_NS, _LATEST_NS = -62_135_596_800 * SECOND_NS, 253_402_300_800 * SECOND_NS  # protobuf's years 1 and 10000


class BadRequest(Exception):
    """Nothing of the request is stored."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"{status} {text}")
        self.status = status
        self.text = text


def tenant_of(org_id: str | None, limits: Limits) -> str:
    """Whose push this is (dskit tenant/tenant.go). Raises BadRequest."""
    if not limits.auth_enabled:
        return "fake"
    if not org_id:
        raise BadRequest(401, "no org id")
    if "|" in org_id:
        raise BadRequest(400, "multiple org IDs present")
    if len(org_id) > 150:
        raise BadRequest(400, "tenant ID is too long: max 150 characters")
    allowed = _TENANT.match(org_id)
    end = allowed.end() if allowed else 0
    if end < len(org_id):
        raise BadRequest(400, f"tenant ID '{org_id}' contains unsupported character '{org_id[end]}'")
    if org_id in (".", ".."):
        raise BadRequest(400, "tenant ID is '.' or '..'")
    return org_id


def read_push(headers: Mapping[str, str], body: bytes, limits: Limits) -> list[Push]:
    """The streams of a push. `headers` looks names up without regard to case. Raises BadRequest."""
    content_type = headers.get("Content-Type", "").split(";")[0].strip().lower()
    if not content_type:
        raise BadRequest(400, "mime: no media type")
    is_json = content_type == "application/json"
    if len(body) > limits.max_wire_bytes:
        text = f"request body too large: message size too large than max ({len(body)} vs {limits.max_wire_bytes})"
        raise BadRequest(400 if is_json else 413, text)
    encoding = headers.get("Content-Encoding", "")
    if encoding not in ("", "gzip", "deflate", "snappy"):
        raise BadRequest(400, f'Content-Encoding "{encoding}" not supported')
    plain = _inflate(encoding, body)
    try:
        return _from_json(plain) if is_json else _from_protobuf(plain)
    except BadBody as error:
        raise BadRequest(400, str(error)) from error


def _inflate(encoding: str, body: bytes) -> bytes:
    """`snappy` only marks what a protobuf body is anyway, and is ignored for JSON."""
    if encoding in ("", "snappy"):
        return body
    inflater = zlib.decompressobj(_GZIP if encoding == "gzip" else _RAW_DEFLATE)
    try:
        plain = inflater.decompress(body)
    except zlib.error as error:
        raise BadRequest(400, "gzip: invalid header" if encoding == "gzip" else "EOF") from error
    if not inflater.eof:
        raise BadRequest(400, "unexpected EOF")
    return plain


def _from_protobuf(body: bytes) -> list[Push]:
    try:
        plain = bytes(cramjam.snappy.decompress_raw(body))
    except cramjam.DecompressionError as error:
        raise BadBody("snappy: corrupt input") from error
    pushes = wire.decode_protobuf(plain)
    for push in pushes:
        if push.timestamps_ns and not _EARLIEST_NS <= min(push.timestamps_ns) <= max(push.timestamps_ns) < _LATEST_NS:
            raise BadBody("timestamp: seconds out of range")
        for encoded in set(push.metadata):
            metadata_of(encoded)
    return pushes


def _from_json(body: bytes) -> list[Push]:
    """Strict where Loki is strict: nanoseconds as decimal text, strings for every value of labels and metadata."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BadBody(f"loghttp.PushRequest: {error}") from error
    if not isinstance(document, dict):
        raise BadBody("ReadMapCB: expect { or n")
    return [_json_stream(stream) for stream in _list(document.get("streams"))]


def _json_stream(stream: object) -> Push:
    if not isinstance(stream, dict):
        raise BadBody("loghttp.LogProtoStream: expect { or n")
    labels = stream.get("stream")
    pairs = _string_map(labels if labels is not None else {})
    text = "{" + ", ".join(f'{name}="{wire.quote(value)}"' for name, value in pairs.items()) + "}"
    push = Push(text, [], [], [])
    for value in _list(stream.get("values")):
        if not isinstance(value, list) or len(value) < 2:
            raise BadBody("Malformed log message: an entry needs a timestamp and a line")
        timestamp, line, *rest = value
        if not isinstance(timestamp, str) or not _INTEGER.fullmatch(timestamp):
            raise BadBody(f"strconv.ParseInt: parsing {orjson.dumps(timestamp).decode()}: invalid syntax")
        if not isinstance(line, str):
            raise BadBody("Malformed log message: the line is not a string")
        push.timestamps_ns.append(int(timestamp))
        push.lines.append(line.encode())
        metadata = _string_map(rest[0]) if rest else {}
        push.metadata.append(wire.encode_metadata([(n.encode(), v.encode()) for n, v in metadata.items()]))
    return push


def _list(value: object) -> list[object]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise BadBody("decode slice: expect [ or n")
    return value


def _string_map(value: object) -> dict[str, str]:
    if not isinstance(value, dict) or not all(isinstance(item, str) for item in value.values()):
        raise BadBody("Value looks like object, but can't find closing '}' symbol or a value is not a string")
    return value
