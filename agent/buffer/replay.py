"""Adding up what records say, to know how far each file was read, and what is missing in between.

In an intact log each span of a file begins where the one before ended. Where records are damaged or gone, the spans of
their neighbours tell which bytes of which files they held: these can be read again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from agent.buffer.memory import Memory
from agent.buffer.meta import HeldClock, RecordMeta, Tally, decode_head
from agent.buffer.record import FILE_HEADER_BYTES, Corrupt, Frame, Torn, decode, frames
from agent.buffer.segment import Mark, Place, Segment, reading
from agent.model import FileId, Position, Span


@dataclass(slots=True)
class Replay:
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

    def compare(self, positions: Mapping[FileId, Position], tally: Tally, place: Place) -> None:
        """With a later head, when the segments between are not there."""
        self._notice_gap(tally, place)
        for file, position in positions.items():
            self._damaged_ends[file, position.offset] = position
            self._notice_loss(file, position.offset, position)


State = tuple[dict[FileId, Position], dict[str, HeldClock]]


def state_at(segment: Segment) -> State | None:
    """What the segment's head holds; None when it is damaged."""
    with reading(segment.path) as read:
        found = decode(read, FILE_HEADER_BYTES, segment.end, segment.tag, payload=True)
    if not isinstance(found, Frame) or isinstance(found.meta, RecordMeta):
        return None
    return decode_head(found.payload)


def replayed(segments: Sequence[Segment], delivered: Mark, stop: int | None, *, verify_last: bool) -> Replay:
    """From the newest intact head on, up to the record `stop` of the last segment.

    verify_last: read that segment to the last byte; of the others headers and metas do.
    """
    first, state = 0, None
    for first in range(len(segments) - 1, -1, -1):
        state = state_at(segments[first])
        if state is not None:
            break
    positions, clocks = state if state is not None else ({}, {})
    # Without any head, what is not delivered may have begun before the first record that is still intact.
    tally = segments[first].tally if state is not None else min(segments[first].tally, delivered.tally)
    replay = Replay(Memory(positions, clocks), tally, delivered.place, segments[first].number)
    for segment, following in zip(segments[first:], [*segments[first + 1 :], None], strict=True):
        if following is None:
            replay.run(segment, stop, payload=verify_last)
        else:
            replay.run(segment, following.tally.sequence, payload=False)
    return replay


def lost_in(
    segments: Sequence[Segment], number: int, delivered: Mark, positions: Mapping[FileId, Position], tally: Tally
) -> tuple[Span, ...]:
    """Spans that stood in what is damaged of segment `number`, or in all of it when its file is gone.

    segments: all there are; of those in front of it the nearest with an intact head is needed. delivered: in front of the
    damage. positions, tally: at the log's end, where no later head says what they were behind the damage.
    With none in front nothing tells what the positions were before: the files are worth reading from their beginning.
    Raises OSError.
    """
    there = [segment for segment in segments if segment.path.exists()]
    upto = [segment for segment in there if segment.number <= number]
    behind = next((segment for segment in there if segment.number > number), None)
    state = state_at(behind) if behind is not None else None
    if behind is not None and state is not None:
        positions, tally = state[0], behind.tally
    if not upto:
        return tuple(Span(file, 0, position) for file, position in positions.items() if position.offset)
    replay = replayed(upto, delivered, tally.sequence, verify_last=False)
    replay.compare(positions, tally, Place(number + 1, 0))
    return tuple(replay.lost)
