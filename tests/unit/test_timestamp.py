"""agent.transform.timestamp: every digit kept."""

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from agent.transform.timestamp import (
    Clock,
    by_digit,
    by_text,
    digits_of,
    from_json,
    from_text,
    from_torn,
    in_place,
)


@pytest.mark.parametrize(
    ("raw", "ns"),
    [
        (b"1763461800.000294", 1763461800000294000),
        (b"1763461800.123", 1763461800123000000),
        (b"1763461800.1", 1763461800100000000),
        (b"1763461800.0", 1763461800000000000),
        (b"1763461800.123456789", 1763461800123456789),
        (b"1763461800.1234567891", 1763461800123456789),
        (b"1763461800", 1763461800000000000),
        (b"1763461800123", 1763461800123000000),
        (b"1763461800123.5", 1763461800123500000),
        (b"1763461800123456", 1763461800123456000),
        (b"1763461800123456789", 1763461800123456789),
        (b"1.7634618e9", 1763461800000000000),
        (b"0", 0),
        (b"-1.5", -1500000000),
        (b'"2025-11-18T10:30:00Z"', 1763461800000000000),
        (b'"2025-11-18T10:30:00.123456789Z"', 1763461800123456789),
        (b'"2025-11-18 10:30:00,123"', 1763461800123000000),
        (b'"2025-11-18T11:30:00+01:00"', 1763461800000000000),
        (b'"2025-11-18T11:30:00.5+0100"', 1763461800500000000),
        (b'"2025-11-18T10:30:00"', 1763461800000000000),
        (b'"1763461800.5"', 1763461800500000000),
        (b'"yesterday"', None),
        (b'"2025-13-45T10:30:00Z"', None),
        (b"null", None),
        (b"true", None),
        (b"{}", None),
        (b"", None),
        (b"1e400", None),
        (b"NaN", None),
        (b"Infinity", None),
        (b"99999999999999999999999", None),
    ],
)
def test_a_time_is_read_to_its_last_digit(raw: bytes, ns: int | None) -> None:
    assert from_json(raw) == ns


@given(st.integers(1_000_000_000, 4_000_000_000), st.integers(0, 999_999))
def test_a_python_float_of_microseconds_loses_nothing(seconds: int, micros: int) -> None:
    moment = seconds + micros / 1_000_000
    assert from_json(json.dumps(moment).encode()) == seconds * 10**9 + micros * 1000


@given(st.binary(max_size=40))
def test_no_bytes_raise(raw: bytes) -> None:
    from_json(raw)
    from_torn(raw)


@given(st.text(max_size=40))
def test_no_text_raises(text: str) -> None:
    from_text(text)


def test_a_torn_line_still_tells_its_time() -> None:
    assert from_torn(b'{"timestamp": 1763461800.25, "level": "IN{"timestamp": 1') == 1763461800250000000


@given(st.text('0123456789.,-e "_+', max_size=24), st.integers(0, 3))
@example("1763461800.123456, ", 0)
@example("1763461800.123456789,", 0)
@example("1763461800.1234567890,", 0)
@example("1763461800.12345 ,", 0)
@example("0000000000.1,", 0)
def test_both_ways_to_read_a_time_in_place_agree(text: str, at: int) -> None:
    line = b"x" * at + text.encode()
    assert by_digit(line, at) == by_text(line, at)
    if by_text(line, at) >= 0:
        assert by_text(line, at) == from_json(text.split(",", maxsplit=1)[0].encode())


TIMES = st.one_of(
    st.builds("{}.{:06},".format, st.integers(1763461799, 1763461801), st.integers(0, 999_999)),
    st.text(st.sampled_from("0123456789,.-e "), max_size=20),
    st.text(st.sampled_from("0123456789,.-e "), max_size=14).map("1763461800.".__add__),
)


@given(st.lists(st.tuples(st.sampled_from(["", " ", "  "]), TIMES), max_size=8))
def test_a_clock_reads_each_line_as_if_it_were_the_first(starts: list[tuple[str, str]]) -> None:
    clock = Clock(b'{"timestamp":')
    for space, text in starts:
        line = f'{{"timestamp":{space}{text} "level": "INFO"}}'.encode()
        assert clock.read(line) == Clock(b'{"timestamp":').read(line)
        wanted = -1 if space == "  " or text.startswith("0") else in_place(line, 13 + len(space))
        assert clock.read(line) == wanted
        if wanted >= 0:
            assert clock.behind == line.index(b",")


@pytest.mark.parametrize(
    "fraction", ["1", "12", "12345", "123456", "1234567", "12345678", "123456789", "000000", "999999", "0000001"]
)
def test_a_clock_reads_decimals_however_many_there_are(fraction: str) -> None:
    clock = Clock(b'{"timestamp":')
    for line in (
        b'{"timestamp": 1763461800.5, "level": "INFO"}',
        f'{{"timestamp": 1763461800.{fraction}, "a": 1}}'.encode(),
    ):
        ns = clock.read(line)
    assert ns == 1763461800 * 10**9 + int(fraction.ljust(9, "0"))
    assert clock.behind == line.index(b",")


@pytest.mark.parametrize(
    "time", ["0763461800.5", "9763461800.5", "1763461800.", "1763461800.12345x", "1763461800.1234567890"]
)
def test_a_clock_leaves_odd_times_to_others(time: str) -> None:
    clock = Clock(b'{"timestamp":')
    assert clock.read(b'{"timestamp": 1763461800.5, "a": 1}') > 0
    assert clock.read(f'{{"timestamp": {time}, "a": 1}}'.encode()) == -1


@given(
    st.integers(1, 8).flatmap(lambda n: st.text("0123456789", min_size=n, max_size=n)),
    st.binary(min_size=7, max_size=7),
)
def test_digits_are_read_all_at_once(digits: str, behind: bytes) -> None:
    word = int.from_bytes((digits.encode() + behind)[:8], "little", signed=True)
    assert digits_of(word, len(digits)) == int(digits)


@given(st.binary(min_size=8, max_size=8), st.integers(1, 8))
def test_what_is_no_digit_is_told_from_digits(eight: bytes, count: int) -> None:
    found = digits_of(int.from_bytes(eight, "little", signed=True), count)
    assert found == (int(eight[:count]) if eight[:count].isdigit() else -1)


@pytest.mark.parametrize("line", [b"", b"{", b'{"timestamp":', b'{"timestamp": ', b'{"time": 1763461800.5,', b"plain"])
def test_a_clock_reads_no_line_of_another_kind(line: bytes) -> None:
    assert Clock(b'{"timestamp":').read(line) == -1


@given(st.integers(0, 9_999_999_999), st.text("0123456789", min_size=1, max_size=9))
def test_a_time_read_in_place_has_every_digit(second: int, fraction: str) -> None:
    line = f'{{"timestamp": {second:010d}.{fraction}, "x": 1}}'.encode()
    assert in_place(line, 14) == second * 10**9 + int(fraction.ljust(9, "0"))
