"""Any bytes into the verifier: no exception out, JSON stays JSON, a second time changes nothing.

With atheris installed: `python bench/fuzz_redaction.py [corpus …]`. Without it, random mutations of its own for a minute.
`tests/properties/test_redact_properties.py` asks the same of hypothesis.
"""

from __future__ import annotations

import importlib.util
import json
import random
import sys
import time

from agent import config
from agent.transform.redact import FAILED, Redactor

REDACTOR = Redactor.build(config.Redact(), pseudonym_key=b"k" * 32)
SECONDS = 60.0
SEEDS = (
    b'{"message": "password=hunter2", "token": "abc123def", "n": 1}',
    b"User credentials: bob:hunter2 Authorization: Bearer abcdefgh1 postgres://u:p@h/x",
    b'{"body": "{\\"password\\": \\"\\u0070w\\"}", "x": ["-u", "a:b"]}',
    b"INSERT INTO users (name, password) VALUES ('bob', 'x') [parameters: ('a', 'b')]",
    b"%70assword%3Dabc eyJhbGciOiJIUzI1NiJ9.e30.x \x1b[1mtoken\x1b[0m=abc <password>x</password>",
)


def one_input(data: bytes) -> None:
    """What a fuzzer calls. Raises AssertionError when a promise is broken."""
    line = data.replace(b"\n", b" ")
    out, findings = REDACTOR.line(line)
    if is_json(line):
        assert is_json(out), line
    if not findings:
        assert out == line, line
    if not findings or findings[0].rule != FAILED:
        assert REDACTOR.line(out)[0] == out, line


def is_json(data: bytes) -> bool:
    try:
        json.loads(data)
    except (ValueError, RecursionError):
        return False
    return True


def mutated(dice: random.Random) -> bytes:
    data = bytearray(dice.choice(SEEDS))
    for _ in range(dice.randrange(1, 12)):
        at = dice.randrange(len(data) + 1)
        piece = dice.choice(SEEDS)
        start = dice.randrange(len(piece))
        data[at : at + dice.randrange(4)] = dice.choice(
            (bytes([dice.randrange(256)]), piece[start : start + 12], b'"', b"\\", b"")
        )
    return bytes(data)


def main() -> None:
    if importlib.util.find_spec("atheris") is not None:
        atheris = importlib.import_module("atheris")
        atheris.Setup(sys.argv, one_input)
        atheris.Fuzz()
        return
    dice, count, end = random.Random(), 0, time.monotonic() + SECONDS
    while time.monotonic() < end:
        one_input(mutated(dice))
        count += 1
    print(f"{count} inputs, no promise broken")


if __name__ == "__main__":
    main()
