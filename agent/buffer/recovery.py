"""Opening a buffer that was left behind, whatever happened to it.

Reads the first bytes of every segment and the whole of the newest; the others are read when their records are due. It
refuses a newer format and nothing else:

    unfinished write at the end         cut off; it was never acknowledged
    damage between good records         passed over; the spans of the files are worked out from their neighbours
    damaged head                        the segment before has the state, and is replayed too
    empty file, NULs                    deleted
    nothing intact in a file            moved to `damaged`
    segment gone from the middle        passed over, as damage
    no cursor, or one that fits nowhere everything is delivered again
    other files                         left alone
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path

from agent.buffer import cursor, damaged, lock
from agent.buffer.errors import StateUnusable
from agent.buffer.memory import Memory
from agent.buffer.meta import HeldClock, RecordMeta, Tally, decode_head
from agent.buffer.record import FILE_HEADER_BYTES, Corrupt, Frame, Torn, decode, frames
from agent.buffer.segment import Empty, Foreign, Mark, Place, Ruined, Segment, inspect, number_of, reading
from agent.model import FileId, Position, Span
from agent.observe.events import (
    BufferCursorLost,
    BufferFileSetAside,
    BufferForeignFiles,
    BufferSpansLost,
    BufferTailCut,
    Emit,
)

_OWN_NAMES = {cursor.FILE_NAME, lock.FILE_NAME, damaged.DIRECTORY_NAME}


@dataclass(slots=True)
class Survey:
    """What lies in the directory; nothing was changed to find out. segments: oldest first."""

    segments: list[Segment] = field(default_factory=list)
    empty: list[Path] = field(default_factory=list)
    ruined: list[Path] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)
    last_number: int = 0


@dataclass(frozen=True, slots=True)
class Recovered:
    """The buffer as it was left.

    segments: those whose records may have to be delivered, oldest first. vacant: files to delete once a new segment
    stands. start: everything before is delivered. end: everything before is durable.
    """

    segments: tuple[Segment, ...]
    vacant: tuple[Path, ...]
    memory: Memory
    start: Mark
    end: Mark
    lost: tuple[Span, ...]
    next_number: int


def survey(directory: Path) -> Survey:
    """Raises FutureFormat and StateUnusable."""
    found = Survey()
    try:
        for name in sorted(os.listdir(directory)):
            number = number_of(name)
            if number is not None:
                found.last_number = max(found.last_number, number)
                _sort_in(found, directory / name, number)
            elif name not in _OWN_NAMES:
                found.foreign.append(name)
    except OSError as error:
        raise StateUnusable(
            f"cannot read {error.filename or directory}: {error.strerror}; the agent's user must own {directory}"
        ) from error
    found.segments.sort(key=lambda segment: segment.number)
    return found


def _sort_in(found: Survey, path: Path, number: int) -> None:
    match inspect(path, number):
        case Segment() as segment:
            found.segments.append(segment)
        case Empty():
            found.empty.append(path)
        case Ruined():
            found.ruined.append(path)
        case Foreign():
            found.foreign.append(path.name)


def recover(directory: Path, found: Survey, hint: cursor.Hint | None, aside: damaged.Damaged, emit: Emit) -> Recovered:
    """Raises StateUnusable when the newest segment cannot be read or made durable."""
    _tidy(directory, found, aside, emit)
    last_number = max(found.last_number, hint.mark.place.segment if hint is not None else 0)
    if not found.segments:
        nowhere = Mark(Place(last_number, 0), hint.mark.tally if hint is not None else Tally())
        return Recovered((), (), Memory(), nowhere, nowhere, (), last_number + 1)
    try:
        return _recover(directory, found.segments, hint, aside, emit, last_number)
    except OSError as error:
        raise StateUnusable(f"cannot open the buffer in {directory}: {error}; check the disk and the owner") from error


def _tidy(directory: Path, found: Survey, aside: damaged.Damaged, emit: Emit) -> None:
    if found.foreign:
        emit(BufferForeignFiles(str(directory), len(found.foreign), found.foreign[0]))
    for path in found.empty:
        with contextlib.suppress(OSError):
            path.unlink()
    for path in found.ruined:
        if aside.keep_file(path):
            emit(BufferFileSetAside(str(path)))


def _recover(
    directory: Path,
    segments: list[Segment],
    hint: cursor.Hint | None,
    aside: damaged.Damaged,
    emit: Emit,
    last_number: int,
) -> Recovered:
    delivered = _fitting(hint, segments)
    replay, newest = _replay(segments, delivered)
    end = Mark(Place(newest.number, replay.good_end), replay.tally)
    _cut_tail(newest, replay, aside, emit)
    newest = replace(newest, end=replay.good_end)
    start = _start(segments, newest, delivered, end)
    if delivered is None and end.tally.records > segments[0].tally.records:
        emit(BufferCursorLost(str(directory)))
    lost = (*_lost_between(segments, replay.first, start.place), *replay.lost)
    if lost:
        emit(BufferSpansLost(len(lost)))
    vacant: tuple[Path, ...] = ()
    if replay.records_in_newest:
        segments = [*segments[:-1], newest]
    else:
        # Every start begins a segment; one that never got a record would stay while older ones wait.
        segments, vacant = segments[:-1], (newest.path,)
        place = Place(segments[-1].number, segments[-1].end) if segments else end.place
        start = Mark(place, end.tally) if start == end else start
        end = Mark(place, end.tally)
    return Recovered(tuple(segments), vacant, replay.memory, start, end, lost, last_number + 1)


# --- the state -----------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Replay:
    """Adds up records in the order of the log, and notices what is missing.

    delivered: everything before was, so what is missing there is no loss. first: number of the first segment replayed.
    """

    memory: Memory
    tally: Tally
    delivered: Place
    first: int = 0
    lost: list[Span] = field(default_factory=list)
    good_end: int = 0
    records_in_newest: int = 0
    corrupt_tail: bool = False
    _in_doubt: bool = False
    _checked: set[FileId] = field(default_factory=set)
    _damaged_ends: dict[tuple[FileId, int], Position] = field(default_factory=dict)

    def run(self, segment: Segment, stop: int | None, *, payload: bool) -> None:
        """Replays one segment, up to the record `stop` where the next segment begins with that."""
        self.good_end, self.records_in_newest, self.corrupt_tail = segment.start, 0, False
        with reading(segment.path) as read:
            for found in frames(read, segment.start, segment.end, segment.tag, payload=payload):
                match found:
                    case Frame(meta=RecordMeta() as meta):
                        if stop is not None and meta.tally.sequence >= stop:
                            return
                        self._good(segment, found.offset, found.offset + found.length, meta)
                    case Corrupt(meta=RecordMeta() as meta) if Place(segment.number, found.offset) < self.delivered:
                        self._good(segment, found.offset, found.resume, meta)
                    case Corrupt():
                        self.corrupt_tail = True
                        self._note(found)
                    case Frame() | Torn():
                        pass

    def _good(self, segment: Segment, offset: int, end: int, meta: RecordMeta) -> None:
        self._notice_gap(meta.tally, Place(segment.number, offset))
        spans = meta.spans
        for span in spans:
            self._notice_loss(span.file, span.start, span.after)
        self.memory.apply(spans, meta.clocks())
        self.tally, self.good_end, self.corrupt_tail = meta.after, end, False
        self.records_in_newest += 1

    def _note(self, found: Corrupt) -> None:
        if found.meta is not None:
            for span in found.meta.spans:
                self._damaged_ends[span.file, span.after.offset] = span.after

    def _notice_gap(self, here: Tally, place: Place) -> None:
        if here.sequence != self.tally.sequence and place > self.delivered:
            self._in_doubt = True
            self._checked.clear()

    def _notice_loss(self, file: FileId, start: int, after: Position) -> None:
        """In doubt, a file whose next span does not begin where the last one ended has lost what lies between.

        Where only the offset of that place is known, the position there has no anchor: nothing vouches for the bytes.
        """
        if not self._in_doubt or file in self._checked:
            return
        self._checked.add(file)
        known = self.memory.positions.get(file)
        known_offset = known.offset if known is not None else 0
        if start > known_offset:
            end = self._damaged_ends.get((file, start)) or replace(after, offset=start, anchor_digest=b"", part=0)
            self.lost.append(Span(file, known_offset, end))

    def compare(self, positions: dict[FileId, Position], tally: Tally, place: Place) -> None:
        """With a later head, when the segments between are not there."""
        self._notice_gap(tally, place)
        for file, position in positions.items():
            self._damaged_ends[file, position.offset] = position
            self._notice_loss(file, position.offset, position)


def _state_at(segment: Segment) -> tuple[dict[FileId, Position], dict[str, HeldClock]] | None:
    """What the segment's head holds; None when it is damaged."""
    with reading(segment.path) as read:
        found = decode(read, FILE_HEADER_BYTES, segment.end, segment.tag, payload=True)
    if not isinstance(found, Frame) or isinstance(found.meta, RecordMeta):
        return None
    return decode_head(found.payload)


