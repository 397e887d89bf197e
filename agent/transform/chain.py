"""Chunk → entries: redact, parse, label, as one function over the chunks of a turn.

Redaction comes first and works on whole chunks; everything after it sees redacted lines only, so labels and metadata
cannot carry what the line no longer does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, Protocol

from agent import config, wire
from agent.model import Chunk, Entries, FileId, StreamEntries
from agent.transform import events
from agent.transform.label import Labeller, clip
from agent.transform.look import Looker, Seen
from agent.transform.parse import Values
from agent.transform.placing import Placer
from agent.transform.redaction.places import Flags

# Loki 3.7 `pkg/validation/limits.go`: max_line_size.
MAX_LINE_BYTES: Final = 256 * 1024


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
        labelled = tuple(labels.from_fields.values())
        self._unlabelled: Values = (None,) * len(labelled)
        self._looker = Looker(parse, metadata, labelled)
        self._labeller = Labeller(labels.static, host, tuple(labels.from_fields), redactor.text, labels.max_streams)
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

    def _read(self, lines: list[bytes], chunk: Chunk, group: str) -> Seen:
        """What the lines say, and a time for those that say none, or one that Loki would refuse."""
        oldest_ns, newest_ns = chunk.read_ns - self._max_age_ns, chunk.read_ns + self._max_future_ns
        look_inside = chunk.origin.source not in self._text_only
        seen = self._looker.look(lines, chunk, oldest_ns, newest_ns, look_inside=look_inside)
        if seen.odd_times:
            replaced = self._placer.place(seen.times, chunk, group, oldest_ns, newest_ns)
            for index, ns in replaced.items():
                seen.metadata[index] += wire.encode_metadata([(b"original_timestamp", str(ns).encode())])
            seen.clamped = len(replaced)
        elif seen.times:
            self._placer.note(group, seen.times[-1])
        return seen

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

    def _drop(self, lines: list[bytes], seen: Seen, ordered_out: Sequence[int]) -> dict[str, int]:
        """Takes empty lines, and those a rule orders out, from the parallel lists; gives counts by reason."""
        by_rule = set(ordered_out)
        if not by_rule and not seen.empty:
            return {}
        empty = [index for index, line in enumerate(lines) if not line and index not in by_rule]
        for index in sorted([*by_rule, *empty], reverse=True):
            del lines[index], seen.times[index], seen.metadata[index]
            if self._unlabelled:
                del seen.values[index]
        counts = {"empty": len(empty), "redaction_rule": len(by_rule)}
        return {reason: count for reason, count in counts.items() if count}

    def _streams(self, chunk: Chunk, group: str, lines: list[bytes], seen: Seen) -> tuple[StreamEntries, ...]:
        if not lines:
            return ()
        if not self._unlabelled:
            return (StreamEntries(group, seen.times, lines, seen.metadata),)
        unlabelled = self._unlabelled
        stream: Callable[..., str] = self._labeller.stream
        by_labels: dict[str, StreamEntries] = {}
        for ns, line, meta, found in zip(seen.times, lines, seen.metadata, seen.values, strict=True):
            labels = stream(chunk.origin, unlabelled if found is None else found)
            entries = by_labels.get(labels)
            if entries is None:
                entries = by_labels[labels] = StreamEntries(labels, [], [], [])
            entries.timestamps_ns.append(ns)
            entries.lines.append(line)
            entries.metadata.append(meta)
        return tuple(by_labels.values())
