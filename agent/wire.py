"""Loki's push body, both directions: protobuf inside block snappy, or JSON inside gzip.

The three messages of `pkg/push/push.proto` (Loki 3.7), fields that a client sends:

    PushRequest       1 streams    repeated StreamAdapter
    StreamAdapter     1 labels     string, LogQL selector text        2 entries  repeated EntryAdapter
    EntryAdapter      1 timestamp  Timestamp {1 seconds int64, 2 nanos int32}
                      2 line       string                             3 structuredMetadata  repeated LabelPairAdapter
    LabelPairAdapter  1 name       string                             2 value               string

Written by hand because a message object per line would cost more than everything else together; a test compares it field
by field with the `protobuf` library. Decoding serves the few bodies that must be split or shown, and the Loki stand-in.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import cramjam
import orjson

PROTOBUF: Final = "protobuf"
JSON: Final = "json"

HTTP_HEADERS: Final = {
    PROTOBUF: {"Content-Type": "application/x-protobuf", "Content-Encoding": "snappy"},
    JSON: {"Content-Type": "application/json", "Content-Encoding": "gzip"},
}


class BadBody(ValueError):
    """The bytes are not a push body."""


@dataclass(frozen=True, slots=True)
class Push:
    """The decoded stream of one push request; parallel lists as in `model.StreamEntries`."""

    labels: str
    timestamps_ns: list[int]
    lines: list[bytes]
    metadata: list[bytes]


# --- encoding ------------------------------------------------------------------------------------------------------


def varint(number: int) -> bytes:
    """Base-128 varint of a non-negative number."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


# What stands before the time and before the line of a common entry: shorter than 1 KiB, its time ten digits of seconds and at
# least two thousandths of one. A table lookup is a quarter of the cost of the loop above.
_COMMON: Final = 1 << 10
_VARINTS: Final = [varint(n) for n in range(_COMMON)]
_BEFORE_LINE: Final = [b"\x12" + length for length in _VARINTS]
_BEFORE_TIME: Final = [b"\x12" + size + b"\n\x0c" for size in _VARINTS]
_BEFORE_SHORT_TIME: Final = [b"\x12" + size + b"\n\x0b" for size in _VARINTS]
_SECONDS_BYTES: Final = 7
_SHORT_VALUE: Final = 64
"""Bytes: ids are shorter."""


def _length(number: int) -> bytes:
    return _VARINTS[number] if number < _COMMON else varint(number)


class PairEncoder:
    """Encodes pairs of one name. What stands before a short value is remembered for each length."""

    def __init__(self, name: bytes) -> None:
        self._head = _head(name)
        self._before = [_before_value(self._head, size) for size in range(_SHORT_VALUE)]

    def encode(self, value: bytes) -> bytes:
        """One pair of structured metadata."""
        size = len(value)
        return (self._before[size] if size < _SHORT_VALUE else _before_value(self._head, size)) + value


def _head(name: bytes) -> bytes:
    """What stands in each pair of this name, but for its value and the lengths."""
    return b"\n" + _length(len(name)) + name + b"\x12"


def _before_value(head: bytes, size: int) -> bytes:
    rest = head + _length(size)
    return b"\x1a" + _length(len(rest) + size) + rest


def encode_metadata(pairs: Sequence[tuple[bytes, bytes]]) -> bytes:
    """Structured metadata of one entry as protobuf fields 3, ready to follow the line."""
    return b"".join([_before_value(_head(name), len(value)) + value for name, value in pairs])


def encode_protobuf(labels: str, timestamps_ns: list[int], lines: list[bytes], metadata: list[bytes]) -> bytes:
    """One stream as an uncompressed PushRequest. A line must be valid UTF-8 for strict readers; Loki takes any bytes.

    Raises ValueError when the lists differ in length.
    """
    _check_lengths(timestamps_ns, lines, metadata)
    head = _labels_field(labels)
    out = [b""]
    size = len(head) + _encode_entries(timestamps_ns, lines, metadata, out)
    out[0] = b"\n" + varint(size) + head
    return b"".join(out)


def _check_lengths(timestamps_ns: list[int], lines: list[bytes], metadata: list[bytes]) -> None:
    if not len(timestamps_ns) == len(lines) == len(metadata):
        raise ValueError(f"lists of different lengths: {len(timestamps_ns)}, {len(lines)}, {len(metadata)}")


def _labels_field(labels: str) -> bytes:
    text = labels.encode()
    return b"\n" + _length(len(text)) + text


