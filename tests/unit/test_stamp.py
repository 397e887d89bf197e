"""agent.batch.stamp: distinct nanoseconds."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.batch import stamp
from agent.batch.stamp import Stamper


def test_rising_times_are_kept() -> None:
    assert Stamper().stamp([1, 5, 9]) == ([1, 5, 9], [])


def test_ties_take_the_next_nanoseconds_and_what_follows_stays_behind_them() -> None:
    assert Stamper().stamp([5, 5, 5, 6, 7, 100]) == ([5, 6, 7, 8, 9, 100], [])


def test_ten_thousand_ties_are_distinct_and_in_order() -> None:
    stamps, unsure = Stamper().stamp([1763461800000000000] * 10_000)
    assert stamps == list(range(1763461800000000000, 1763461800000010000))
    assert not unsure


def test_an_earlier_time_is_kept_when_it_is_free() -> None:
    assert Stamper().stamp([100, 50, 200, 60]) == ([100, 50, 200, 60], [])


def test_an_earlier_time_that_is_taken_moves_to_the_next_free_one() -> None:
    assert Stamper().stamp([100, 200, 100, 100]) == ([100, 200, 101, 102], [])


def test_the_run_of_ties_goes_on_after_a_restart() -> None:
    first = Stamper()
    first.stamp([5, 5, 5])
    assert Stamper(first.clock).stamp([5, 5]) == ([8, 9], [])


def test_an_earlier_time_after_a_restart_is_kept_and_marked() -> None:
    first = Stamper()
    first.stamp([5, 100])
    assert Stamper(first.clock).stamp([5, 200]) == ([5, 200], [0])


@given(st.lists(st.lists(st.integers(0, 30), min_size=1, max_size=12), max_size=6), st.sets(st.integers(0, 5)))
def test_no_timestamp_is_given_twice_unless_it_is_marked(batches: list[list[int]], restarts: set[int]) -> None:
    stamper = Stamper()
    given_out: list[int] = []
    for index, wanted in enumerate(batches):
        if index in restarts:
            stamper = Stamper(stamper.clock)
        stamps, unsure = stamper.stamp(wanted)
        assert len(stamps) == len(wanted)
        assert all(got >= want for got, want in zip(stamps, wanted, strict=True))
        given_out += [ns for at, ns in enumerate(stamps) if at not in unsure]
    assert len(set(given_out)) == len(given_out)


@given(st.lists(st.integers(0, 3), min_size=1, max_size=40))
def test_equal_times_keep_their_order(wanted: list[int]) -> None:
    stamps, _ = Stamper().stamp(wanted)
    for value in set(wanted):
        run = [got for got, want in zip(stamps, wanted, strict=True) if want == value]
        assert run == sorted(run)


def test_forgetting_old_times_marks_what_could_be_a_repeat(monkeypatch) -> None:
    monkeypatch.setattr(stamp, "REMEMBERED", 4)
    stamper = Stamper()
    stamper.stamp(list(range(0, 200, 10)))
    assert stamper.stamp([50, 155, 180]) == ([50, 155, 181], [0])


@given(st.lists(st.lists(st.integers(0, 60), min_size=1, max_size=14), max_size=6))
def test_of_what_is_forgotten_the_highest_is_known(batches: list[list[int]]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stamp, "REMEMBERED", 3)
        stamper = Stamper()
        given_out: list[int] = []
        for wanted in batches:
            given_out += stamper.stamp(wanted)[0]
            forgotten = given_out[: len(given_out) - len(stamper._given)]
            assert [*forgotten, *stamper._given] == given_out
            assert len(stamper._given) >= min(3, len(given_out))
            assert stamper._floor == max(forgotten, default=-1)
