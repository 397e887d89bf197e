"""The finder over a chunk: what it flags is what each line would be flagged for."""

from __future__ import annotations

import base64

import pytest

from agent.transform.redaction import finder as finders
from agent.transform.redaction.catalogue import TEXT_IN_BASE64, Needle
from agent.transform.redaction.shapes import ADDRESS, RUN_BYTES
from agent.transform.redaction.verify import HOPELESS

pytest.importorskip("hyperscan")

_NAMED, _WRAPPED, _MAIL, _PERCENT, _CARD = 1, 2, 3, 4, 5
PLAIN = b'{"level": "INFO", "message": "Query returned", "device_id": 4711}'
NAMED = b'{"level": "INFO", "message": "password=hunter2"}'
OPENS = b'{"level": "INFO", "path": "/usr/lib/greenstack/releases/current/main"}'
MAIL = b'{"level": "INFO", "message": "from bob@example.com, 100%"}'
CARD = b'{"level": "INFO", "message": "paid with 4111 1111 1111 1111 @ 3%41"}'
WRAPPED = b'{"level": "INFO", "body": "' + base64.b64encode(b"user=bob&password=hunter2&remember=yes") + b'"}'


@pytest.fixture(scope="module")
def finder() -> finders.HyperscanFinder:
    return finders.HyperscanFinder(
        [
            Needle("password=", _NAMED),
            Needle(TEXT_IN_BASE64, _WRAPPED, gate="run"),
            Needle("[a-z]@[a-z]", _MAIL, gate="@"),
            Needle("%[0-9]", _PERCENT, gate="%"),
            Needle("4[0-9]{3} [0-9]{4} [0-9]{4} [0-9]", _CARD, gate="number"),
        ],
    )


@pytest.mark.parametrize("every", [1, 2, 7, 60, 1_000, 100_000])
def test_lines_that_open_the_gate_are_flagged_alike_however_many_there_are(
    finder: finders.HyperscanFinder, every: int
) -> None:
    others = (WRAPPED, OPENS, NAMED, b"", OPENS + WRAPPED, MAIL, WRAPPED + NAMED, CARD, MAIL + CARD)
    lines = [PLAIN if number % every else others[number // every % len(others)] for number in range(5_000)]
    alone = {number: scans for number, line in enumerate(lines) if (scans := finder.scans_of(line))}
    assert alone[0] == {_WRAPPED}
    assert every > 600 or set().union(*alone.values()) == {_NAMED, _WRAPPED, _MAIL, _PERCENT, _CARD}
    assert finder.split(b"".join(line + b"\n" for line in lines)) == (lines, alone)
    assert finder.split(b"\n".join(lines)) == (lines, alone)


def test_a_large_chunk_of_lines_with_a_few_matches_each_is_scanned_at_once(
    finder: finders.HyperscanFinder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(finder, "_each_line", lambda _: pytest.fail("was scanned line by line"))
    lines = [NAMED * 2 + b" " * 300] * 10_000
    assert len(finder.split(b"".join(line + b"\n" for line in lines))[1]) == len(lines)


def test_a_long_run_of_base64_is_told_once(finder: finders.HyperscanFinder) -> None:
    run = base64.b64encode(b"hello world, " * 60_000)
    places = finder.places_of(b"ab:" + run + b" and more")
    assert places is not None
    assert [scan for _, scan in places] == [_WRAPPED]


def test_the_shortest_text_that_opens_the_gate_is_shown_to_it() -> None:
    run = base64.b64encode(b"user=bob&password=hunter2")[:RUN_BYTES]
    opens = finders.HyperscanFinder([Needle("[a-z]", _NAMED, gate="run")])
    assert opens.scans_of(run) == {_NAMED}
    assert opens.scans_of(run[1:]) == frozenset()


def test_a_long_line_that_is_given_up_leaves_no_places_behind(finder: finders.HyperscanFinder) -> None:
    dense = b"password token secret " * 8_000
    assert finder.split(dense) == ([dense], {0: frozenset((HOPELESS,))})
    assert finder.places_of(dense) is None


def test_an_address_is_found_once_for_each_that_asks_for_it() -> None:
    """Also for an operator's rule of the very pattern that is told without an automaton where the agent is compiled."""
    asked = finders.HyperscanFinder([Needle(ADDRESS, _MAIL, gate="@"), Needle(ADDRESS, _NAMED)])
    places = asked.places_of(b"to a@b")
    assert places is not None
    assert sorted(places) == [(6, _NAMED), (6, _MAIL)]
