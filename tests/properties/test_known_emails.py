"""The fastest road for a line with a known address leads where the careful one does."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lent_patterns import LentPatterns

from agent import config
from agent.transform.redact import Redactor

ADDRESSES = [
    "bob@example.com",
    "a.b+c@mail.example.org",
    "icon@2x.png",
    "git@github.com",
    "x@y",
    "-bob@example.com",
    "bob@a@b.com",
]
PIECES = st.sampled_from(
    [
        *ADDRESSES,
        '"',
        '", ',
        '"}',
        '": ',
        '"user": "',
        "//",
        "https://",
        "%40",
        "\\u0040",
        "\\",
        "/",
        "@",
        " ",
        "{",
        "}",
        "ä",
        "x",
    ]
)


@pytest.fixture(scope="module")
def quick(lent: LentPatterns) -> Redactor:
    return Redactor.build(config.Redact(), pseudonym_key=b"k" * 32, store=lent)


def redacted(redactor: Redactor, line: bytes) -> bytes:
    lines = [line]
    redactor.chunk(line + b"\n", lines)
    return lines[0]


def learned(redactor: Redactor) -> Redactor:
    for address in ADDRESSES:
        redacted(redactor, f'{{"user": "{address}", "n": 1}}'.encode())
    return redactor


@settings(max_examples=500, deadline=None)
@given(text=st.lists(PIECES, max_size=12).map("".join))
def test_the_fastest_road_leads_where_the_careful_one_does(quick: Redactor, redactor: Redactor, text: str) -> None:
    line = text.encode()
    fast = learned(quick)._splice_known(line)
    if fast is None:
        return
    (careful, _) = redactor.line(line)
    assert fast[0] == careful


def test_the_fastest_road_is_taken_by_an_ordinary_line(quick: Redactor) -> None:
    line = b'{"timestamp": 1.5, "user": "bob@example.com", "path": "//x"}'
    fast = learned(quick)._splice_known(line)
    assert fast is not None
    assert fast[1] == 1
    assert b"bob" not in fast[0]
    assert fast[0].endswith(b', "path": "//x"}')
    assert quick._splice_known(b'{"bob@example.com": 1}') is None
    assert quick._splice_known(b'{"user": "bob@example.com and ann@example.com", "n": 1}') is None
