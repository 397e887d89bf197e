"""agent.transform.placing: when a line happened that does not say so."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.model import Chunk, FileId, Origin, Position, Span
from agent.transform.placing import UNTIMED, Placer

HOUR_NS = 3600 * 10**9
NOW_NS = 1_763_461_800 * 10**9
OLDEST_NS, NEWEST_NS = NOW_NS - 168 * HOUR_NS, NOW_NS + HOUR_NS // 6
YESTERDAY_NS = NOW_NS - 24 * HOUR_NS
TOO_OLD_NS = NOW_NS - 240 * HOUR_NS
SMALL, LARGE = 100, 256 * 1024
FILE = FileId(1, 2)


def placed(
    placer: Placer, *times: int, size: int = LARGE, file: FileId = FILE, group: str = "g", later_ns: int = 0
) -> list[int]:
    origin = Origin("app", "/a.log")
    span = Span(file, 0, Position(size, 0, b"", b"", 0, origin))
    chunk = Chunk(origin, span, b"x" * size, NOW_NS + later_ns)
    settled = list(times)
    placer.place(settled, chunk, group, OLDEST_NS + later_ns, NEWEST_NS + later_ns)
    return settled


def test_lines_without_a_time_are_where_their_neighbours_are() -> None:
    lines = [UNTIMED, UNTIMED, YESTERDAY_NS, 0, YESTERDAY_NS + 5, TOO_OLD_NS, NOW_NS + HOUR_NS]
    first, later = YESTERDAY_NS, YESTERDAY_NS + 5
    assert placed(Placer(), *lines) == [first, first, first, first, later, later, later]


def test_what_a_line_said_is_told_when_it_gets_another_time() -> None:
    origin = Origin("app", "/a.log")
    chunk = Chunk(origin, Span(FILE, 0, Position(1, 0, b"", b"", 0, origin)), b"", NOW_NS)
    times = [UNTIMED, YESTERDAY_NS, 7]
    assert Placer().place(times, chunk, "g", OLDEST_NS, NEWEST_NS) == {2: 7}


def test_a_time_that_is_sent_all_the_same_draws_no_other_line_along() -> None:
    placer = Placer(keeps_odd=True)
    first, odd, last = placed(placer, UNTIMED, TOO_OLD_NS, UNTIMED)
    assert odd == TOO_OLD_NS
    assert OLDEST_NS <= first == last <= NEWEST_NS
    assert placed(placer, YESTERDAY_NS, TOO_OLD_NS, UNTIMED) == [YESTERDAY_NS, TOO_OLD_NS, YESTERDAY_NS]
    assert placed(placer, UNTIMED, 1 << 63, YESTERDAY_NS) == [YESTERDAY_NS] * 3, "no time that Loki could store"


def test_a_chunk_that_tells_no_time_happened_when_it_was_read() -> None:
    assert placed(Placer(), UNTIMED, UNTIMED) == [NOW_NS, NOW_NS]
    assert placed(Placer(), 12_345 * 10**9) == [NOW_NS], "seconds since the machine started are no date"


def test_in_a_file_read_long_after_it_was_written_such_a_chunk_goes_on_from_the_last_time() -> None:
    placer = Placer()
    placed(placer, YESTERDAY_NS)
    assert placed(placer, UNTIMED) == [YESTERDAY_NS]
    assert placed(placer, UNTIMED, group="another") == [NOW_NS]


def test_in_a_file_that_is_being_written_such_a_chunk_happened_when_it_was_read() -> None:
    placer = Placer()
    placed(placer, NOW_NS - 60 * 10**9)
    assert placed(placer, UNTIMED) == [NOW_NS]
    placer = Placer()
    placed(placer, YESTERDAY_NS)
    assert placed(placer, UNTIMED, size=SMALL) == [YESTERDAY_NS], "the end of what was there"
    assert placed(placer, UNTIMED, size=SMALL, file=FileId(1, 3)) == [YESTERDAY_NS], "the end of its successor"
    assert placed(placer, UNTIMED, size=SMALL, file=FileId(1, 3)) == [NOW_NS], "written after that"


def test_history_too_old_for_loki_leaves_room_for_what_is_less_old() -> None:
    placer = Placer()
    (edge,) = placed(placer, TOO_OLD_NS)
    assert OLDEST_NS < edge < OLDEST_NS + HOUR_NS
    assert placed(placer, TOO_OLD_NS + 1, OLDEST_NS + 10**9) == [OLDEST_NS + 10**9] * 2


@given(
    st.lists(st.lists(st.one_of(st.just(None), st.integers(0, 240)), min_size=1, max_size=5), min_size=1, max_size=8)
)
def test_no_chunk_of_an_old_file_shuts_the_door_on_a_later_one(ages_h: list[list[int | None]]) -> None:
    """Lines are in order; each is within Loki's hour of all before it, however many of them tell no time or a wrong one."""
    moments = sorted((age for chunk in ages_h for age in chunk if age is not None), reverse=True)
    remaining = iter(moments)
    placer, newest_ns = Placer(), 0
    told = False
    for number, chunk in enumerate(ages_h):
        times = [UNTIMED if age is None else NOW_NS - next(remaining) * HOUR_NS for age in chunk]
        told |= any(ns != UNTIMED for ns in times)
        if not told:
            continue  # nothing is known yet, such lines are new for all that one can tell
        for ns in placed(placer, *times, later_ns=number):
            assert ns >= newest_ns - HOUR_NS
            newest_ns = max(newest_ns, ns)


@pytest.mark.parametrize("moment", [0, -(10**18), 1 << 63])
def test_a_single_impossible_time_moves_nothing(moment: int) -> None:
    placer = Placer()
    placed(placer, YESTERDAY_NS)
    assert placed(placer, moment) == [YESTERDAY_NS]
    assert placed(placer, YESTERDAY_NS + 1) == [YESTERDAY_NS + 1]
