"""agent.transform.redaction.windows: where to look in a long text."""

from __future__ import annotations

import re
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from agent.transform.redaction import windows
from agent.transform.redaction.decode import base64_runs, base64_runs_at
from agent.transform.redaction.rule import Hit
from agent.transform.redaction.windows import AFTER, BEFORE, EDGE, Window

SIZE = 200_000
PLACES = st.lists(st.tuples(st.integers(1, SIZE), st.integers(0, 3)), max_size=30).map(sorted)


@given(PLACES)
def test_each_place_is_in_a_window_with_its_scan_and_windows_are_apart(places: list[tuple[int, int]]) -> None:
    made = windows.around(places, SIZE)
    for place, scan in places:
        assert any(
            w.start <= max(0, place - BEFORE) and min(SIZE, place + AFTER) <= w.end and scan in w.scans for w in made
        )
    assert all(a.end < b.start for a, b in pairwise(made))
    assert bool(made) == bool(places)


def test_a_window_grows_to_the_side_where_a_hit_comes_near_its_end() -> None:
    window = Window(10_000, 20_000, frozenset({1}))
    inside = Hit(EDGE, 10_000 - EDGE, "x")
    assert windows.wider(window, [inside], SIZE) is None
    assert windows.wider(window, [], SIZE) is None
    assert windows.wider(window, [inside, Hit(9_000, 9_999, "x")], SIZE) == (10_000, 30_000, {1})
    assert windows.wider(window, [Hit(3, 9, "x")], SIZE) == (0, 20_000, {1})
    assert windows.wider(window, [Hit(9_000, 10_000, "x")], 20_000) is None, "there is no more text"


@given(st.text(alphabet="aä\n🙂", max_size=30), st.data())
def test_places_of_bytes_become_places_of_characters(text: str, data: st.DataObject) -> None:
    ends = data.draw(st.lists(st.integers(0, len(text)), max_size=6))
    places = [(len(text[:end].encode()), 7) for end in ends]
    assert windows.in_characters(text.encode(), places) == sorted((end, 7) for end in ends)


@given(st.text(alphabet="ab\\\n\r", max_size=30), st.data())
def test_places_behind_escaped_line_breaks_find_their_way_back(text: str, data: st.DataObject) -> None:
    ends = data.draw(st.lists(st.integers(0, len(text)), max_size=6))
    places = [(len(windows.with_breaks_escaped(text[:end])), end) for end in ends]
    assert list(windows.unescaped(text, places)) == [(end, end) for end in ends]


@given(PLACES, st.integers(0, SIZE), st.integers(0, SIZE))
def test_what_is_within_a_part_is_counted_from_its_beginning(places: list[tuple[int, int]], a: int, b: int) -> None:
    start, end = sorted((a, b))
    found = windows.within(places, start, end)
    assert [(min(p, end) - start, scan) for p, scan in places if start <= p < end + EDGE] == found
    assert windows.any_within(places, start, end) == bool(found)


@given(st.lists(st.sampled_from(["A" * 23, "b" * 24, "c" * 5_000, "d/" * 3_000, " ", "=", ".", "\n"])), st.data())
def test_a_run_is_found_by_any_place_in_it(pieces: list[str], data: st.DataObject) -> None:
    text = "".join(pieces)
    places = sorted(data.draw(st.lists(st.integers(1, len(text) + 1), max_size=5)))
    runs = [run.span() for run in base64_runs(text)]
    expected = [(start, end) for start, end in runs if any(start < place <= end for place in places)]
    found = list(base64_runs_at(text, places))
    assert [run for run in found if run in expected] == expected
    assert set(found) <= set(runs)


def test_a_finder_that_knows_no_places_gives_those_of_its_pieces() -> None:
    at = 20_000
    text = b"x" * at + b"secret" + b"y" * 9_000
    places = windows.places_by_piece(text, lambda piece: frozenset({4} if re.search(b"secret", piece) else ()))
    assert {scan for _, scan in places} == {4}
    assert any(w.start <= at and w.end >= at + 6 for w in windows.around(places, len(text)))
    assert all(0 < place <= len(text) for place, _ in places)
