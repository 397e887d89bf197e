"""Lines that are one event, such as a traceback, put together by what an event begins with. Pure, but for the matcher.

An event is a line that matches `start` and the lines of its stream after it that do not. It ends before the next such line,
at `max_lines` or `max_bytes`, or when nothing came for `timeout`: by the container runtime's times where there are any, so
that a backlog gives the same events as the live stream, else by the clock (the caller then asks for `final`).

What is not known to be ended is not taken, so reading resumes at its first byte. Where stdout and stderr are interleaved,
pieces end where no event is cut, in whichever stream.
"""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from agent.config import Multiline, Source
from agent.tail.container import Stream, Unwrap, cut_text, line_borders, open_bytes
from agent.tail.framing import Piece, Units, frame

IsStart = Callable[[bytes], bool]
_databases = threading.local()


class BadStart(Exception):
    """A start pattern that cannot be used."""


@dataclass(frozen=True, slots=True)
class Caps:
    """Bounds of an event. A single line may be as long as `line_bytes`."""

    max_lines: int
    max_bytes: int
    line_bytes: int
    timeout_ns: int

    @classmethod
    def of(cls, settings: Multiline, line_bytes: int) -> Caps:
        return cls(
            settings.max_lines, min(settings.max_bytes, line_bytes), line_bytes, int(settings.timeout * 1_000_000_000)
        )


_Row = tuple[int, int, Stream, bytes, int]
"""A line, whole: it lies at start..end of the raw bytes, its stream, text and time, 0 where nobody wrote one."""

_NEVER = 1 << 62
"""The end of a line of which there is only a beginning."""


@dataclass(slots=True)
class _Event:
    start: int
    end: int
    time_ns: int
    last_ns: int
    length: int
    texts: list[bytes]


def of_plain(
    body: bytes, limit: int, part: int, units: Units, is_start: IsStart, caps: Caps, *, final: bool, close: bool
) -> list[Piece]:
    """Like `framing.frame`, with events. `close` ends an open event; `final` takes a last line without newline too."""
    pieces: list[Piece] = []
    run: list[_Row] = []
    at = 0
    for piece in frame(body, limit, part, final=final, units=units):
        if piece.first_part or piece.last_part:  # too long to be put together with anything
            pieces += _pieces(run, at, is_start, caps, final=True)
            run = []
            pieces.append(piece)
        else:
            run += _rows(body, at, piece, units)
        at += piece.length
    return pieces + _pieces(run, at, is_start, caps, final=final or close)


def _rows(body: bytes, at: int, piece: Piece, units: Units) -> Iterator[_Row]:
    end_of_piece = at + piece.length
    texts = piece.data[:-1].split(b"\n")
    for text in texts[:-1]:
        newline = units.first_newline(body, at, end_of_piece)
        end = newline + units.width if newline >= 0 else at
        yield at, end, b"", text, 0
        at = end
    yield at, end_of_piece, b"", texts[-1], 0


def of_wrapped(raw: bytes, unwrap: Unwrap, read_ns: int, is_start: IsStart, caps: Caps, *, final: bool) -> list[Piece]:
    """Like `container.join`, with events. Over-long lines are cut into lines of the event."""
    return _pieces(_joined(raw, unwrap, read_ns, caps.line_bytes, final), len(raw), is_start, caps, final=final)


def _joined(raw: bytes, unwrap: Unwrap, read_ns: int, limit: int, final: bool) -> Iterator[_Row]:
    """Lines put together of their parts. One that is not ended comes without text and without end."""
    columns = unwrap(raw, read_ns)
    halves: dict[Stream, _Row] = {}
    rows = zip(line_borders(raw), columns.streams, columns.ended, columns.texts, columns.times_ns, strict=True)
    for (at, end), stream, ended, piece, piece_ns in rows:
        start, text, time_ns = at, piece, piece_ns
        half = halves.pop(stream, None)
        if half is not None and len(half[3]) + len(text) > limit:
            yield half
        elif half is not None:
            start, text, time_ns = half[0], half[3] + text, half[4]
        if ended:
            yield start, end, stream, text[:-1] if text.endswith(b"\r") else text, time_ns
        else:
            halves[stream] = (start, end, stream, text, time_ns)
    for start, end, stream, text, time_ns in halves.values():
        yield start, end if final else _NEVER, stream, text, time_ns