def _replay(segments: Sequence[Segment], delivered: Mark | None) -> tuple[_Replay, Segment]:
    """From the newest intact head on; the newest segment is verified to the last byte."""
    place = delivered.place if delivered is not None else Place(0, 0)
    first, state = 0, None
    for first in range(len(segments) - 1, -1, -1):
        state = _state_at(segments[first])
        if state is not None:
            break
    positions, clocks = state if state is not None else ({}, {})
    replay = _Replay(Memory(positions, clocks), segments[first].tally, place, segments[first].number)
    for segment, following in zip(segments[first:], [*segments[first + 1 :], None], strict=True):
        stop = following.tally.sequence if following is not None else None
        replay.run(segment, stop, payload=following is None)
    return replay, segments[-1]


def _lost_between(segments: Sequence[Segment], replayed: int, delivered: Place) -> tuple[Span, ...]:
    """Spans that stood in segments gone from the middle of what is to be delivered.

    Numbers may have gaps without loss (a segment that could not be made), so the tallies decide.
    """
    lost: list[Span] = []
    for segment, following in pairwise(segments):
        if segment.number + 1 == following.number or segment.number < delivered.segment:
            continue
        if segment.number >= replayed:
            break
        before, after = _state_at(segment), _state_at(following)
        if before is None or after is None:
            continue
        replay = _Replay(Memory(*before), segment.tally, delivered)
        replay.run(segment, following.tally.sequence, payload=False)
        replay.lost.clear()
        replay.compare(after[0], following.tally, Place(following.number, 0))
        lost += replay.lost
    return tuple(lost)