def _encode_entries(timestamps_ns: list[int], lines: list[bytes], metadata: list[bytes], out: list[bytes]) -> int:
    """Appends StreamAdapter fields 2 to `out`; gives their size. An inner loop: no call that a table can replace, and few
    new objects: each costs more than all the arithmetic here."""
    before_time, before_short_time, before_line = _BEFORE_TIME, _BEFORE_SHORT_TIME, _BEFORE_LINE
    append = out.append
    second = 1 << 61  # no time has it
    seconds_field = b""
    is_common = False
    whole_size = 0
    for ns, line, meta in zip(timestamps_ns, lines, metadata):  # noqa: B905 - one length, and `strict` is slow
        whole = ns // 1_000_000_000
        nanos = ns % 1_000_000_000
        if whole != second:
            second = whole
            # Negative seconds (before 1970) are ten-byte varints of their two's complement.
            seconds_field = b"\x08" + varint(whole if whole >= 0 else whole + (1 << 64)) + b"\x10"
            is_common = len(seconds_field) == _SECONDS_BYTES
        length = len(line)
        if nanos >= 1 << 21 and is_common and length + len(meta) < _COMMON - 32:
            # The groups of seven bits, spread over bytes of their own: tables for them would not stay in the cache.
            low = (nanos & 0x7F) | (nanos & 0x3F80) << 1 | (nanos & 0x1FC000) << 2 | 0x808080
            size = 15 + (length >= 1 << 7) + length + len(meta)
            if nanos >= 1 << 28:
                size += 1
                high = (nanos & 0xFE00000) << 3 | 0x80000000 | (nanos >> 28) << 32
                append(before_time[size] + seconds_field + (low | high).to_bytes(5, "little") + before_line[length])
            else:
                high = (nanos & 0xFE00000) << 3
                append(
                    before_short_time[size] + seconds_field + (low | high).to_bytes(4, "little") + before_line[length]
                )
            whole_size += 1 + (1 if size < 1 << 7 else 2) + size
        else:
            stamp = seconds_field + varint(nanos) if nanos else seconds_field[:-1]
            line_length = varint(length)
            size = 3 + len(stamp) + len(line_length) + length + len(meta)
            entry_length = varint(size)
            append(b"\x12" + entry_length + b"\n" + varint(len(stamp)) + stamp + b"\x12" + line_length)
            whole_size += 1 + len(entry_length) + size
        append(line)
        if meta:
            append(meta)
    return whole_size


_IS_COMPILED: Final = not hasattr(_encode_entries, "__code__")


def encode_json(labels: str, timestamps_ns: Sequence[int], lines: Sequence[bytes], metadata: Sequence[bytes]) -> bytes:
    """The same stream as Loki's JSON. Bytes that are not UTF-8 become U+FFFD: JSON cannot carry them."""
    values: list[list[object]] = []
    for ns, line, meta in zip(timestamps_ns, lines, metadata, strict=True):
        value: list[object] = [str(ns), line.decode("utf-8", "replace")]
        if meta:
            value.append({n.decode("utf-8", "replace"): v.decode("utf-8", "replace") for n, v in decode_metadata(meta)})
        values.append(value)
    return orjson.dumps({"streams": [{"stream": parse_labels(labels), "values": values}]})


def encode(encoding: str, labels: str, timestamps_ns: list[int], lines: list[bytes], metadata: list[bytes]) -> bytes:
    """The HTTP body in one of the two encodings, the same bytes for the same arguments.

    Raises ValueError when the lists differ in length.
    """
    if encoding == JSON:
        return gzip.compress(encode_json(labels, timestamps_ns, lines, metadata), compresslevel=1, mtime=0)
    if _IS_COMPILED:
        from agent.wire_writer import snappy_push_request  # noqa: PLC0415 - of no use in the interpreter

        _check_lengths(timestamps_ns, lines, metadata)
        body = snappy_push_request(_labels_field(labels), timestamps_ns, lines, metadata)
        if body is not None:
            return body
    return bytes(cramjam.snappy.compress_raw(encode_protobuf(labels, timestamps_ns, lines, metadata)))


# --- labels --------------------------------------------------------------------------------------------------------

_ESCAPES: Final = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}


def format_labels(labels: dict[str, str]) -> str:
    """Selector text with sorted names; values quoted as Go's strconv does. Empty values are left out, as Loki does."""
    pairs = (f'{name}="{quote(value)}"' for name, value in sorted(labels.items()) if value)
    return "{" + ", ".join(pairs) + "}"


def quote(value: str) -> str:
    """The inside of a Go string literal. Lone surrogates, which UTF-8 cannot carry, become U+FFFD."""
    clean = value.encode("utf-8", "surrogatepass").decode("utf-8", "replace")
    return "".join(_ESCAPES.get(c, c if c.isprintable() else _escape_unprintable(c)) for c in clean)


def _escape_unprintable(char: str) -> str:
    code = ord(char)
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def parse_labels(text: str) -> dict[str, str]:
    """The labels of a selector that `format_labels` wrote. Raises BadBody for anything else."""
    labels: dict[str, str] = {}
    rest = text.strip()
    if not (rest.startswith("{") and rest.endswith("}")):
        raise BadBody(f"labels are not in braces: {text[:80]!r}")
    index, end = 1, len(rest) - 1
    while index < end:
        equals = rest.find('="', index, end)
        if equals < 0:
            raise BadBody(f"a label has no value: {rest[index : index + 40]!r}")
        name = rest[index:equals].strip(" ,")
        close = equals + 2
        while close < end and rest[close] != '"':
            close += 2 if rest[close] == "\\" else 1
        if close >= end:
            raise BadBody(f"the value of label {name!r} is not closed")
        labels[name] = _unquote(rest[equals + 2 : close])
        index = close + 1
        while index < end and rest[index] in " ,":
            index += 1
    return labels


