"""What stands behind gates is flagged wherever Python's own engine finds it: Hyperscan was seen to lose matches of patterns that share a
database with one that goes on for as long as it likes."""

from __future__ import annotations

import re
from random import Random

import pytest

from agent import config
from agent.transform.redact import Redactor
from agent.transform.redaction.catalogue import RULES

pytest.importorskip("hyperscan")

_GATED = [re.compile(pattern.encode()) for rule in RULES for pattern in rule.gated]
_ESCAPES = [b"%2a", b"%252a", b"%253a", b"%41", b"%2541", b"%4", b"%25", b"%", b"%5B1234", b"%0A", b"%3D"]
_OTHERS = [
    b"4111 1111 1111 1111",
    b"4111111111111111",
    b"DE89370400440532013000",
    b"a@b",
    b"@",
    b"1-2",
    b"QUJD" * 7,
    b"MTIz",
]
_BETWEEN = [b"", b"", b"x", b" ", b"\n", b"\n", b"xxxxxxxxxxxxx", b"\n%\n%\n%\n%\n%\n"]
_LOST = [
    b"%\n%\n%\n%\n%\n%253a%2a%2a%253a%253a%4a\nxxxxxxxxxxxxxxx user p%2561ssword=hunter2xQ9z",
    b"%\n%\n%\n%\n%\n%253a%253a%2252a\n%2a%253a%4a\nxxxxxxxxxxxxxxx user p%2561ssword=hunter2xQ9z",
    b"%\n%\n%\n%\n%\n%252a%253a%2a%2532a\n%252a%4xxxxxxxxxxxxx user p%2561ssword=hunter2xQ9z",
]


@pytest.fixture(scope="module")
def redactor() -> Redactor:
    return Redactor.build(config.Redact(enable=("phone", "person")), pseudonym_key=b"k" * 32)


def chunks(count: int, seed: int) -> list[bytes]:
    dice = Random(seed)
    return [
        b"".join(dice.choice(part) for _ in range(dice.randrange(1, 24)) for part in (_ESCAPES + _OTHERS, _BETWEEN))
        for _ in range(count)
    ]


def test_each_line_with_a_match_is_flagged(redactor: Redactor) -> None:
    assert len(_GATED) >= 6
    for data in _LOST + chunks(4_000, seed=7):
        lines, flags = redactor.split(data)
        matching = {number for number, line in enumerate(lines) if any(pattern.search(line) for pattern in _GATED)}
        assert matching <= flags.keys(), data


def test_a_password_behind_many_escapes_goes(redactor: Redactor) -> None:
    for data in _LOST:
        lines, flags = redactor.split(data)
        redactor.chunk(data, lines, flags, open_key=False)
        assert b"hunter2xQ9z" not in b"\n".join(lines)