# --- the two ends --------------------------------------------------------------------------------------------------


def _cut_tail(newest: Segment, replay: _Replay, aside: damaged.Damaged, emit: Emit) -> None:
    """Takes off what lies behind the last whole record and makes the rest durable before anything relies on it."""
    size = newest.end - replay.good_end
    if size and replay.corrupt_tail:
        aside.keep_bytes(newest.path, replay.good_end, size)
    fd = os.open(newest.path, os.O_RDWR | os.O_CLOEXEC)
    try:
        if size:
            os.ftruncate(fd, replay.good_end)
        os.fsync(fd)
    finally:
        os.close(fd)
    if size:
        emit(BufferTailCut(str(newest.path), replay.good_end, size))


def _fitting(hint: cursor.Hint | None, segments: Sequence[Segment]) -> Mark | None:
    """The cursor's mark when it points to the beginning of a record, or where one was; else None."""
    if hint is None:
        return None
    place, tally = hint.mark.place, hint.mark.tally
    segment = next((each for each in segments if each.number == place.segment), None)
    if segment is None or segment.tag != hint.tag or place.offset < segment.start:
        return None
    if place.offset >= segment.end:
        return hint.mark
    with reading(segment.path) as read:
        found = decode(read, place.offset, segment.end, segment.tag, payload=False)
    if isinstance(found, Frame) and isinstance(found.meta, RecordMeta):
        return hint.mark if found.meta.tally.sequence == tally.sequence else None
    return hint.mark


def _start(segments: Sequence[Segment], newest: Segment, delivered: Mark | None, end: Mark) -> Mark:
    """Where delivery goes on. A cursor behind the cut has everything before it delivered."""
    if delivered is None:
        return segments[0].beginning if segments[0].number != newest.number else newest.beginning
    return end if delivered.place >= end.place else delivered
