"""Chunk → entries: redact, parse, label, as one function over the chunks of a turn.

Redaction comes first and works on whole chunks; everything after it sees redacted lines only, so labels and metadata
cannot carry what the line no longer does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import msgspec
from mypy_extensions import i64

from agent import config, wire
from agent.model import Chunk, Entries, FileId, StreamEntries
from agent.transform import events, glance, level, timestamp
from agent.transform.label import Labeller, clip
from agent.transform.metadata import MetadataEncoder, detected
from agent.transform.parse import LineDecoder, Scalar, Values, View
from agent.transform.placing import UNTIMED, Placer
from agent.transform.redaction.places import Flags

# Loki 3.7 `pkg/validation/limits.go`: max_line_size.
MAX_LINE_BYTES: Final = 256 * 1024

_CACHE_LIMIT: Final = 8192
_NO_JSON: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class Redacted(Protocol):
    """What redaction did to a chunk's lines: counts, and the indexes of lines to leave out."""

    @property
    def changed(self) -> Sequence[int]: ...
    @property
    def dropped(self) -> Sequence[int]: ...
    @property
    def hits(self) -> dict[str, int]: ...
    @property
    def seen(self) -> dict[str, int]: ...
    @property
    def tags(self) -> dict[int, str]: ...
    @property
    def failed(self) -> int: ...
    @property
    def open_key(self) -> bool: ...


class Redactor(Protocol):
    def split(self, data: bytes, /) -> tuple[list[bytes], Flags]: ...
    def chunk(self, data: bytes, lines: list[bytes], flags: Flags, /, *, open_key: bool) -> Redacted: ...
    def text(self, value: str, /) -> str: ...


@dataclass(slots=True)
class _Seen:
    """What the lines of a chunk say, as parallel lists, and how they said it.

    values: of the fields that labels are made of, if any; None for a line that is no JSON.
    last_ns: for a line without a time of its own (a traceback, a torn line): it keeps its place behind the line before it.
    odd_times: whether there is any that Loki would refuse, or none.  empty: lines without a byte.
    lenient, text, clamped: lines that are JSON but for a NaN, that are no JSON, whose time was out of range.
    failed, failure: lines that met a bug of ours, and where the last one did.
    """

    times: list[int]
    metadata: list[bytes]
    values: list[Values | None]
    last_ns: int
    odd_times: bool = False
    empty: int = 0
    lenient: int = 0
    text: int = 0
    clamped: int = 0
    failed: int = 0
    failure: str = ""


