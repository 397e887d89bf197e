"""Rows that may hold a number: each match of the patterns behind this gate stands in one, and few others are shown."""

from __future__ import annotations

import re
import uuid

from hypothesis import example, given
from hypothesis import strategies as st

from agent.transform.redaction.numbers import next_number
from agent.transform.redaction.rules_pii import RULES

_PATTERNS = [re.compile(pattern.encode()) for rule in RULES if rule.gate == "number" for pattern in rule.gated]
_CARD = st.from_regex(r"[2-6][0-9]{3}[ -]?[0-9]{4,6}[ -]?[0-9]{4,5}[ -]?[0-9]{0,4}", fullmatch=True)
_IBAN = st.from_regex(r"[A-Z]{2}[0-9]{2} ?[A-Z0-9]{4} ?[A-Z0-9]{4} ?[A-Z0-9]{3,9}", fullmatch=True)
_BETWEEN = st.text(alphabet='0123456789ABZ -.mnrtslza"\\:\né%', max_size=24)
_DATA = st.lists(_BETWEEN | _CARD | _IBAN, max_size=8).map(lambda parts: "".join(parts).encode())


def opened(data: bytes) -> set[int]:
    """Numbers of the lines in which there is a row."""
    lines: set[int] = set()
    at = 0
    while (end := next_number(data, at)) >= 0:
        lines.add(data.count(b"\n", 0, end))
        at = data.find(b"\n", end) + 1
        if not at:
            break
    return lines


@given(data=_DATA)
@example(data=b"4111111111111")
@example(data=b'{"a": "x\\n4111 1111 1111 1"}\n')
@example(data=b"y 3782 822463 10005\n")
@example(data=b"DE89 3704 0044 0532\nDE893704004405")
@example(data=b"a" * 13 + b":" + b"4" * 13)
def test_each_line_with_a_match_has_a_row(data: bytes) -> None:
    matching = {n for n, line in enumerate(data.split(b"\n")) if any(p.search(line) for p in _PATTERNS)}
    assert matching <= opened(data)


def test_the_shortest_number_is_met_wherever_it_stands() -> None:
    for before in range(60):
        for short_row in (b"", b"12 ", b"A-1234567890"):
            data = b"x" * before + short_row + b":4222222222222"
            assert next_number(data, 0) == len(data)
            assert next_number(data[:-1], 0) == -1
            assert next_number(data + b"," + b"x" * before, 0) == len(data)


@given(data=_DATA, before=st.binary(max_size=40))
def test_what_stands_before_the_start_does_not_count(data: bytes, before: bytes) -> None:
    before += b"\n"
    end, behind = next_number(data, 0), next_number(before + data, len(before))
    assert behind == (end if end < 0 else end + len(before))


def test_times_counts_and_ids_are_no_rows() -> None:
    ids = b" ".join(
        str(uuid.UUID(int=number * 0x9E3779B97F4A7C15F39CC0605CEDC835 % 2**128)).encode() for number in range(500)
    )
    assert len(re.findall(rb"[0-9 -]{13}", ids)) > 20, "UUIDs with long rows of digits are among them"
    for text in (
        b"2026-11-27 10:11:12,345 INFO",
        b'{"timestamp": 1763461800.123456}',
        b"1763461800000 ms",
        b"A B C D E F G 1 2",
    ):
        assert opened(text) == set()
    assert sum(bool(opened(each)) for each in ids.split()) < 5
