"""Finds the records that follow a mark: headers and metas only, a bounded number, in a thread.

Accounting rests on tallies: what lies between two intact frames and is not there was lost, however it was lost.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from agent.buffer.backlog import Pending
from agent.buffer.meta import RecordMeta, Tally
from agent.buffer.record import Corrupt, Frame, Torn, frames
from agent.buffer.segment import Mark, Place, Segment, file_name, reading
from agent.model import Record


@dataclass(frozen=True, slots=True)
class Damage:
    """Records that are not there any more. before: where they began. length: of the damaged bytes, 0 when they are gone.

    following: sequence of the first record behind them.
    """

    before: Mark
    path: Path
    length: int
    records: int
    entries: int
    following: int


@dataclass(slots=True)
class Ahead:
    """What was found: up to `mark`, records in order, and what was lost between them."""

    mark: Mark
    pendings: list[Pending] = field(default_factory=list)
    damages: list[Damage] = field(default_factory=list)


def pending_of(meta: RecordMeta, place: Place, length: int) -> Pending:
    record = Record(
        sequence=meta.tally.sequence,
        group=meta.group,
        entries=meta.entries,
        line_bytes=meta.line_bytes,
        segment=place.segment,
        offset=place.offset,
        length=length,
    )
    return Pending(record, meta.tally, min(body.oldest_ns for body in meta.bodies), meta.places)


def look_ahead(segments: Sequence[Segment], start: Mark, end: Mark, limit: int) -> Ahead:
    """Up to `limit` records from `start` on.

    segments: from the one of `start` to the one of `end`, without gaps in the list (in numbers there may be). When that of
    `start` is gone they begin behind it. Raises OSError when a file cannot be opened for another reason than that it is gone.
    """
    ahead = Ahead(start)
    first = segments[0]
    if start.place.segment < first.number:
        _account(ahead, first.tally, first.path.with_name(file_name(start.place.segment)), start.place, 0)
        ahead.mark = first.beginning
    for segment, following in zip(segments, [*(later.beginning for later in segments[1:]), end], strict=True):
        if not _walk(segment, ahead, following.tally.sequence, limit):
            return ahead
        _account(ahead, following.tally, segment.path, ahead.mark.place, segment.end - ahead.mark.place.offset)
        ahead.mark = following
    return ahead


def _walk(segment: Segment, ahead: Ahead, stop: int, limit: int) -> bool:
    """Goes through one segment up to sequence `stop`; False when the limit was reached before its end.

    A record of sequence `stop` or more was written behind a failed sync, and the next segment begins with its successor.
    """
    damaged: Corrupt | Torn | None = None
    with contextlib.suppress(FileNotFoundError), reading(segment.path) as read:
        for found in frames(read, ahead.mark.place.offset, segment.end, segment.tag, payload=False):
            if len(ahead.pendings) >= limit:
                return False
            if not isinstance(found, Frame):
                damaged = damaged or found
                continue
            meta = found.meta
            if isinstance(meta, Tally) or meta.tally.sequence < ahead.mark.tally.sequence:
                continue
            if meta.tally.sequence >= stop:
                break
            began = damaged.offset if damaged else found.offset
            _account(ahead, meta.tally, segment.path, Place(segment.number, began), found.offset - began)
            damaged = None
            if meta.bodies:
                ahead.pendings.append(pending_of(meta, Place(segment.number, found.offset), found.length))
            ahead.mark = Mark(Place(segment.number, found.offset + found.length), meta.after)
    if damaged is not None:
        ahead.mark = Mark(Place(segment.number, damaged.offset), ahead.mark.tally)
    return True


def _account(ahead: Ahead, here: Tally, path: Path, place: Place, length: int) -> None:
    """Compares what was passed with what lies before `here`; what is missing was at `place`, so many bytes of it are left."""
    passed = ahead.mark.tally
    if (passed.sequence, passed.entries) != (here.sequence, here.entries):
        records, entries = here.records - passed.records, here.entries - passed.entries
        ahead.damages.append(Damage(Mark(place, passed), path, length, records, entries, here.sequence))
