"""Reading on in one file: its bytes become chunks of whole lines, each with where it came from.

Every read compares the bytes before the offset with those that were read, so that a file overwritten in place is noticed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from agent.config import Source
from agent.model import Chunk, FileId, Origin, Position, Span
from agent.tail.content import Content
from agent.tail.framing import Piece
from agent.tail.identity import ANCHOR_BYTES, Seen, Verdict, compare
from agent.tail.lines import HEAD_BYTES, Lines
from agent.tail.open_end import OpenEnd
from agent.tail.place import Place

QUANTUM_BYTES = 200 * 1024
"""How much of a file is read at a time, before another file has its turn. With metadata and what each entry adds on the wire,
four of them fill a batch of the default size, when lines are about 400 bytes long."""

_STEP = 64 * 1024
_MOST_NULS = 1024 * 1024


class ContentChanged(Exception):
    """What lies before the offset is not what was read."""

    def __init__(self, verdict: Verdict) -> None:
        self.verdict = verdict


class Reader:
    """content:  None while the file is not open.
    place:    where reading goes on; `_ahead` bytes after it are no content (hole, byte-order mark).
    seen_to:  up to here bytes were read, and those after the place hold no whole line.
    at_end:   the last read got there.
    open_end: what is known of whole lines that wait for more of their kind.
    lines:    how its bytes become lines.
    lost:     spans to be read again, each from where to where.
    """

    __slots__ = (
        "_ahead",
        "_file",
        "_origin",
        "_read_bytes",
        "at_end",
        "content",
        "lines",
        "lost",
        "open_end",
        "place",
        "seen_to",
    )

    def __init__(self, file: FileId, origin: Origin, source: Source, wall_ns: Callable[[], int]) -> None:
        self.content: Content | None = None
        self.place = Place(origin, wall_ns)
        self.seen_to = 0
        self.at_end = False
        self.open_end = OpenEnd()
        self.lost: list[tuple[int, int]] = []
        self._file = file
        self._origin = origin
        self.lines = Lines(source, origin.path)
        self._ahead = self._read_bytes = 0

    @property
    def begins_at(self) -> int:
        """Where the next content begins."""
        return self.place.offset + self._ahead

    def position(self) -> Position:
        return self.place.position(self.content)

    def note(self, read_ns: int) -> Chunk:
        return Chunk(self._origin, Span(self._file, self.place.offset, self.position()), b"", read_ns)

    def begin(self, *, is_archive: bool) -> None:
        """Whenever it was opened, and once more when it was empty then."""
        content = self._open_content()
        if is_archive:
            content.decompress()
            self.at_end = False
        self.lines.begins_with(content.read(0, 4))
        if self.lines.format is None and self.place.offset:
            self.lines.decide(content.read(self._first_content(), HEAD_BYTES))

    def go_on(self) -> None:
        """The archive that ended in the middle has grown."""
        self._open_content().decompress()
        self.at_end = False

    def resume(self, size: int) -> Verdict:
        """Whether it holds what was read; then it can be read on."""
        content, place = self._open_content(), self.place
        verdict = place.judge(content, size)
        if verdict is Verdict.SAME:
            place.tail = content.anchor(place.offset)
            place.learn_generation(content.generation)
        return verdict

    def begin_at(self, size: int, longest: int) -> None:
        """Skip what there is, up to the last newline in the last `longest` bytes. Needs it open."""
        units = self.lines.units
        begin = max(0, size - longest)
        begin -= begin % units.width
        window = self._bytes(begin, size - begin)
        last = units.last_newline(window, 0, len(window))
        self.move_to(begin + last + units.width if last >= 0 else size - size % units.width)

    def move_to(self, offset: int) -> None:
        self.place.move_to(offset, self._anchor(offset))
        self.seen_to = offset

    def take_replaced(self) -> int:
        """How many characters of what was read since the last call were none."""
        replaced, self.lines.replaced = self.lines.replaced, 0
        return replaced

    def take_read_bytes(self) -> int:
        """How many bytes were read since the last call, whatever became of them."""
        read_bytes, self._read_bytes = self._read_bytes, 0
        return read_bytes

    def learn_format(self) -> None:
        """Of a file of which nothing was read, as far as its first line tells. Needs it open."""
        self._read_beginning(HEAD_BYTES)

    # --- going on ---------------------------------------------------------------------------------------------------

    def check_beginning(self) -> None:
        """Raises ContentChanged when the first bytes are others than those known."""
        if self.place.has_prefix and not self.place.begins(self._open_content()):
            raise ContentChanged(Verdict.BEGINS_OTHERWISE)

    def read(
        self,
        read_ns: int,
        most: int = QUANTUM_BYTES,
        *,
        final: bool = False,
        close: bool = False,
        before: Sequence[Reader] = (),
    ) -> list[Chunk]:
        """What `most` bytes hold in whole lines. `close` takes lines that wait for more of their kind, `final` the
        unterminated last line too. `before`: of earlier generations, whose open ends may go on here.

        Needs it open. Raises ContentChanged when the bytes before the place are not those that were read, and OSError.
        """
        ends = [reader.open_lines() for reader in before]
        earlier = b"".join(ends)
        for size in (most, self.lines.window_bytes):
            raw, k = self._read_on(size)
            got = len(raw) - k
            self._read_bytes += got
            if not all(self.lines.go_on_from(reader.lines) for reader in before):
                before, ends, earlier = (), [], b""
            part = before[0].place.part if before else self.place.part
            body, start = (earlier + raw[k:], 0) if earlier else (raw, k)
            pieces = self.lines.pieces(body, part, read_ns, final=final, close=close, start=start)
            if pieces or got < size:
                break
        owed = list(zip(before, map(len, ends), strict=True))
        chunks: list[Chunk] = []
        at = k
        for piece in pieces:
            spans, length = _take_of_earlier(owed, piece)
            if length or not spans:
                at += length
                spans.append(self._take(length, piece.last_part, raw[max(0, at - ANCHOR_BYTES) : at]))
            self.place.part = piece.last_part
            chunks.append(_chunk_of(self._origin, spans, piece, read_ns))
        self.at_end = got < size
        self.seen_to = max(self.place.offset, self.begins_at + len(raw) - at) if self.at_end else self.place.offset
        self.open_end.lines = self.at_end and self.lines.has_open_lines(raw[at:])
        if self.at_end and self.seen_to and not self.place.offset:
            self.place.learn_beginning(self._open_content())  # of its first line, which is not ended yet
        return chunks

    def open_lines(self) -> bytes:
        """The whole lines at its end that wait for more of their kind. Needs it open."""
        return self._bytes(self.begins_at, self.seen_to - self.begins_at)

    def _read_on(self, size: int) -> tuple[bytes, int]:
        """Up to `size` bytes after the place, behind the k bytes before it that are kept in memory, which are compared. Both
        in one read: of a file that is emptied meanwhile either all or nothing is taken."""
        tail, offset = self.place.tail, self.place.offset
        if offset == 0:
            return self._read_beginning(size), 0
        k = len(tail)
        raw = self._bytes(offset - k, k + size)
        if not raw.startswith(tail):
            raise ContentChanged(Verdict.SHORTER if len(raw) < k else Verdict.DIFFERS_BEFORE_OFFSET)
        return raw, k

    def _read_beginning(self, size: int) -> bytes:
        content = self._open_content()
        if self._ahead in (0, self.lines.mark_length):
            if not content.is_archive:
                self.lines.begins_with(content.read(0, 4))
            self._ahead = self.lines.mark_length
        body = content.read(self._ahead, size)
        if body.startswith(b"\0" * self.lines.units.width):
            self._ahead = self._first_content()
            body = content.read(self._ahead, size)
        self.lines.decide(body)
        return body

    def _first_content(self) -> int:
        """Behind a byte-order mark, or behind the NULs that a truncating rotation leaves when the writer does not append.
        These may be many gigabytes of hole, so they are sought over; where the file system knows of no holes, so many are
        read and not more."""
        content, at = self._open_content(), self.lines.mark_length
        if content.is_archive:
            return at
        for _ in range(_MOST_NULS // _STEP):
            at = content.data_from(at)
            found = content.read(at, _STEP)
            nuls = len(found) - len(found.lstrip(b"\0"))
            at += nuls
            if nuls < _STEP:
                break
        return at - at % self.lines.units.width  # a character may begin with NULs

    def _take(self, length: int, part: int, tail: bytes) -> Span:
        """Move on. `tail`: up to 256 bytes before where that leads, if they are at hand."""
        start = self.place.offset
        offset = start + self._ahead + length
        # Before the first content lie bytes that were not read with it.
        self.place.pass_to(offset, part, self._anchor(offset) if start == 0 or len(tail) < ANCHOR_BYTES else tail)
        self.seen_to = max(self.seen_to, offset)
        self._ahead = 0
        self.open_end.lines = False
        return Span(self._file, start, self.position())

    # --- again ------------------------------------------------------------------------------------------------------

    def lose(self, span: Span) -> None:
        """Have a span read again that was read and then lost, if this file still has it. Needs it open.

        Of an end without anchor only the place is known; then it counts that opening found the file to be the same.
        """
        after, offset = span.after, self.place.offset
        prefix = self._bytes(0, after.prefix_length) if after.prefix_length else b""
        before = self._anchor(after.offset) if after.anchor_digest else b""
        if after.offset <= offset and compare(after, Seen(offset, prefix, before)) is Verdict.SAME:
            self.lost.append((span.start, after.offset))

    def read_lost(self, read_ns: int) -> list[Chunk]:
        """A quantum of a lost span. Its chunks carry the present position: reading has got that far already."""
        start, end = self.lost[0]
        window = self.lines.window_bytes
        at = min(self._first_content(), end) if start == 0 else start
        body = self._bytes(at, min(window, end - at))
        self._read_bytes += len(body)
        final = at + len(body) >= end or len(body) < window
        if start == 0:
            self.lines.decide(body)
        chunks = []
        for piece in self.lines.pieces(body, 0, read_ns, final=final):
            span = Span(self._file, at, self.position())
            chunks.append(_chunk_of(self._origin, [span], piece, read_ns))
            at += piece.length
        if final or not chunks:
            del self.lost[0]
        else:
            self.lost[0] = (at, end)
        return chunks

    def _anchor(self, offset: int) -> bytes:
        return self._open_content().anchor(offset)

    def _bytes(self, offset: int, size: int) -> bytes:
        return self._open_content().read(offset, size)

    def _open_content(self) -> Content:
        assert self.content is not None, "the file is open while it is read"
        return self.content


def _take_of_earlier(owed: list[tuple[Reader, int]], piece: Piece) -> tuple[list[Span], int]:
    """The spans of a piece in earlier generations, which owe so many bytes each, and how much of it is left."""
    spans: list[Span] = []
    left = piece.length
    while left and owed:
        reader, length = owed.pop(0)
        used = min(length, left)
        left -= used
        spans.append(reader._take(used, 0 if left else piece.last_part, b""))  # noqa: SLF001 - of its own kind
        if used < length:
            owed.insert(0, (reader, length - used))
            reader.open_end.lines = True
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
