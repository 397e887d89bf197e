from __future__ import annotations

from pathlib import Path

from test_buffer_samples import batch, flip

from agent.buffer.lookahead import Ahead, look_ahead
from agent.buffer.memory import Memory
from agent.buffer.meta import Tally, record_meta
from agent.buffer.record import draft_record
from agent.buffer.segment import Mark, Place, Segment, Storage
from agent.buffer.writer import Writer


def log(directory: Path, *per_segment: int, bodies: int = 1) -> tuple[list[Segment], Mark]:
    """Segments with so many records of two entries each, and the end."""
    writer = Writer(directory, 1 << 30, Storage(), 1, Memory().head)
    tally, found = Tally(), []
    for count in per_segment:
        writer.open(tally)
        for _ in range(count):
            made = batch("a", tally.sequence, entries=2, bodies=bodies)
            meta = record_meta(made, tally)
            writer.commit([draft_record(meta, made)], tally)
            tally = meta.after
        assert writer.segment is not None
        found.append(writer.segment)
    writer.close()
    return found, Mark(Place(found[-1].number, found[-1].end), tally)


def sequences(ahead: Ahead) -> list[int]:
    return [pending.record.sequence for pending in ahead.pendings]


def test_everything_up_to_the_end_is_found(tmp_path: Path) -> None:
    segments, end = log(tmp_path, 2, 0, 3)
    ahead = look_ahead(segments, segments[0].beginning, end, 100)
    assert sequences(ahead) == [1, 2, 3, 4, 5]
    assert (ahead.mark, ahead.damages) == (end, [])


def test_any_limit_gives_the_same_records_in_steps(tmp_path: Path) -> None:
    segments, end = log(tmp_path, 2, 3, 1)
    for limit in range(1, 8):
        mark, seen = segments[0].beginning, []
        while mark != end:
            behind = [segment for segment in segments if segment.number >= mark.place.segment]
            ahead = look_ahead(behind, mark, end, limit)
            assert len(ahead.pendings) <= limit
            seen += sequences(ahead)
            mark = ahead.mark
        assert seen == [1, 2, 3, 4, 5, 6]


def test_records_without_bodies_are_passed_over(tmp_path: Path) -> None:
    segments, end = log(tmp_path, 3, bodies=0)
    ahead = look_ahead(segments, segments[0].beginning, end, 100)
    assert (ahead.pendings, ahead.mark, ahead.damages) == ([], end, [])


def test_damage_is_counted_by_what_lies_around_it(tmp_path: Path) -> None:
    segments, end = log(tmp_path, 3, 2)
    whole = look_ahead(segments, segments[0].beginning, end, 100)
    second = whole.pendings[1].record
    flip(segments[0].path, second.offset)
    ahead = look_ahead(segments, segments[0].beginning, end, 100)
    assert sequences(ahead) == [1, 3, 4, 5]
    (damage,) = ahead.damages
    assert (damage.before.place.offset, damage.length, damage.records, damage.entries) == (
        second.offset,
        second.length,
        1,
        2,
    )


def test_damage_at_the_end_of_a_segment_is_counted_by_the_next(tmp_path: Path) -> None:
    segments, end = log(tmp_path, 3, 2)
    third = look_ahead(segments, segments[0].beginning, end, 100).pendings[2].record
    flip(segments[0].path, third.offset)
    ahead = look_ahead(segments, segments[0].beginning, end, 100)
    assert sequences(ahead) == [1, 2, 4, 5]
    assert [(damage.before.place.offset, damage.length, damage.entries) for damage in ahead.damages] == [
        (third.offset, third.length, 2)
    ]


def test_damage_at_the_end_of_the_log_is_counted_too(tmp_path: Path) -> None:
    segments, end = log(tmp_path, 2)
    for pending in look_ahead(segments, segments[0].beginning, end, 9).pendings:
        flip(segments[0].path, pending.record.offset)
    ahead = look_ahead(segments, segments[0].beginning, end, 9)
    assert ahead.mark == end
    assert sum(damage.entries for damage in ahead.damages) == 4


def test_a_segment_that_is_gone_is_counted(tmp_path: Path) -> None:
    segments, end = log(tmp_path, 1, 2, 1)
    segments[1].path.unlink()
    ahead = look_ahead(segments, segments[0].beginning, end, 100)
    assert sequences(ahead) == [1, 4]
    assert [(damage.path, damage.records, damage.entries) for damage in ahead.damages] == [(segments[1].path, 2, 4)]
    ahead = look_ahead([segments[0], segments[2]], segments[0].beginning, end, 100)
    assert [damage.entries for damage in ahead.damages] == [4]


def test_what_the_next_head_says_was_not_durable_is_not_found(tmp_path: Path) -> None:
    segments, _ = log(tmp_path, 2)
    stop = Mark(Place(9, 0), Tally(2, 2, 1))
    ahead = look_ahead(segments, segments[0].beginning, stop, 100)
    assert sequences(ahead) == [1]
    assert (ahead.mark, ahead.damages) == (stop, [])
