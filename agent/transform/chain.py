"""Chunk → entries: redact, parse, label, as one function over a chunk.

Redaction comes first and works on the whole chunk; everything after it sees redacted lines only, so labels and metadata
cannot carry what the line no longer does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

from agent import config, wire
from agent.model import Chunk, Entries, FileId, StreamEntries
from agent.transform import events, level, timestamp
from agent.transform.label import Labeller, bytes_of, metadata_name
from agent.transform.parse import LineDecoder, Scalar, Values, View

_CACHE_LIMIT = 8192

# What a 64-bit count of nanoseconds holds with room to spare (years 1823 to 2116); Loki stores no other times.
_REPRESENTABLE_NS = 1 << 62


class Redacted(Protocol):
    """What redaction did to a chunk's lines: counts, and the indexes of lines to leave out."""

    @property
    def dropped(self) -> Sequence[int]: ...
    @property
    def hits(self) -> dict[str, int]: ...
    @property
    def failed(self) -> int: ...
    @property
    def open_key(self) -> bool: ...


class Redactor(Protocol):
    def chunk(self, data: bytes, lines: list[bytes], /, *, open_key: bool = False) -> Redacted: ...
    def text(self, value: str, /) -> str: ...


class Transform:
    """Turns chunks into entries.

    parse, labels, metadata: their configuration sections.
    host:      value of the label `host`.
    text_only: names of the sources whose lines are not looked into.
    """

    def __init__(
        self,
        parse: config.Parse,
        labels: config.Labels,
        metadata: config.Metadata,
        redactor: Redactor,
        *,
        host: str,
        text_only: frozenset[str] = frozenset(),
    ) -> None:
        self._redactor = redactor
        self._text_only = text_only
        self._levels = len(parse.level_fields)
        self._level_names = parse.level_fields
        self._metadata_names = tuple(metadata_name(name).encode() for name in metadata.fields)
        # One list of fields: levels, metadata, labels; a field asked for twice is decoded once.
        asked = (*parse.level_fields, *metadata.fields, *labels.from_fields.values())
        unique = tuple(dict.fromkeys(asked))
        self._decoder = LineDecoder(parse.timestamp_fields, unique)
        self._metadata_slots = tuple(unique.index(name) for name in (*parse.level_fields, *metadata.fields))
        self._label_slots = tuple(unique.index(name) for name in labels.from_fields.values())
        self._labeller = Labeller(labels.static, host, tuple(labels.from_fields), redactor.text, labels.max_streams)
        self._metadata_cache: dict[Values, bytes] = {}
        # Files whose last chunk ended inside a private key that is spread over lines: the next one goes on with it.
        self._in_key: set[FileId] = set()
        self._clamp = parse.out_of_range == "clamp"
        self._max_age_ns = int(parse.max_age * 1e9)
        self._max_future_ns = int(parse.max_future * 1e9)

    def __call__(self, chunk: Chunk) -> Entries:
        """The entries of a chunk, in file order. Raises nothing, whatever the lines hold."""
        lines = chunk.data.split(b"\n")
        lines.pop()  # what follows the last newline: nothing
        total = len(lines)
        file = chunk.span.file
        redacted = self._redactor.chunk(chunk.data, lines, open_key=file in self._in_key)
        (self._in_key.add if redacted.open_key else self._in_key.discard)(file)
        ordered_out = redacted.dropped
        if chunk.line_counts is not None:
            lines, ordered_out = events.gather(lines, chunk.line_counts, ordered_out)
            total = len(lines)
        whole_json = chunk.origin.source not in self._text_only
        oldest_ns, newest_ns = self._range(chunk.read_ns)
        times, values, counts = self._parse(lines, chunk, whole_json, oldest_ns, newest_ns)
        clamped = self._keep_in_range(times, chunk.read_ns, oldest_ns, newest_ns)
        metadata = self._metadata(lines, values, chunk, clamped)
        dropped = self._drop(lines, times, values, metadata, ordered_out)
        group = self._labeller.group(chunk.origin)
        return Entries(
            origin=chunk.origin,
            span=chunk.span,
            group=group,
            lines=total,
            streams=self._streams(chunk, group, times, lines, metadata, values),
            dropped=dropped,
            parsed=counts,
            clamped=len(clamped),
            redactions=redacted.hits,
            redaction_failures=redacted.failed,
            also=chunk.also,
        )

    def _range(self, read_ns: int) -> tuple[int, int]:
        """The oldest and newest time that leaves as it is."""
        if self._clamp:
            return read_ns - self._max_age_ns, read_ns + self._max_future_ns
        return -_REPRESENTABLE_NS, _REPRESENTABLE_NS

    def _parse(
        self, lines: list[bytes], chunk: Chunk, look_inside: bool, oldest_ns: int, newest_ns: int
    ) -> tuple[list[int], list[Values | None], dict[str, int]]:
        """(times, field values, counts) of the lines. Values of a line that is no JSON are None."""
        decode = self._decoder.decode if look_inside else _refuse
        time_of, values_of = self._decoder.time_of, self._decoder.values_of
        from_json = timestamp.from_json
        times: list[int] = []
        values: list[Values | None] = []
        lenient = text = 0
        # A line without a time of its own (a traceback, a torn line) keeps its place behind the line before it.
        last_ns = chunk.read_ns
        for line in lines:
            ns: int | None
            found: Values | None
            try:
                view = decode(line)
            except (msgspec.DecodeError, RecursionError):
                second_chance = self._decoder.lenient(line) if look_inside else None
                if second_chance is None:
                    text += 1
                    ns, found = timestamp.from_torn(line), None
                else:
                    lenient += 1
                    ns, found = from_json(second_chance[0]), second_chance[1]
            else:
                ns, found = from_json(bytes(view.t0) or time_of(view)), values_of(view)
            if ns is None:
                ns = last_ns
            elif oldest_ns <= ns <= newest_ns:
                last_ns = ns
            times.append(ns)
            values.append(found)
        if chunk.times_ns is not None:
            times = list(chunk.times_ns)
        return times, values, {"json": len(lines) - lenient - text, "lenient": lenient, "text": text}

    @staticmethod
    def _keep_in_range(times: list[int], read_ns: int, oldest_ns: int, newest_ns: int) -> dict[int, int]:
        """Sets times that Loki would refuse to the time of reading; gives index → original."""
        if times and oldest_ns <= min(times) and max(times) <= newest_ns:
            return {}
        clamped = {index: ns for index, ns in enumerate(times) if not oldest_ns <= ns <= newest_ns}
        for index in clamped:
            times[index] = read_ns
        return clamped

    def _metadata(
        self, lines: list[bytes], values: list[Values | None], chunk: Chunk, clamped: dict[int, int]
    ) -> list[bytes]:
        """Each line's encoded structured metadata. Lines of one request share theirs, so it is made once."""
        cache = self._metadata_cache
        if len(cache) > _CACHE_LIMIT:
            cache.clear()
        make = self._encode_metadata
        out: list[bytes] = []
        for line, found in zip(lines, values, strict=True):
            if found is None:
                out.append(self._text_metadata(line))
                continue
            encoded = cache.get(found)
            if encoded is None:
                encoded = cache[found] = make(found)
            out.append(encoded)
        for index, original in clamped.items():
            out[index] += wire.encode_metadata([(b"original_timestamp", str(original).encode())])
        if chunk.first_part and out:
            out[0] += wire.encode_metadata([(b"part", str(chunk.first_part).encode())])
        if chunk.last_part and out and not (chunk.first_part and len(out) == 1):
            out[-1] += wire.encode_metadata([(b"part", str(chunk.last_part).encode())])
        return out

    def _encode_metadata(self, values: Values) -> bytes:
        chosen = [values[slot] for slot in self._metadata_slots]
        pairs = [
            (name, bytes_of(value))
            for name, value in zip(self._metadata_names, chosen[self._levels :], strict=True)
            if value is not None and value != ""
        ]
        for name, value in zip(self._level_names, chosen, strict=False):
            if value is not None:
                detected = level.of_field(name, value)
                if detected is not None:
                    pairs.append((b"detected_level", detected.encode()))
                break
        return wire.encode_metadata(pairs)

    def _text_metadata(self, line: bytes) -> bytes:
        detected = level.of_text(line)
        return wire.encode_metadata([(b"detected_level", detected.encode())]) if detected else b""

    def _drop(
        self,
        lines: list[bytes],
        times: list[int],
        values: list[Values | None],
        metadata: list[bytes],
        ordered_out: Sequence[int],
    ) -> dict[str, int]:
        """Takes empty lines, and those a rule orders out, from the parallel lists; gives counts by reason."""
        by_rule = set(ordered_out)
        if not by_rule and all(lines):
            return {}
        empty = [index for index, line in enumerate(lines) if not line and index not in by_rule]
        for index in sorted([*by_rule, *empty], reverse=True):
            for column in (lines, times, values, metadata):
                del column[index]
        counts = {"empty": len(empty), "redaction_rule": len(by_rule)}
        return {reason: count for reason, count in counts.items() if count}

    def _streams(
        self,
        chunk: Chunk,
        group: str,
        times: list[int],
        lines: list[bytes],
        metadata: list[bytes],
        values: list[Values | None],
    ) -> tuple[StreamEntries, ...]:
        if not lines:
            return ()
        if not self._label_slots:
            return (StreamEntries(group, times, lines, metadata),)
        nothing: tuple[Scalar, ...] = (None,) * len(self._label_slots)
        slots = self._label_slots
        stream: Callable[..., str] = self._labeller.stream
        by_labels: dict[str, StreamEntries] = {}
        for ns, line, meta, found in zip(times, lines, metadata, values, strict=True):
            labels = stream(chunk.origin, nothing if found is None else tuple([found[slot] for slot in slots]))
            entries = by_labels.get(labels)
            if entries is None:
                entries = by_labels[labels] = StreamEntries(labels, [], [], [])
            entries.timestamps_ns.append(ns)
            entries.lines.append(line)
            entries.metadata.append(meta)
        return tuple(by_labels.values())


def _refuse(_: bytes) -> View:
    """Decodes nothing: every line of a text source is text."""
    raise msgspec.DecodeError