def _unquote(inside: str) -> str:
    if "\\" not in inside:
        return inside
    plain = {"n": "\n", "r": "\r", "t": "\t", "a": "\a", "b": "\b", "f": "\f", "v": "\v"}
    out: list[str] = []
    index = 0
    while index < len(inside):
        char = inside[index]
        if char != "\\":
            out.append(char)
            index += 1
            continue
        kind = inside[index + 1]
        width = {"x": 2, "u": 4, "U": 8}.get(kind)
        if width is None:
            out.append(plain.get(kind, kind))
            index += 2
        else:
            out.append(chr(int(inside[index + 2 : index + 2 + width], 16)))
            index += 2 + width
    return "".join(out)


# --- decoding ------------------------------------------------------------------------------------------------------


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """(field number, value) of a message; length-delimited values as bytes, the others as int."""
    index, end = 0, len(data)
    while index < end:
        key, index = _read_varint(data, index)
        kind = key & 7
        if kind == 0:
            number, index = _read_varint(data, index)
            yield key >> 3, number
        elif kind == 2:
            size, index = _read_varint(data, index)
            if index + size > end:
                raise BadBody("a field is longer than its message")
            yield key >> 3, data[index : index + size]
            index += size
        elif kind in (1, 5):
            width = 8 if kind == 1 else 4
            if index + width > end:
                raise BadBody("a fixed field is cut off")
            yield key >> 3, int.from_bytes(data[index : index + width], "little")
            index += width
        else:
            raise BadBody(f"unknown wire type {kind}")


def _read_varint(data: bytes, index: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        if index >= len(data) or shift > 63:
            raise BadBody("a varint is cut off or too long")
        byte = data[index]
        index += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, index
        shift += 7


def _bytes(value: int | bytes) -> bytes:
    if isinstance(value, int):
        raise BadBody("a number stands where bytes belong")
    return value


def _int(value: int | bytes) -> int:
    if isinstance(value, bytes):
        raise BadBody("bytes stand where a number belongs")
    return value


def decode_metadata(data: bytes) -> list[tuple[bytes, bytes]]:
    """Name and value pairs of `encode_metadata`."""
    pairs = []
    for _, field in _fields(data):
        pair = dict(_fields(_bytes(field)))
        pairs.append((_bytes(pair.get(1, b"")), _bytes(pair.get(2, b""))))
    return pairs


def _decode_timestamp(data: bytes) -> int:
    parts = dict(_fields(data))
    seconds, nanos = _int(parts.get(1, 0)), _int(parts.get(2, 0))
    if seconds >= 1 << 63:
        seconds -= 1 << 64
    return seconds * 1_000_000_000 + nanos


def decode_protobuf(data: bytes) -> list[Push]:
    """The streams of an uncompressed PushRequest. Raises BadBody."""
    pushes = []
    for number, stream in _fields(data):
        if number != 1:
            continue
        push = Push("", [], [], [])
        labels = ""
        for field, value in _fields(_bytes(stream)):
            if field == 1:
                labels = _bytes(value).decode("utf-8", "surrogateescape")
            elif field == 2:
                _decode_entry(_bytes(value), push)
        pushes.append(Push(labels, push.timestamps_ns, push.lines, push.metadata))
    return pushes


def _decode_entry(data: bytes, into: Push) -> None:
    ns, line = 0, b""
    metadata: list[bytes] = []
    for field, value in _fields(data):
        if field == 1:
            ns = _decode_timestamp(_bytes(value))
        elif field == 2:
            line = _bytes(value)
        elif field == 3:
            pair = _bytes(value)
            metadata.append(b"\x1a" + _length(len(pair)) + pair)
    into.timestamps_ns.append(ns)
    into.lines.append(line)
    into.metadata.append(b"".join(metadata))


def _decode_json(data: bytes) -> list[Push]:
    try:
        document = orjson.loads(data)
        pushes = []
        for stream in document["streams"]:
            push = Push(format_labels(stream["stream"]), [], [], [])
            for ns, line, *rest in stream["values"]:
                push.timestamps_ns.append(int(ns))
                push.lines.append(line.encode())
                pairs = [(n.encode(), v.encode()) for n, v in rest[0].items()] if rest else []
                push.metadata.append(encode_metadata(pairs))
            pushes.append(push)
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise BadBody(f"not a JSON push body: {error}") from error
    return pushes


def decode(encoding: str, payload: bytes) -> Push:
    """The one stream of a body that `encode` wrote. Raises BadBody."""
    try:
        if encoding == JSON:
            pushes = _decode_json(gzip.decompress(payload))
        else:
            pushes = decode_protobuf(bytes(cramjam.snappy.decompress_raw(payload)))
    except (cramjam.DecompressionError, OSError, EOFError) as error:
        raise BadBody(f"cannot decompress: {error}") from error
    if len(pushes) != 1:
        raise BadBody(f"{len(pushes)} streams in a body that holds one")
    return pushes[0]
