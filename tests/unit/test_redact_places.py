"""agent.transform.redaction.places: which lines matches are in."""

import re

from hypothesis import given
from hypothesis import strategies as st

from agent.transform.redaction.places import address_ends, by_line, lines_in, split
from agent.transform.redaction.shapes import ADDRESS

LINES = st.lists(st.binary(max_size=6).map(lambda line: line.replace(b"\n", b"-")), min_size=1, max_size=8)


@given(LINES, st.data())
def test_each_match_is_told_to_the_line_of_its_last_byte(lines: list[bytes], data: st.DataObject) -> None:
    chunk = b"".join(line + b"\n" for line in lines)
    found = data.draw(st.lists(st.tuples(st.integers(1, len(chunk)), st.integers(0, 3)), max_size=12))
    expected: dict[int, set[int]] = {}
    for end, scan in found:
        expected.setdefault(chunk[: end - 1].count(b"\n"), set()).add(scan)
    flags = by_line(lines, list(found), {})
    assert flags == expected
    assert list(flags) == sorted(flags)
    assert split(chunk, list(found), {}) == (lines, flags)


@given(st.lists(st.sampled_from([b"\n", b"a", b"bcd", b"\r", b"\x8a"])).map(b"".join))
def test_lines_are_what_newlines_end(data: bytes) -> None:
    lines = data.split(b"\n") if not data.endswith(b"\n") else data[:-1].split(b"\n")
    assert lines_in(data) == (lines if data else [])
    assert split(data, [], {}) == (lines_in(data), {})


def test_a_chunk_without_matches_needs_no_line() -> None:
    assert by_line([], [], {}) == {}


NEAR_ADDRESSES = st.lists(
    st.binary(max_size=3) | st.sampled_from([b"@", b"a@b", b"@@", b".@", b"\xff@9", b"_", b"-@Z"])
).map(b"".join)


@given(NEAR_ADDRESSES, st.integers(0, 40))
def test_places_of_addresses_are_those_of_the_pattern(data: bytes, most: int) -> None:
    ends = [found.start() + 3 for found in re.finditer(b"(?=%b)" % ADDRESS.encode(), data)]
    assert address_ends(data, most) == ends[: most + 1]
