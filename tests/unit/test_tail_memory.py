"""Positions of files nobody follows just now: what is kept, for how long, and what is told to be over."""

import pytest

from agent.model import FileId, Origin, Position, Resume
from agent.tail import memory as memory_module
from agent.tail.memory import Memory
from agent.tail.mounts import Area

DAY_S = 86400.0
NS = 10**9


def position(path: str = "/a.log", mtime_s: float = 0) -> Position:
    return Position(10, 4, b"p", b"a", 0, Origin("s", path), mtime_ns=int(mtime_s * NS))


def memory(*files: FileId) -> Memory:
    return Memory(Resume({file: position() for file in files}, {}))


def test_of_several_contents_of_an_inode_only_the_last_counts_and_the_others_are_over() -> None:
    known = memory(FileId(1, 2, 0), FileId(1, 2, 3))
    assert known.over() == [FileId(1, 2, 0)]
    assert known.over() == []
    assert known.next_id((1, 2)) == FileId(1, 2, 4)
    assert known.take([(1, 2)]) == {(1, 2): (FileId(1, 2, 3), position())}
    assert known.take([(1, 2)]) == {}


def test_an_area_claims_what_lies_in_it() -> None:
    known = Memory(Resume({FileId(1, 1): position("/mnt/a.log"), FileId(2, 2): position("/b.log")}, {}))
    mine = known.claim(Area("x", ("/mnt",)))
    assert set(mine) == {(1, 1)}
    assert set(known.take([(1, 1), (2, 2)])) == {(2, 2)}


def test_what_only_cannot_be_seen_is_never_forgotten() -> None:
    known = memory(FileId(1, 1))
    known.remember((1, 2), (FileId(1, 2), position()), None)
    known.expire(1e9, 10**18)
    assert known.over() == []


def test_very_many_files_that_cannot_be_seen_are_kept_and_of_absent_ones_those_that_went_last(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(memory_module, "_MOST", 3)
    known = memory()
    for inode in range(10):  # on a file system that was unmounted
        known.remember((1, inode), (FileId(1, inode), position()), None)
    for inode in range(5):
        known.remember((2, inode), (FileId(2, inode), position()), 0.0)
    assert known.over() == [FileId(2, 0), FileId(2, 1)]
    assert len(known.take((1, inode) for inode in range(10))) == 10


def test_what_is_absent_is_forgotten_after_days_and_no_jump_of_the_clock_hastens_that_much() -> None:
    known = memory()
    known.remember((1, 2), (FileId(1, 2), position(mtime_s=DAY_S)), 0.0)
    known.expire(6 * DAY_S, int(7 * DAY_S * NS))
    known.expire(3500.0, int(3650 * DAY_S * NS))
    assert known.over() == []
    known.expire(7 * DAY_S + 1, int(8 * DAY_S * NS) - 1)
    assert known.over() == [FileId(1, 2)]


def test_absent_files_that_were_old_before_are_forgotten_within_a_run_of_an_hour() -> None:
    known = memory()
    known.remember((1, 2), (FileId(1, 2), position(mtime_s=0)), 0.0)
    known.expire(3601.0, int(8 * DAY_S * NS))
    assert known.over() == [FileId(1, 2)]


def test_an_inode_that_is_over_counts_from_the_start_again_unless_it_is_in_use() -> None:
    known = memory()
    known.in_use(FileId(1, 2, 0))
    known.in_use(FileId(1, 2, 1))
    known.drop(FileId(1, 2, 0))
    assert known.next_id((1, 2)) == FileId(1, 2, 2)
    known.drop(FileId(1, 2, 1))
    assert known.next_id((1, 2)) == FileId(1, 2, 0)
