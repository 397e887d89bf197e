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
from pathlib import Path

from agent.buffer import cursor, damaged, lock, settled
from agent.buffer.errors import StateUnusable
from agent.buffer.memory import Memory
from agent.buffer.meta import RecordMeta, Tally
from agent.buffer.record import Frame, decode
from agent.buffer.replay import Replay, replayed
from agent.buffer.segment import Empty, Foreign, Mark, Place, Ruined, Segment, inspect, number_of, reading
from agent.model import Span
from agent.observe.events import (
    BufferCursorLost,
    BufferFileSetAside,
    BufferForeignFiles,
    BufferSpansLost,
    BufferTailCut,
    Emit,
)

_OWN_NAMES = {cursor.FILE_NAME, settled.FILE_NAME, lock.FILE_NAME, damaged.DIRECTORY_NAME}


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
    stands. start: everything before is delivered. end: everything before is durable. lost: spans that stood in damaged
    records. judged: numbers of the segments that `lost` speaks of; the last of them was verified to its last byte.
    """

    segments: tuple[Segment, ...]
    vacant: tuple[Path, ...]
    memory: Memory
    start: Mark
    end: Mark
    lost: tuple[Span, ...]
    judged: range
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
    hinted = hint.mark.place.segment if hint is not None else 0
    last_number = max(found.last_number, hinted, settled.last_segment(directory))
    if not found.segments:
        nowhere = Mark(Place(last_number, 0), hint.mark.tally if hint is not None else Tally())
        return Recovered((), (), Memory(), nowhere, nowhere, (), range(0), last_number + 1)
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
    newest = segments[-1]
    replay = replayed(segments, delivered or Mark(Place(0, 0), segments[0].tally), None, verify_last=True)
    end = Mark(Place(newest.number, replay.good_end), replay.tally)
    _cut_tail(newest, replay, aside, emit)
    newest = replace(newest, end=replay.good_end)
    start = _start(segments, newest, delivered, end)
    if delivered is None and end.tally.records > segments[0].tally.records:
        emit(BufferCursorLost(str(directory)))
    if replay.lost:
        emit(BufferSpansLost(len(replay.lost)))
    vacant: tuple[Path, ...] = ()
    if replay.records_in_newest:
        segments = [*segments[:-1], newest]
    else:
        # Every start begins a segment; one that never got a record would stay while older ones wait.
        segments, vacant = segments[:-1], (newest.path,)
        place = Place(segments[-1].number, segments[-1].end) if segments else end.place
        start = Mark(place, end.tally) if start == end else start
        end = Mark(place, end.tally)
    judged = range(replay.first, newest.number + 1)
    return Recovered(tuple(segments), vacant, replay.memory, start, end, tuple(replay.lost), judged, last_number + 1)


# --- the two ends --------------------------------------------------------------------------------------------------


def _cut_tail(newest: Segment, replay: Replay, aside: damaged.Damaged, emit: Emit) -> None:
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
    if place.segment < segments[0].number and tally.sequence < segments[0].tally.sequence:
        return hint.mark
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
