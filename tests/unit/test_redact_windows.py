"""agent.transform.redaction.windows: where to look in a long text."""

from __future__ import annotations

import re
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from agent.transform.redaction import windows
from agent.transform.redaction.decode import base64_runs, base64_runs_at, unescape
from agent.transform.redaction.rule import Hit
from agent.transform.redaction.windows import CLOSE, EDGE, FAR, Window

SIZE = 200_000
PLACES = st.lists(st.integers(1, SIZE), max_size=30).map(sorted)
CHANGES = FAR.before + FAR.after + EDGE
FOUND = st.lists(st.tuples(st.integers(1, SIZE), st.integers(0, 3)), max_size=30).map(sorted)


@given(PLACES)
def test_each_place_is_in_a_window_and_windows_are_apart(places: list[int]) -> None:
    made = windows.around(places, SIZE)
    for place in places:
        assert any(w.start <= max(0, place - FAR.before) and min(SIZE, place + FAR.after) <= w.end for w in made)
    assert all(a.end < b.start for a, b in pairwise(made))
    assert bool(made) == bool(places)


def test_a_window_grows_to_the_side_where_a_hit_comes_near_its_end() -> None:
    window = Window(10_000, 20_000)
    inside = Hit(EDGE, 10_000 - EDGE, "x")
    assert windows.wider(window, [inside], SIZE) is None
    assert windows.wider(window, [], SIZE) is None
    assert windows.wider(window, [inside, Hit(9_000, 9_999, "x")], SIZE) == (10_000, 30_000)
    assert windows.wider(window, [Hit(3, 9, "x")], SIZE) == (0, 20_000)
    assert windows.wider(window, [Hit(9_000, 10_000, "x")], 20_000) is None, "there is no more text"


@given(st.text(alphabet="aä\n🙂", max_size=30), st.data())
def test_places_of_bytes_become_places_of_characters(text: str, data: st.DataObject) -> None:
    ends = data.draw(st.lists(st.integers(0, len(text)), max_size=6))
    places = [(len(text[:end].encode()), 7) for end in ends]
    assert windows.in_characters(text.encode(), places) == sorted((end, 7) for end in ends)


@given(st.text(alphabet="ab\\\n\r", max_size=30), st.data())
def test_places_behind_escaped_line_breaks_find_their_way_back(text: str, data: st.DataObject) -> None:
    ends = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=6)))
    places = [(len(windows.with_breaks_escaped(text[:end])), end) for end in ends]
    assert windows.unescaped(text, places) == [(end, end) for end in ends]


@given(FOUND, st.integers(0, SIZE), st.integers(0, SIZE))
def test_what_is_within_a_part_is_counted_from_its_beginning(places: list[tuple[int, int]], a: int, b: int) -> None:
    start, end = sorted((a, b))
    found = windows.within(places, start, end)
    assert [(min(p, end) - start, scan) for p, scan in places if start <= p < end + EDGE] == found


@given(FOUND, st.lists(st.tuples(st.integers(0, 40_000), st.integers(1, 5_000)), max_size=5))
def test_what_is_known_after_replacing_is_what_stands_near_and_has_no_part_in_it(
    places: list[tuple[int, int]], gaps: list[tuple[int, int]]
) -> None:
    hits: list[Hit] = []
    for gap, length in gaps:
        start = (hits[-1].end if hits else 0) + gap
        hits.append(Hit(start, start + length, "x", "ab"))
    kept = [
        (place, scan)
        for place, scan in places
        if any(hit.start - CHANGES <= place <= hit.end + CHANGES for hit in hits)
        and not any(hit.start < place < hit.end + FAR.after for hit in hits)
    ]
    moved = [(place + sum(2 - hit.end + hit.start for hit in hits if hit.start < place), scan) for place, scan in kept]
    assert windows.near(places, hits) == moved


@given(
    st.lists(st.sampled_from(["a word ", "x" * 40, "\\n", "\\\\", "\\u00e4", r"\ud83d\ude00"])).map("".join), st.data()
)
def test_a_part_of_a_string_begins_and_ends_between_escapes(content: str, data: st.DataObject) -> None:
    start, end = sorted(data.draw(st.tuples(st.integers(0, len(content)), st.integers(0, len(content)))))
    low, high = windows.apart_from_escapes(content, start, end)
    assert low <= start <= end <= high
    before, part, behind = content[:low], content[low:high], content[high:]
    assert unescape(before) + unescape(part) + unescape(behind) == unescape(content)


@given(st.lists(st.sampled_from(["A" * 23, "b" * 24, "c" * 5_000, "d/" * 3_000, " ", "=", ".", "\n"])), st.data())
def test_a_run_is_found_by_any_place_in_it(pieces: list[str], data: st.DataObject) -> None:
    text = "".join(pieces)
    places = sorted(data.draw(st.lists(st.integers(1, len(text) + 2), max_size=5)))
    runs = [run.span() for run in base64_runs(text)]
    expected = [(start, end) for start, end in runs if any(start + 1 < place <= end + 1 for place in places)]
    found = list(base64_runs_at(text, places))
    assert [run for run in found if run in expected] == expected
    assert set(found) <= set(runs)


def test_a_finder_that_knows_no_places_gives_those_of_its_pieces() -> None:
    at = 20_000
    text = b"x" * at + b"secret" + b"y" * 9_000
    places = windows.places_by_piece(text, lambda piece: frozenset({4} if re.search(b"secret", piece) else ()))
    assert {scan for _, scan in places} == {4}
    near = windows.around([place for place, _ in places], len(text), CLOSE)
    assert any(w.start <= at and w.end >= at + 6 for w in near)
    assert all(0 < place <= len(text) for place, _ in places)