def _pieces(rows: Iterable[_Row], end: int, is_start: IsStart, caps: Caps, *, final: bool) -> list[Piece]:
    """The events that are ended, up to the last place that cuts none. `end`: of the rows' raw bytes."""
    ended: list[_Event] = []
    open_: dict[Stream, _Event] = {}
    begin = -1
    longest = open_bytes(caps.line_bytes)
    for row in rows:
        start, row_end, stream, _, time_ns = row
        begin = start if begin < 0 else min(begin, start)
        if row_end == _NEVER:  # its event, if there is one, goes on or is ended by it: not known yet
            open_.setdefault(stream, _Event(start, row_end, 0, 0, 0, []))
            continue
        if stream:
            _end_silent(open_, ended, time_ns, caps)
        elif time_ns:  # nobody knows whose it is
            ended.append(_Event(start, row_end, time_ns, 0, 0, _texts(row, caps)))
            continue
        _add(open_, ended, row, is_start, caps)
        if row_end - min([event.start for event in open_.values()]) > longest:
            ended += open_.values()
            open_.clear()
    if final:
        ended += open_.values()
        open_.clear()
    held = min((event.start for event in open_.values()), default=end)
    taken, at = _clean(ended, held)
    if not taken:
        return []
    counts = tuple([len(event.texts) for event in taken])
    times = tuple([event.time_ns for event in taken]) if any(event.time_ns for event in taken) else None
    data = b"".join([text + b"\n" for event in taken for text in event.texts])
    return [Piece(at - begin, data, times_ns=times, line_counts=counts)]


def _end_silent(open_: dict[Stream, _Event], ended: list[_Event], time_ns: int, caps: Caps) -> None:
    """The runtime's times tell that nothing came for so long."""
    oldest_ns = time_ns - caps.timeout_ns
    silent = [stream for stream, event in open_.items() if event.last_ns < oldest_ns]
    for stream in silent:
        ended.append(open_.pop(stream))  # noqa: PERF401 - there is hardly ever one


def _add(open_: dict[Stream, _Event], ended: list[_Event], row: _Row, is_start: IsStart, caps: Caps) -> None:
    start, end, stream, text, time_ns = row
    event = open_.get(stream)
    if event is not None:
        is_full = len(event.texts) >= caps.max_lines or event.length + len(text) + 1 > caps.max_bytes
        if is_full or is_start(text):
            ended.append(event)
            event = None
    if event is None:
        event = open_[stream] = _Event(start, end, time_ns, 0, 0, [])
    event.texts += _texts(row, caps)
    event.length += len(text) + 1
    event.end, event.last_ns = end, time_ns


def _texts(row: _Row, caps: Caps) -> list[bytes]:
    text = row[3]
    if len(text) <= caps.line_bytes and b"\n" not in text:
        return [text]
    return [short for line in text.split(b"\n") for short in cut_text(line, caps.line_bytes)]


def _clean(ended: Sequence[_Event], held: int) -> tuple[list[_Event], int]:
    """The events before the last place, at most `held`, that none of them lies across, and that place."""
    place, reach = 0, 0
    for event in sorted(ended, key=lambda event: event.start):
        if reach <= min(event.start, held):
            place = reach
        reach = max(reach, event.end)
    if reach <= held:
        place = reach
    return sorted((event for event in ended if event.end <= place), key=lambda event: event.end), place


def check_starts(sources: Iterable[Source], engine: str) -> None:
    """Raises BadStart. Only an automaton matches in time linear in the line's length, whatever the line holds."""
    for source in sources:
        if source.multiline is None:
            continue
        if engine != "hyperscan":
            raise BadStart(
                f"source {source.name!r}: multiline needs Hyperscan, which does not work on this machine; "
                "take multiline out: lines are then sent one by one"
            )
        try:
            matcher(source.multiline.start)
        except BadStart as error:
            raise BadStart(f"source {source.name!r}: {error}") from None


def matcher(pattern: str) -> IsStart:
    """Whether the pattern is found in a line. For the calling thread, which compiles it once."""
    known: dict[str, IsStart] = _databases.__dict__.setdefault("matchers", {})
    if pattern not in known:
        known[pattern] = _compiled(pattern)
    return known[pattern]


def _compiled(pattern: str) -> IsStart:
    hyperscan: Any = importlib.import_module("hyperscan")
    database = hyperscan.Database(mode=hyperscan.HS_MODE_BLOCK)
    try:
        database.compile(expressions=[pattern.encode()], ids=[0], flags=[hyperscan.HS_FLAG_SINGLEMATCH])
    except hyperscan.HyperscanError as error:
        raise BadStart(f"multiline.start {pattern!r} cannot be matched in linear time: {error}") from None
    scan, scratch = database.scan, hyperscan.Scratch(database)
    found: list[int] = []

    def on_match(_ident: int, _start: int, end: int, _flags: int, _context: object) -> None:
        found.append(end)

    def is_start(line: bytes) -> bool:
        scan(line, match_event_handler=on_match, scratch=scratch)
        if found:
            found.clear()
            return True
        return False

    return is_start