class Transform:
    """Turns chunks into entries.

    parse, labels, metadata: their configuration sections.
    host:      value of the label `host`.
    text_only: names of the sources whose lines are not looked into.
    max_line_bytes: what Loki takes. The reader keeps to it, but a line may grow when marks replace secrets, or when it is decoded.
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
        max_line_bytes: int = MAX_LINE_BYTES,
    ) -> None:
        self._max_line_bytes = max_line_bytes
        self._redactor = redactor
        self._text_only = text_only
        # One list of fields: levels, metadata, labels; a field asked for twice is decoded once.
        labelled = tuple(labels.from_fields.values())
        fields = tuple(dict.fromkeys((*parse.level_fields, *metadata.fields, *labelled)))
        self._metadata = MetadataEncoder(parse, metadata, fields)
        # At a glance: the first level there may be, and all but the other levels.
        first = parse.level_fields[:1]
        chosen = {*first, *metadata.fields, *labelled}
        glanced = tuple(name for name in fields if name in chosen)
        self._glanced_metadata = MetadataEncoder(parse, metadata, glanced)
        self._wants_level = bool(first)
        self._decoder = LineDecoder(parse.timestamp_fields, fields, glanced)
        self._glancer = glance.Glancer(glanced) if glance.IS_COMPILED else None
        # The first member of a common line is its time, which the clock has read, and which is asked for only by name.
        self._skips_time = parse.timestamp_fields[:1] != () and parse.timestamp_fields[0] not in glanced
        self._clock = timestamp.Clock(self._decoder.head)
        self._label_slots = tuple(fields.index(name) for name in labelled)
        self._glanced_slots = tuple(glanced.index(name) for name in labelled)
        self._labeller = Labeller(labels.static, host, tuple(labels.from_fields), redactor.text, labels.max_streams)
        self._glance_cache: dict[Any, bytes] = {}
        self._metadata_cache: dict[Values, bytes] = {}
        # Files whose last chunk ended inside a private key that is spread over lines: the next one goes on with it.
        self._in_key: set[FileId] = set()
        self._placer = Placer(keeps_odd=parse.out_of_range == "send")
        self._max_age_ns = int(parse.max_age * 1e9)
        self._max_future_ns = int(parse.max_future * 1e9)

    def __call__(self, chunk: Chunk) -> Entries:
        """The entries of one chunk; see `turn`."""
        return next(self.turn([chunk]))

    def turn(self, chunks: Sequence[Chunk]) -> Iterator[Entries]:
        """The entries of each chunk, in file order. Raises nothing, whatever the lines hold.

        Secrets are looked for in all chunks before the next step begins: code and tables of each step are then in the processor's
        cache (decision 57). What follows is done when it is asked for, so that the lines are still there for whoever encodes them.
        """
        split = [self._redactor.split(chunk.data) for chunk in chunks]
        redacted = [self._redact(chunk, *each) for chunk, each in zip(chunks, split, strict=True)]
        for chunk, done in zip(chunks, redacted, strict=True):
            yield self._entries(chunk, split.pop(0)[0], done)

    def _redact(self, chunk: Chunk, lines: list[bytes], flags: Flags) -> Redacted:
        file = chunk.span.file
        redacted = self._redactor.chunk(chunk.data, lines, flags, open_key=file in self._in_key)
        (self._in_key.add if redacted.open_key else self._in_key.discard)(file)
        return redacted

    def _entries(self, chunk: Chunk, lines: list[bytes], redacted: Redacted) -> Entries:
        total = len(lines)
        ordered_out, tags = redacted.dropped, redacted.tags
        if chunk.line_counts is not None:
            lines, ordered_out, tags = events.gather(lines, chunk.line_counts, ordered_out, tags)
            total = len(lines)
        group = self._labeller.group(chunk.origin)
        seen = self._read(lines, chunk, group)
        self._mark_parts(seen.metadata, chunk)
        for index, rules in tags.items():
            seen.metadata[index] += wire.encode_metadata([(b"redaction_rules", rules.encode())])
        if chunk.line_counts is None and len(chunk.data) <= self._max_line_bytes:
            candidates = redacted.changed  # no other can be too long
        else:
            candidates = [index for index, line in enumerate(lines) if len(line) > self._max_line_bytes]
        clipped = self._clip(lines, seen.metadata, candidates)
        dropped = self._drop(lines, seen, ordered_out)
        return Entries(
            origin=chunk.origin,
            span=chunk.span,
            group=group,
            lines=total,
            streams=self._streams(chunk, group, lines, seen),
            dropped=dropped,
            parsed={
                "json": total - seen.lenient - seen.text - seen.failed,
                "lenient": seen.lenient,
                "text": seen.text,
                "failed": seen.failed,
            },
            clamped=seen.clamped,
            clipped=clipped,
            redactions=redacted.hits,
            redactions_seen=redacted.seen,
            redaction_failures=redacted.failed,
            parse_failures=seen.failed,
            parse_failure=seen.failure,
            also=chunk.also,
        )

    def _range(self, read_ns: int) -> tuple[int, int]:
        """The oldest and newest time that Loki takes."""
        return read_ns - self._max_age_ns, read_ns + self._max_future_ns

    def _read(self, lines: list[bytes], chunk: Chunk, group: str) -> _Seen:
        """What the lines say, and a time for those that say none, or one that Loki would refuse."""
        oldest_ns, newest_ns = self._range(chunk.read_ns)
        try:
            seen = self._look(lines, chunk, oldest_ns, newest_ns)
        except Exception as error:  # noqa: BLE001 - a bug that ends the agent would meet the same line after each start
            seen = self._look_at_each(lines, chunk, oldest_ns, newest_ns, _place_of(error))
        if seen.odd_times:
            replaced = self._placer.place(seen.times, chunk, group, oldest_ns, newest_ns)
            for index, ns in replaced.items():
                seen.metadata[index] += wire.encode_metadata([(b"original_timestamp", str(ns).encode())])
            seen.clamped = len(replaced)
        elif seen.times:
            self._placer.note(group, seen.times[-1])
        return seen

    def _look(self, lines: list[bytes], chunk: Chunk, oldest_ns: int, newest_ns: int) -> _Seen:
        look_inside = chunk.origin.source not in self._text_only
        seen = _Seen([], [], [], last_ns=UNTIMED)
        if len(self._glance_cache) > _CACHE_LIMIT:
            self._glance_cache.clear()
        if look_inside:
            at = self._skim(lines, 0, chunk, seen, oldest_ns, newest_ns)
            while at < len(lines):
                self._look_closer(lines[at], chunk, seen, look_inside, oldest_ns, newest_ns)
                at = self._skim(lines, at + 1, chunk, seen, oldest_ns, newest_ns)
        else:
            for line in lines:
                self._look_closer(line, chunk, seen, look_inside, oldest_ns, newest_ns)
        return seen

    def _look_at_each(self, lines: list[bytes], chunk: Chunk, oldest_ns: int, newest_ns: int, failure: str) -> _Seen:
        """The same line by line. One that meets a bug is sent as it is, in its place, and nothing is said of it."""
        look_inside = chunk.origin.source not in self._text_only
        seen = _Seen([], [], [], last_ns=UNTIMED, failure=failure)
        for index, line in enumerate(lines):
            counted = seen.lenient, seen.text, seen.empty
            try:
                self._look_closer(line, chunk, seen, look_inside, oldest_ns, newest_ns)
            except Exception as error:  # noqa: BLE001 - see above
                for half_done in (seen.times, seen.metadata, seen.values):
                    del half_done[index:]
                seen.lenient, seen.text, empty = counted
                seen.empty = empty + (not line)  # or it would be sent
                seen.failed += 1
                seen.failure = _place_of(error)
                ns = seen.last_ns if chunk.times_ns is None else chunk.times_ns[index]
                seen.odd_times = seen.odd_times or not oldest_ns <= ns <= newest_ns
                seen.times.append(ns)
                seen.metadata.append(b"")
                if self._label_slots:
                    seen.values.append(None)
        return seen

    def _skim(self, lines: list[bytes], start: int, chunk: Chunk, seen: _Seen, oldest_ns: int, newest_ns: int) -> int:
        """Takes in common lines from `start` on, which a glance is enough for; gives where the first is that is none.

        The agent's inner loop, together with `wire.encode_protobuf`. A common line begins with its time (where no container
        runtime gives one) and has the first of the level fields. So its metadata is all there is to know.
        """
        given, clock = chunk.times_ns, self._clock
        known, skips_time = self._glance_cache, given is None and self._skips_time
        times, metadata, slots = seen.times, seen.metadata, self._glanced_slots
        last_ns, odd_times = seen.last_ns, False
        # Lines of one request say the same mostly, and to see that costs a third of finding it.
        last_view: Any = None
        last_encoded = b""
        at, end = start, len(lines)
        try:
            while at < end:
                line = lines[at]
                if given is not None and not line.startswith(b"{"):
                    break
                ns = clock.read(line) if given is None else given[at]
                if ns < 0:
                    break
                view = self._view(line, clock.behind if skips_time else 0)
                if view is last_view or view == last_view:
                    encoded = last_encoded
                else:
                    found = known.get(view)
                    if found is not None:
                        last_view, last_encoded = view, found  # of texts only, or it would not be known
                    else:
                        found = self._glanced(view)
                        if found is None:
                            break
                    encoded = found
                times.append(ns)
                metadata.append(encoded)
                if slots:
                    values = self._values(view)
                    seen.values.append(tuple([values[slot] for slot in slots]))
                if oldest_ns <= ns <= newest_ns:
                    last_ns = ns
                else:
                    odd_times = True
                at += 1
        except (*_NO_JSON, IndexError):  # or no more of it than the head
            pass
        seen.last_ns = last_ns
        seen.odd_times = seen.odd_times or odd_times
        return at

    def _view(self, line: bytes, begin: i64) -> Any:
        """What a glance shows: hashable, and the same for lines that say the same. begin: of what is to be looked at."""
        if self._glancer is not None:
            view = self._glancer.look(line, begin)
            if view is not None:
                return view
        return self._decoder.glance(line)

    def _values(self, view: Any) -> Values:
        """The fields of what a glance showed."""
        return glance.values_of(view) if isinstance(view, bytes) else self._decoder.glanced(view)

    def _glanced(self, view: Any) -> bytes | None:
        """The metadata of what the last glance showed; None when that is not enough to tell."""
        if isinstance(view, bytes):
            assert self._glancer is not None
            texts = self._glancer.texts  # those of the view, which it has just shown
            if self._wants_level and texts[0] is glance.NOTHING:
                return None
            encoded = self._glance_cache[view] = self._glanced_metadata.encode_texts(texts)
            return encoded
        values = self._values(view)
        if self._wants_level and values[0] is None:
            return None
        encoded = self._glanced_metadata.encode(values)
        if _are_texts(values):
            self._glance_cache[view] = encoded
        return encoded

    def _look_closer(
        self,
        line: bytes,
        chunk: Chunk,
        seen: _Seen,
        look_inside: bool,
        oldest_ns: int,
        newest_ns: int,
    ) -> None:
        """Whatever a line is."""
        ns: int | None
        found: Values | None
        try:
            view = self._decoder.decode(line) if look_inside else _refuse(line)
        except _NO_JSON:
            second_chance = self._decoder.lenient(line) if look_inside else None
            if second_chance is None:
                seen.text += 1
                ns, found = timestamp.from_torn(line), None
            else:
                seen.lenient += 1
                ns, found = timestamp.from_json(second_chance[0]), second_chance[1]
        else:
            ns, found = timestamp.from_json(self._decoder.time_of(view)), self._decoder.values_of(view)
        if ns is None:
            ns = seen.last_ns
        elif oldest_ns <= ns <= newest_ns:
            seen.last_ns = ns
        if chunk.times_ns is not None:
            ns = chunk.times_ns[len(seen.times)]
        seen.empty += not line
        seen.odd_times = seen.odd_times or not oldest_ns <= ns <= newest_ns
        seen.times.append(ns)
        seen.metadata.append(detected(level.of_text(line)) if found is None else self._known_metadata(found))
        if self._label_slots:
            seen.values.append(None if found is None else tuple([found[slot] for slot in self._label_slots]))

    def _known_metadata(self, values: Values) -> bytes:
        """The encoded metadata of these values. Lines of one request share theirs, so it is made once."""
        if not _are_texts(values):
            return self._metadata.encode(values)
        cache = self._metadata_cache
        encoded = cache.get(values)
        if encoded is None:
            if len(cache) > _CACHE_LIMIT:
                cache.clear()
            encoded = cache[values] = self._metadata.encode(values)
        return encoded

    @staticmethod
    def _mark_parts(metadata: list[bytes], chunk: Chunk) -> None:
        """Parts of an over-long line say which they are."""
        if chunk.first_part and metadata:
            metadata[0] += wire.encode_metadata([(b"part", str(chunk.first_part).encode())])
        if chunk.last_part and metadata and not (chunk.first_part and len(metadata) == 1):
            metadata[-1] += wire.encode_metadata([(b"part", str(chunk.last_part).encode())])

    def _clip(self, lines: list[bytes], metadata: list[bytes], candidates: Iterable[int]) -> int:
        """Ends lines that marks, or decoding, made longer than Loki takes at its limit; gives how many."""
        limit = self._max_line_bytes
        clipped = 0
        for index in candidates:
            line = lines[index]
            if len(line) > limit:
                short = clip(line, limit)
                metadata[index] += wire.encode_metadata([(b"clipped_bytes", str(len(line) - len(short)).encode())])
                lines[index] = short
                clipped += 1
        return clipped

    def _drop(self, lines: list[bytes], seen: _Seen, ordered_out: Sequence[int]) -> dict[str, int]:
        """Takes empty lines, and those a rule orders out, from the parallel lists; gives counts by reason."""
        by_rule = set(ordered_out)
        if not by_rule and not seen.empty:
            return {}
        empty = [index for index, line in enumerate(lines) if not line and index not in by_rule]
        for index in sorted([*by_rule, *empty], reverse=True):
            del lines[index], seen.times[index], seen.metadata[index]
            if self._label_slots:
                del seen.values[index]
        counts = {"empty": len(empty), "redaction_rule": len(by_rule)}
        return {reason: count for reason, count in counts.items() if count}

    def _streams(self, chunk: Chunk, group: str, lines: list[bytes], seen: _Seen) -> tuple[StreamEntries, ...]:
        if not lines:
            return ()
        if not self._label_slots:
            return (StreamEntries(group, seen.times, lines, seen.metadata),)
        nothing: tuple[Scalar, ...] = (None,) * len(self._label_slots)
        stream: Callable[..., str] = self._labeller.stream
        by_labels: dict[str, StreamEntries] = {}
        for ns, line, meta, found in zip(seen.times, lines, seen.metadata, seen.values, strict=True):
            labels = stream(chunk.origin, nothing if found is None else found)
            entries = by_labels.get(labels)
            if entries is None:
                entries = by_labels[labels] = StreamEntries(labels, [], [], [])
            entries.timestamps_ns.append(ns)
            entries.lines.append(line)
            entries.metadata.append(meta)
        return tuple(by_labels.values())


def _are_texts(values: Values) -> bool:
    """Only such values are keys of a cache: 1, 1.0 and true are equal, and not the same text."""
    for value in values:  # noqa: SIM110 - a generator for each line costs more than the loop
        if value is not None and not isinstance(value, str):
            return False
    return True


def _refuse(_: bytes) -> View:
    """Decodes nothing: every line of a text source is text."""
    raise msgspec.DecodeError


def _place_of(error: Exception) -> str:
    """Of a bug: what it is, and where. Nothing of what the line says."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    name = type(error).__name__
    return (
        name if trace is None else f"{name} in {trace.tb_frame.f_code.co_filename.rpartition('/')[2]}:{trace.tb_lineno}"
    )
