"""The values that flow, in the order they flow: FileId, Span, Chunk, Entries, Batch, Record.

    Line    bytes in a source file, up to a newline
    Chunk   whole lines of one file, read together
    Entry   what Loki stores: a timestamp, a line, structured metadata
    Batch   entries sealed into push bodies, with the spans of the files they came from
    Record  a batch on disk

Values made once per chunk or more rarely are frozen dataclasses. What exists once per line is `bytes` or `int` in a
list, never an object: creating a frozen dataclass costs as much as decoding a line.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class FileId:
    """Which file this is, whatever it is called today.

    `incarnation` tells apart the files that had one inode one after the other (inode reuse) and the contents that one
    inode had one after the other (truncation): it is 0 for the first, and one more than the last known for each next.
    """

    device: int
    inode: int
    incarnation: int = 0


@dataclass(frozen=True, slots=True)
class Origin:
    """Under what name lines were found; labels are made of it, identity is not.

    `path` is the name the file had when it was found, and stays when rotation renames the file. `labels` are those
    the place gives: the source's own, and on Kubernetes namespace, pod and container.
    """

    source: str
    path: str
    labels: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Position:
    """How far a file has been read, and how to know the file again.

    offset:         bytes; the next read begins here.
    prefix_length:  how many of the file's first bytes `prefix_digest` covers; grows with the file to 4096.
    prefix_digest:  16 bytes, blake2b of these.
    anchor_digest:  16 bytes, blake2b of the min(256, offset) bytes before `offset`; empty at offset 0.
    part:           0 at the start of a line; n when n parts of an over-long line lie before `offset`.
    origin:         where it was found; a renamed file keeps its labels.
    generation:     of the inode, so that an inode used again is told apart; 0 where the file system does not say.
    mtime_ns:       when it had last been written, as far as was seen; 0 when that is not known.
    """

    offset: int
    prefix_length: int
    prefix_digest: bytes
    anchor_digest: bytes
    part: int
    origin: Origin
    generation: int = 0
    mtime_ns: int = 0


@dataclass(frozen=True, slots=True)
class Span:
    """The bytes `start`..`after.offset` of a file. Once durable, reading goes on at `after`."""

    file: FileId
    start: int
    after: Position


@dataclass(frozen=True, slots=True)
class Chunk:
    """Whole lines of one file, read together.

    data:        the lines, each ended by one newline byte (added to a last line that never got its own), container framing
                 (CRI, docker) and carriage returns already removed, always UTF-8 as far as the source was.
    first_part:  0, or the number (from 1) of the part of an over-long line that the first line is.
    last_part:   0, or the number of the part that the last line is, more of which follows.
    times_ns:    one per entry when the container runtime wrote a time beside it, else None.
    read_ns:     wall clock of the read; the time of lines when none beside them carries one.
    line_counts: of how many lines each entry is made, when several lines are one event; None: each is one.
    also:        what else these lines cover: the ends of earlier generations, whose last line goes on in this file.
    """

    origin: Origin
    span: Span
    data: bytes
    read_ns: int
    first_part: int = 0
    last_part: int = 0
    times_ns: tuple[int, ...] | None = None
    line_counts: tuple[int, ...] | None = None
    also: tuple[Span, ...] = ()


@dataclass(frozen=True, slots=True)
class StreamEntries:
    """The entries of one stream, in file order, as parallel lists of one length.

    labels:        LogQL selector text such as `{filename="/var/log/a.log", host="h"}`, the stream's identity.
    timestamps_ns: as the lines say; not yet made distinct.
    lines:         without newline, redacted.
    metadata:      each entry's structured metadata as `wire.encode_metadata` wrote it, `b""` when it has none.
    """

    labels: str
    timestamps_ns: list[int]
    lines: list[bytes]
    metadata: list[bytes]


@dataclass(frozen=True, slots=True)
class Entries:
    """What a chunk became.

    group:       what batches are made of: one file of one host. Its streams (several with labels from fields) share it.
    lines:       lines the chunk had, several of one event counted once; entries + dropped = lines.
    dropped:     lines by reason.
    parsed:      lines by how they were understood: json, lenient (JSON but for a NaN or a lone surrogate), text.
    clamped:     lines whose time was out of range.
    clipped:     lines that became too long for Loki when redacted or decoded, and that end at its limit.
    redactions:  findings by rule.
    redactions_seen: findings of rules that only count, by rule.
    redaction_failures: lines that could not be judged and were replaced by a stub.
    parse_failures, parse_failure: lines that met a bug and are sent as they are, and what and where the last bug is.
    also:        the chunk's further spans.
    """

    origin: Origin
    span: Span
    group: str
    lines: int
    streams: tuple[StreamEntries, ...]
    dropped: Mapping[str, int] = field(default_factory=dict)
    parsed: Mapping[str, int] = field(default_factory=dict)
    clamped: int = 0
    clipped: int = 0
    redactions: Mapping[str, int] = field(default_factory=dict)
    redactions_seen: Mapping[str, int] = field(default_factory=dict)
    redaction_failures: int = 0
    parse_failures: int = 0
    parse_failure: str = ""
    also: tuple[Span, ...] = ()

    @property
    def entries(self) -> int:
        return sum(len(stream.lines) for stream in self.streams)


@dataclass(frozen=True, slots=True)
class StreamClock:
    """Which timestamps of a stream are taken, so that equal ones can be made distinct, also after a restart.

    Everything in tie_ns..high_ns is taken by the last run of ties; high_ns is the highest ever given out.
    """

    tie_ns: int
    high_ns: int


@dataclass(frozen=True, slots=True)
class Body:
    """One push request: entries of one stream, in their final bytes.

    payload:     the HTTP body, in `encoding`.
    line_bytes:  bytes of the lines alone, before encoding.
    clock:       the stream's clock after these entries.
    """

    labels: str
    payload: bytes
    encoding: str
    entries: int
    line_bytes: int
    oldest_ns: int
    newest_ns: int
    clock: StreamClock


@dataclass(frozen=True, slots=True)
class Batch:
    """Sealed bodies and the spans they cover. Without bodies it only moves positions (every line was dropped).

    `group` orders: batches of one group are delivered one after the other, different groups side by side.
    """

    group: str
    spans: tuple[Span, ...]
    bodies: tuple[Body, ...]

    @property
    def entries(self) -> int:
        return sum(body.entries for body in self.bodies)

    @property
    def line_bytes(self) -> int:
        return sum(body.line_bytes for body in self.bodies)


@dataclass(frozen=True, slots=True)
class Record:
    """A batch on disk, durable. It holds no bytes: the buffer gives them for each attempt.

    sequence:  counts records of this buffer from 1, without gaps.
    segment, offset, length: where it lies.
    bodies_done: so many of its first bodies were settled by an earlier run; it refused_before entries of them for good.
    """

    sequence: int
    group: str
    entries: int
    line_bytes: int
    segment: int
    offset: int
    length: int
    bodies_done: int = 0
    refused_before: int = 0


@dataclass(frozen=True, slots=True)
class Resume:
    """What the buffer remembers for the next start."""

    positions: Mapping[FileId, Position]
    clocks: Mapping[str, StreamClock]
    lost: tuple[Span, ...] = ()
    """Spans whose record was damaged on disk and never delivered: to be read again, if the files still have them."""
    is_first: bool = False
    """There was no buffer yet."""
