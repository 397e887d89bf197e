"""One file that is read: where reading goes on in it, and what it looked like when last seen.

Belongs to one thread. Nothing here decides about other files; `generations` says when this one may be read.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum

from agent.config import Source
from agent.model import Chunk, FileId, Origin, Position, Span
from agent.tail.archive import GzipReader, is_other_archive
from agent.tail.descriptor import data_from, generation_of
from agent.tail.discovery import Key, open_regular
from agent.tail.framing import Piece
from agent.tail.identity import ANCHOR_BYTES, GZIP_MAGIC, PREFIX_BYTES, Seen, Verdict, compare, fingerprint
from agent.tail.lines import HEAD_BYTES, Lines
from agent.tail.open_end import OpenEnd

QUANTUM_BYTES = 200 * 1024
"""How much of a file is read at a time, before another file has its turn. With metadata and what each entry adds on the wire,
four of them fill a batch of the default size, when lines are about 400 bytes long."""

_ANCHORS = 32


class Kind(Enum):
    """What a file is by its first bytes: text, an archive that is read decompressed, or one that is left alone."""

    TEXT = "text"
    ARCHIVE = "archive"
    IGNORED = "ignored"


class ContentChanged(Exception):
    """What lies before the offset is not what was read."""

    def __init__(self, verdict: Verdict) -> None:
        self.verdict = verdict


@dataclass(frozen=True, slots=True)
class Hold:
    """A new file that may be the copy of another one waits until that is known, at the latest until `until` (clock).

    is_copy: it was compared with another while that had all its content, and holds the beginning of it.
    """

    until: float
    is_copy: bool = False


class OneFile:
    """offset:       the next line begins here; `_ahead` bytes after it are no content (hole, byte-order mark).
    seen_to:      up to here bytes were read, and those after `offset` hold no whole line.
    size_before:  its size before it shrank.
    unseen_since_ns: when it had last been written before it was empty, or as large as now, and then changed: lines may have
                  come and been rotated away meanwhile, which is to be looked into before it is read. 0 otherwise.
    shrank:       it is shorter than what was read of it, or nothing was read and some of that is gone.
    path:         its present name, as far as known; None when it has none that we know.
    listed:       the last scan found it under a glob.
    quiet_since:  clock; when it was last seen to change.
    admitted:     it may be read: those before it under its path are at their end. `admitted_at`: since when (clock).
    waiting_since: clock; since when it has waited for that.
    open_end:     what is known of whole lines that wait for more of their kind.
    deleted_since: clock; since when no name leads to it.  disk_bytes: what it occupies.
    anchors:      some places before `offset`, each with the digest of the bytes before it.
    error:        errno of the last try to look at or read it, 0 when that went well; next try at `next_try` (clock).
    done:         nothing more of it will be read.
    """

    __slots__ = (
        "_ahead",
        "_archives",
        "_fd",
        "_generation",
        "_gzip",
        "_gzip_ended",
        "_kind",
        "_lines",
        "_part",
        "_position",
        "_prefix_digest",
        "_prefix_length",
        "_roots",
        "_tail",
        "_touched",
        "_tries",
        "admitted",
        "admitted_at",
        "anchors",
        "deleted",
        "deleted_since",
        "disk_bytes",
        "done",
        "error",
        "hold",
        "id",
        "is_link",
        "key",
        "listed",
        "lost",
        "mtime_ns",
        "next_try",
        "offset",
        "open_end",
        "origin",
        "path",
        "queued",
        "quiet_since",
        "seen_to",
        "shrank",
        "size",
        "size_before",
        "source",
        "unseen_since_ns",
        "waiting_since",
    )

    def __init__(
        self,
        file: FileId,
        origin: Origin,
        source: Source,
        path: str,
        now: float,
        *,
        archives: bool,
        roots: Mapping[str, tuple[str, ...]],
    ) -> None:
        self.id = file
        self.key: Key = (file.device, file.inode)
        self.origin = origin
        self.source = source
        self.path: str | None = path
        self.offset = self.seen_to = self.size = self.size_before = self.mtime_ns = self.unseen_since_ns = 0
        self.listed = self.is_link = self.deleted = self.done = False
        self.admitted = self.queued = False
        self.deleted_since, self.disk_bytes = 0.0, 0
        self.anchors: list[tuple[int, bytes]] = []
        self.quiet_since = self.waiting_since = self.admitted_at = now
        self.hold: Hold | None = None
        self.error, self.next_try, self._tries = 0, 0.0, 0
        self.lost: list[tuple[int, int]] = []
        self._archives = archives
        self._roots = roots
        self._generation = 0
        self._fd: int | None = None
        self._gzip: GzipReader | None = None
        self._gzip_ended = False
        self._kind: Kind | None = None
        self._part = 0
        self._tail = b""
        self._prefix_length, self._prefix_digest = 0, b""
        self._ahead = 0
        self._touched = self.shrank = False
        self._lines = Lines(source, origin.path)
        self.open_end = OpenEnd()
        self._position: Position | None = None

    # --- what is known ----------------------------------------------------------------------------------------------

    @property
    def is_open(self) -> bool:
        return self._fd is not None

    @property
    def is_archive(self) -> bool:
        """Whether offsets are those of its decompressed content."""
        return self._kind is Kind.ARCHIVE

    @property
    def ignored(self) -> bool:
        return self._kind is Kind.IGNORED

    @property
    def damaged(self) -> bool:
        return self._gzip is not None and self._gzip.damaged

    @property
    def has_unread(self) -> bool:
        """Whether reading would find something, or has to find out."""
        if self.ignored or self.done:
            return False
        if self.is_archive:
            return not self._gzip_ended
        return self.size > self.seen_to or self._touched or bool(self.lost)

    @property
    def unread_bytes(self) -> int:
        if self.ignored or self.done or (self.is_archive and self._gzip_ended):
            return 0
        return self.size if self.is_archive else max(0, self.size - self.offset)

    @property
    def has_rest(self) -> bool:
        """Whether an unterminated line is left at the end."""
        if self.is_archive:
            return self._gzip_ended and self.seen_to > self.offset + self._ahead
        return self.size > self.offset + self._ahead

    @property
    def is_renamed(self) -> bool:
        return self.path != self.origin.path

    @property
    def is_at_end_of_archive(self) -> bool:
        return self.is_archive and self._gzip_ended

    def resume_at(self, position: Position, *, is_copy: bool = False) -> None:
        """Before opening: where an earlier run got to. Opening then checks that it is the same file, or a copy of it."""
        if is_copy:
            position = replace(position, generation=0)
        if position.offset or position.prefix_length:
            self.allow_archive()
        self._generation = position.generation
        self.offset = self.seen_to = position.offset
        self._part = position.part
        self._prefix_length, self._prefix_digest = position.prefix_length, position.prefix_digest
        self._position = position

    def allow_archive(self) -> None:
        """It may turn out to be compressed: it is a generation that nobody read."""
        self._archives = self._archives or self.source.compressed == "auto"

    def position(self) -> Position:
        if self._position is None:
            if self._prefix_length < PREFIX_BYTES and self._prefix_length < self.offset:
                prefix = self._bytes(0, min(PREFIX_BYTES, self.offset))
                self._prefix_length, self._prefix_digest = len(prefix), fingerprint(prefix)
            self._position = Position(
                self.offset,
                self._prefix_length,
                self._prefix_digest,
                fingerprint(self._tail),
                self._part,
                self.origin,
                self._generation,
                self.mtime_ns,
            )
        return self._position

    @property
    def is_known_by_content(self) -> bool:
        """Whether there is something to recognise it, or a copy of it, by."""
        return bool(self.offset or self._prefix_length)

    def note(self, read_ns: int) -> Chunk:
        """A chunk without lines: it carries the position, so that a restart knows this file.

        Open, a file of which nothing was read yet is remembered by its first bytes: without them whatever has its inode
        later would pass for it.
        """
        if not self.is_known_by_content and self._fd is not None:
            self._learn_beginning()
        return Chunk(self.origin, Span(self.id, self.offset, self.position()), b"", read_ns)

    def learn_beginning(self) -> None:
        """Of a file that waits for its turn, and may be copied and emptied, or compressed, before. Needs it open."""
        if self.size and not self.is_known_by_content and not self.ignored:
            self._learn_beginning()

    def _learn_beginning(self) -> None:
        prefix = self._bytes(0, PREFIX_BYTES)
        self._prefix_length, self._prefix_digest = len(prefix), fingerprint(prefix)
        self._position = None
        self.position()  # with the time of this content's last write: emptying it is a write as well

    # --- looking ----------------------------------------------------------------------------------------------------

    def notice(self, size: int, mtime_ns: int, now: float) -> bool:
        """Take in what a stat has shown. True when that is news."""
        if self.is_archive or (size == self.size and mtime_ns == self.mtime_ns):
            return False  # an archive is complete when it is found, and its sizes are those of its content
        self.quiet_since = now
        if size <= self.seen_to and self.is_known_by_content:
            self._touched = True  # changed without growing: perhaps overwritten in place
        if size < self.offset or (size < self.size and self.offset == 0):
            self.shrank, self.size_before = True, self.size
        elif self.seen_to == 0 and self.size in (0, size):
            self.unseen_since_ns = self.unseen_since_ns or self.mtime_ns
        self.size, self.mtime_ns = size, mtime_ns
        self.seen_to = max(self.offset, min(self.seen_to, size))
        return True

    def look(self, now: float) -> None:
        """Stat it. Raises OSError; ENOENT too when its name now belongs to another file."""
        if self._fd is not None:
            seen = os.fstat(self._fd)
            self._take_in(seen, now)
        else:
            seen = os.stat(self.path or "")
            if (seen.st_dev, seen.st_ino) != self.key:
                raise FileNotFoundError(errno.ENOENT, "another file has this name now", self.path)
        self.notice(seen.st_size, seen.st_mtime_ns, now)

    def _take_in(self, seen: os.stat_result, now: float) -> None:
        if seen.st_nlink == 0 and not self.deleted:
            self.deleted_since = now
        self.deleted, self.disk_bytes = seen.st_nlink == 0, seen.st_blocks * 512

    def failed(self, code: int, now: float) -> bool:
        """Remember that it could not be read. True when that is news. Tries come ever rarer, up to every 5 s."""
        is_news = code != self.error
        self._tries = self._tries + 1 if self.error else 1
        self.error = code
        self.next_try = now + min(5.0, 0.1 * 2.0 ** min(self._tries, 10))
        return is_news

    def recovered(self) -> None:
        self.error, self._tries = 0, 0

    # --- opening ----------------------------------------------------------------------------------------------------

    def open(self) -> Verdict:
        """Open it, unless it is open, and check that it is the file the position speaks of.

        Raises OSError, and NotTheFile when its name now belongs to another file. It stays open only with `SAME`.
        """
        if self._fd is not None:
            return Verdict.SAME
        if self.path is None:
            raise FileNotFoundError(errno.ENOENT, "its name is not known", self.origin.path)
        self._fd, seen = open_regular(self.path, self.key, self._roots.get(self.source.name, ()))
        verdict = Verdict.DIFFERS_BEFORE_OFFSET
        try:
            self._take_in(seen, self.quiet_since)
            head = os.pread(self._fd, 10, 0)
            if self._kind not in (None, self._kind_of(head)):
                verdict = Verdict.BEGINS_OTHERWISE
            else:
                self._kind = self._kind_of(head)
                self._begin(head)
                verdict = compare(self.position(), self._show(seen.st_size))
            if verdict is Verdict.SAME:
                self._tail = self._bytes_before(self.offset)
                self._take_generation()
        finally:
            if verdict is not Verdict.SAME or self.ignored:
                self.close()
        return verdict

    def learn_generation(self) -> None:
        """Which use of its inode it is, without opening it for good. Raises as `open` does."""
        assert self.path is not None
        fd, _ = open_regular(self.path, self.key)
        try:
            self._generation, self._position = generation_of(fd), None
        finally:
            os.close(fd)

    def _take_generation(self) -> None:
        assert self._fd is not None
        if not self._generation and (generation := generation_of(self._fd)):
            self._generation = generation
            if self._position is not None:
                self._position = replace(self._position, generation=generation)

    def _kind_of(self, head: bytes) -> Kind | None:
        if is_other_archive(head) or (head.startswith(GZIP_MAGIC) and not self._archives):
            return Kind.IGNORED
        if head.startswith(GZIP_MAGIC):
            return Kind.ARCHIVE
        return Kind.TEXT if head else None

    def _begin(self, head: bytes) -> None:
        if self.ignored:
            return
        if self.is_archive:
            assert self._fd is not None
            self._gzip, self._gzip_ended = GzipReader(self._fd), False
            head = self._gzip.read(0, 4)
        self._lines.begins_with(head[:4])
        if self._lines.format is None and self.offset:
            self._lines.decide(self._bytes(0, HEAD_BYTES))

    def _show(self, size: int) -> Seen:
        known = self.position()
        if self._gzip is not None:
            size = known.offset  # not known before the end
        prefix = self._bytes(0, known.prefix_length) if known.prefix_length else b""
        assert self._fd is not None
        return Seen(size, prefix, self._bytes_before(known.offset), generation_of(self._fd) if known.generation else 0)

    def begin_at_end(self, now: float) -> None:
        """Skip what is there, up to the last newline. Opens it."""
        self.open()
        if self._fd is None:
            return
        seen = os.fstat(self._fd)
        self.notice(seen.st_size, seen.st_mtime_ns, now)
        end = seen.st_size
        units = self._lines.units
        begin = max(0, end - self.source.max_line_bytes)
        begin -= begin % units.width
        window = self._bytes(begin, end - begin)
        last = units.last_newline(window, 0, len(window))
        self._move_to(begin + last + units.width if last >= 0 else end - end % units.width)

    def close(self) -> None:
        if self._fd is not None:
            with contextlib.suppress(
                OSError
            ):  # a file system that is gone says so; the descriptor is free all the same
                os.close(self._fd)
            self._fd = None
            self._gzip = None

    # --- reading ----------------------------------------------------------------------------------------------------

    def read(
        self, read_ns: int, *, final: bool = False, close: bool = False, before: Sequence[OneFile] = ()
    ) -> list[Chunk]:
        """What a quantum of it holds in whole lines. `close` takes lines that wait for more of their kind, `final` the
        unterminated last line too. `before`: earlier generations whose open ends may go on here.

        Needs it open. Raises ContentChanged when the bytes before the offset are not those that were read, and OSError.
        """
        if self.lost:
            return self._read_lost(read_ns)
        self._check_beginning()
        ends = [file.open_lines() for file in before]
        earlier = b"".join(ends)
        for size in (QUANTUM_BYTES, self._lines.window_bytes):
            raw, k = self._read_on(size)
            body = raw[k:] if k else raw
            if any(file._lines.format != self._lines.format for file in before):  # noqa: SLF001 - of its own kind
                before, ends, earlier = (), [], b""
            part = before[0]._part if before else self._part  # noqa: SLF001
            pieces = self._lines.pieces(earlier + body if earlier else body, part, read_ns, final=final, close=close)
            if pieces or len(body) < size:
                break
        owed = list(zip(before, map(len, ends), strict=True))
        chunks: list[Chunk] = []
        at = k
        for piece in pieces:
            spans, length = _take_of_earlier(owed, piece)
            if length or not spans:
                at += length
                spans.append(self._take(length, piece.last_part, raw[max(0, at - ANCHOR_BYTES) : at]))
            self._part = piece.last_part
            chunks.append(_chunk_of(self.origin, spans, piece, read_ns))
        self.seen_to = self.offset
        self.open_end.lines = False
        if len(body) < size:
            self.seen_to = max(self.offset, self.offset + self._ahead + len(raw) - at)
            self.size = max(self.size, self.seen_to)
            self._gzip_ended = self._gzip is not None
            self.open_end.lines = self._lines.has_open_lines(raw[at:])
            if not self.offset and self.seen_to:
                self._learn_beginning()  # of its first line, which is not ended yet
        return chunks

    def take_replaced(self) -> int:
        """How many characters of what was read since the last call were none."""
        replaced, self._lines.replaced = self._lines.replaced, 0
        return replaced

    def open_lines(self) -> bytes:
        """The whole lines at its end that wait for more of their kind. Needs it open."""
        begin = self.offset + self._ahead
        return self._bytes(begin, self.seen_to - begin)

    def _check_beginning(self) -> None:
        """When it changed without growing, or nothing lies before the offset to compare, the first bytes are compared."""
        if self._prefix_length and (self._touched or not self.offset):
            prefix = self._bytes(0, self._prefix_length)
            if fingerprint(prefix) != self._prefix_digest:
                raise ContentChanged(Verdict.BEGINS_OTHERWISE)
        self._touched = self.shrank = False

    def _read_on(self, size: int) -> tuple[bytes, int]:
        """Up to `size` bytes after the offset, behind the k anchor bytes kept in memory, which are compared."""
        if self.offset == 0:
            return self._read_beginning(size), 0
        k = len(self._tail)
        raw = self._bytes(self.offset - k, k + size)
        if not raw.startswith(self._tail):
            raise ContentChanged(Verdict.SHORTER if len(raw) < k else Verdict.DIFFERS_BEFORE_OFFSET)
        return raw, k

    def _read_beginning(self, size: int) -> bytes:
        """The first content: behind a byte-order mark, or behind the NULs that a truncating rotation leaves when the
        writer does not append. These may be many gigabytes of hole, so they are sought over, not read."""
        if self._ahead in (0, self._lines.mark_length):
            if self._gzip is None:
                self._lines.begins_with(self._bytes(0, 4))
            self._ahead = self._lines.mark_length
        body = self._bytes(self._ahead, size)
        if body.startswith(b"\0") and self._lines.units.width == 1 and self._gzip is None:
            assert self._fd is not None
            self._ahead = data_from(self._fd, self._ahead)
            body = self._bytes(self._ahead, size)
            nuls = len(body) - len(body.lstrip(b"\0"))
            self._ahead += nuls
            body = self._bytes(self._ahead, size) if nuls else body
        self._lines.decide(body)
        return body

    def _take(self, length: int, part: int, tail: bytes) -> Span:
        """Move the offset. `tail`: up to 256 bytes before it, if they are at hand."""
        start = self.offset
        self.offset += self._ahead + length
        self.seen_to = max(self.seen_to, self.offset)
        # Before the first content lie bytes that were not read with it.
        self._tail = self._bytes_before(self.offset) if start == 0 or len(tail) < ANCHOR_BYTES else tail
        self._ahead = 0
        self._part = part
        self._position = None
        self.open_end.lines = False
        self._anchor()
        return Span(self.id, start, self.position())

    def _anchor(self) -> None:
        """Keep some places passed, ever sparser towards the beginning, to know a copy by that was made before this one."""
        self.anchors.append((self.offset, fingerprint(self._tail)))
        if len(self.anchors) > _ANCHORS:
            del self.anchors[1 : _ANCHORS // 2 : 2]

    def move_to_end_of_copy(self, size: int, now: float) -> None:
        """All that this copy holds was read from its original. Opens it."""
        self.open()
        self.notice(size, self.mtime_ns, now)
        self._move_to(size)

    def _move_to(self, offset: int) -> None:
        self.offset = self.seen_to = offset
        self._tail = self._bytes_before(offset)
        self._position = None

    def lose(self, span: Span) -> None:
        """Have a span read again that was read and then lost, if this file still has it. Needs it open.

        Of an end without anchor only the place is known; then it counts that opening found the file to be the same.
        """
        after = span.after
        prefix = self._bytes(0, after.prefix_length) if after.prefix_length else b""
        before = self._bytes_before(after.offset) if after.anchor_digest else b""
        if after.offset <= self.offset and compare(after, Seen(self.offset, prefix, before)) is Verdict.SAME:
            self.lost.append((span.start, after.offset))

    def _read_lost(self, read_ns: int) -> list[Chunk]:
        """A quantum of a lost span. Its chunks carry the present position: reading has got that far already."""
        start, end = self.lost[0]
        window = self._lines.window_bytes
        body = self._bytes(start, min(window, end - start))
        final = start + len(body) >= end or len(body) < window
        at = start
        if start == 0:
            is_narrow = self._lines.units.width == 1
            at = self._lines.mark_length + len(body) - len(body.lstrip(b"\0") if is_narrow else body)
            self._lines.decide(body[at:])
        chunks = []
        for piece in self._lines.pieces(body[at - start :], 0, read_ns, final=final):
            span = Span(self.id, at, self.position())
            chunks.append(_chunk_of(self.origin, [span], piece, read_ns))
            at += piece.length
        if final or not chunks:
            del self.lost[0]
        else:
            self.lost[0] = (at, end)
        return chunks

    def _bytes_before(self, offset: int) -> bytes:
        k = min(ANCHOR_BYTES, offset)
        return self._bytes(offset - k, k) if k else b""

    def _bytes(self, offset: int, size: int) -> bytes:
        if self._gzip is not None:
            return self._gzip.read(offset, size)
        assert self._fd is not None, "the file is open while it is read"
        return os.pread(self._fd, size, offset)

    @property
    def fd(self) -> int | None:
        """The descriptor, while it is open."""
        return self._fd


def _take_of_earlier(owed: list[tuple[OneFile, int]], piece: Piece) -> tuple[list[Span], int]:
    """The spans of a piece in earlier generations, which owe so many bytes each, and how much of it is left."""
    spans: list[Span] = []
    left = piece.length
    while left and owed:
        file, length = owed.pop(0)
        used = min(length, left)
        left -= used
        spans.append(file._take(used, 0 if left else piece.last_part, b""))  # noqa: SLF001 - of its own kind
        if used < length:
            owed.insert(0, (file, length - used))
            file.open_end.lines = True
    return spans, left


def _chunk_of(origin: Origin, spans: list[Span], piece: Piece, read_ns: int) -> Chunk:
    return Chunk(
        origin,
        spans[-1],
        piece.data,
        read_ns,
        piece.first_part,
        piece.last_part,
        piece.times_ns,
        piece.line_counts,
        tuple(spans[:-1]),
    )
