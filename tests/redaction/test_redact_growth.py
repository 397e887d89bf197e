"""What a line costs grows with its length, whatever it repeats; beyond a bound it is given up."""

from __future__ import annotations

import json
import time

import pytest

from agent.transform.redact import Redactor

UNITS = {
    "digest": "Authorization: Digest a=b, ",
    "cookies": "set-cookie: a=b; ",
    "ends of keys": "-----END PRIVATE KEY-----\\nA",
    "dots": "....",
    "keys": "key=\n",
    "lines of a body": "A\\n",
}
SIZE, TIMES = 15_000, 4
LINEAR = 2.25
"""A quadratic cost grows by `TIMES` for each byte."""


def cost(redactor: Redactor, line: bytes) -> float:
    spent = []
    for _ in range(3):
        begin = time.process_time()
        redactor.line(line)
        spent.append(time.process_time() - begin)
    return min(spent)


@pytest.mark.parametrize("name", UNITS)
@pytest.mark.parametrize("form", ["text", "walked"])
def test_twice_the_line_costs_twice(redactor: Redactor, name: str, form: str) -> None:
    def line(size: int) -> bytes:
        text = UNITS[name] * (size // len(UNITS[name])) + " -----END PRIVATE KEY----- password=hunter2hunter"
        return json.dumps({"a": [{"m": text}]}).encode() if form == "walked" else text.encode()

    small, large = cost(redactor, line(SIZE)), cost(redactor, line(SIZE * TIMES))
    assert large < LINEAR * TIMES * small
