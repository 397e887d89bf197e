from __future__ import annotations

from agent.buffer.backlog import Backlog, Pending
from agent.buffer.meta import Tally
from agent.model import Record


def pending(sequence: int, group: str = "a", segment: int = 1) -> Pending:
    return Pending(Record(sequence, group, 10, 100, segment, sequence * 50, 50), Tally(sequence), sequence * 1000)


def backlog(*pendings: Pending) -> Backlog:
    made = Backlog()
    for each in pendings:
        made.add(each)
    return made


def taken(made: Backlog) -> list[int]:
    records = iter(made.take, None)
    return [record.sequence for record in records]


def test_the_oldest_of_each_group_leaves_first() -> None:
    made = backlog(pending(1), pending(2), pending(3, "b"), pending(4, "c"))
    assert taken(made) == [1, 3, 4]


def test_a_group_goes_on_once_its_record_is_settled() -> None:
    made = backlog(pending(1), pending(2, "b"), pending(3), pending(4, "b"))
    assert taken(made) == [1, 2]
    assert made.settle(pending(2, "b").record)
    assert taken(made) == [4]
    assert made.settle(pending(1).record)
    assert taken(made) == [3]


def test_a_record_that_comes_while_its_group_is_in_flight_waits() -> None:
    made = backlog(pending(1))
    assert taken(made) == [1]
    made.add(pending(2))
    assert taken(made) == []
    made.settle(pending(1).record)
    assert taken(made) == [2]


def test_only_what_is_in_flight_can_be_settled_and_only_once() -> None:
    made = backlog(pending(1))
    assert not made.settle(pending(1).record)
    made.take()
    assert made.settle(pending(1).record)
    assert not made.settle(pending(1).record)
    assert (len(made), made.entries, made.first) == (0, 0, None)


def test_the_prefix_ends_at_the_oldest_that_is_not_settled() -> None:
    made = backlog(pending(1), pending(2, "b"), pending(3, "c"))
    taken(made)
    made.settle(pending(2, "b").record)
    assert made.first == pending(1)
    assert made.oldest_ns == 1000
    made.settle(pending(1).record)
    assert made.first == pending(3, "c")


def test_a_dropped_segment_takes_what_is_not_in_flight() -> None:
    made = backlog(pending(1), pending(2), pending(3, "b"), pending(4, segment=2), pending(5, "c", segment=2))
    assert made.take() == pending(1).record
    assert [record.sequence for record in made.drop_segment(1)] == [2, 3]
    assert made.first == pending(4, segment=2)
    assert (len(made), made.entries) == (3, 30)
    assert taken(made) == [5]
    assert made.settle(pending(1).record)
    assert (len(made), made.entries) == (2, 20)
    assert taken(made) == [4]


def test_a_group_goes_on_behind_a_dropped_segment() -> None:
    made = backlog(pending(1), pending(2), pending(3, segment=2))
    assert len(made.drop_segment(1)) == 2
    assert taken(made) == [3]


def test_a_group_that_was_dropped_whole_may_come_again() -> None:
    made = backlog(pending(1))
    made.drop_segment(1)
    made.add(pending(2, segment=2))
    assert taken(made) == [2]
