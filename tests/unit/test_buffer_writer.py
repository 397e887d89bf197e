from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from test_buffer_samples import FailingDisk, batch, segments

from agent.buffer.memory import Memory
from agent.buffer.meta import Tally, record_meta
from agent.buffer.record import Draft, draft_record
from agent.buffer.writer import Writer


def draft(number: int = 1, size: int = 100) -> Draft:
    made = batch("a", number, size=size)
    return draft_record(record_meta(made, Tally(number)), made)


def writer(directory: Path, disk: FailingDisk | None = None, segment_bytes: int = 1000) -> Writer:
    made = Writer(directory, segment_bytes, (disk or FailingDisk()).storage, 1, Memory().head)
    made.open(Tally())
    return made


def sizes(directory: Path) -> list[int]:
    return [path.stat().st_size for path in segments(directory)]


def test_frames_lie_one_behind_the_other_and_roll_when_the_segment_is_full(tmp_path: Path) -> None:
    made = writer(tmp_path)
    first = made.commit([draft(1), draft(2)], Tally(1))
    second = made.commit([draft(3)], Tally(3))
    assert second == first + draft(1).length + draft(2).length
    assert made.wants_new_segment(600)
    assert made.commit([draft(4, size=600)], Tally(4)) == first
    assert made.segment is not None
    assert (made.segment.number, made.segment.tally) == (2, Tally(4))
    made.close()


def test_an_empty_segment_takes_anything(tmp_path: Path) -> None:
    made = writer(tmp_path)
    assert not made.wants_new_segment(10**9)
    made.close()


@pytest.mark.parametrize(
    ("fail", "rolls"),
    [(lambda disk: {disk.calls + 1}, False), (lambda disk: {disk.calls + 2}, True)],
    ids=["write", "sync"],
)
def test_a_failed_commit_leaves_nothing_behind(
    tmp_path: Path, fail: Callable[[FailingDisk], set[int]], rolls: bool
) -> None:
    disk = FailingDisk()
    made = writer(tmp_path, disk)
    made.commit([draft(1)], Tally(1))
    before = sizes(tmp_path)
    disk.failing = fail(disk)
    with pytest.raises(OSError, match="space"):
        made.commit([draft(2)], Tally(2))
    assert sizes(tmp_path) == before
    assert made.wants_new_segment(1) is rolls
    made.commit([draft(2)], Tally(2))
    assert len(sizes(tmp_path)) == 1 + rolls
    made.close()


def test_a_segment_that_cannot_be_begun_leaves_the_old_one_in_use(tmp_path: Path) -> None:
    disk = FailingDisk()
    made = writer(tmp_path, disk)
    made.commit([draft(1)], Tally(1))
    disk.failing = {disk.calls + 1}
    with pytest.raises(OSError, match="space"):
        made.open(Tally(2))
    assert made.segment is not None
    assert made.segment.number == 1
    made.commit([draft(2)], Tally(2))
    made.open(Tally(3))
    assert made.segment.number == 3
    assert [path.name for path in segments(tmp_path)] == ["000000000001.segment", "000000000003.segment"]
    made.close()


def test_an_abandoned_segment_is_not_written_to(tmp_path: Path) -> None:
    made = writer(tmp_path)
    made.abandon()
    made.commit([draft(1)], Tally(1))
    assert len(sizes(tmp_path)) == 2
    made.close()
