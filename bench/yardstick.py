"""How fast a core is while something else runs there: on a shared machine it changes from one second to the next.

    python bench/yardstick.py

Now and then it wakes, warms up, and takes the time of `json.loads` for the lines of the corpus: 3 % of the core. When its
input ends, it prints the mean, in seconds of CPU for a line. What else runs there leaves it cold caches: that is in it.
"""

from __future__ import annotations

import json
import select
import subprocess
import sys
import time
from typing import Self

import corpus
import rig

_PAUSE_S = 0.2
_WARMING = 250
_MEASURED = 1000


class Yardstick:
    """Use as `with`, around what is measured on the first core; afterwards `parse_s` is there, in seconds of CPU for a line."""

    parse_s: float

    def __enter__(self) -> Self:
        command = rig.pinned(0, [sys.executable, __file__])
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self._process.stdout is not None
        self._process.stdout.readline()
        return self

    def __exit__(self, *_: object) -> None:
        printed, _errors = self._process.communicate()
        if self._process.returncode == 0:  # else it has said why, and `parse_s` is missing
            self.parse_s = float(printed)


def parse_s(lines: list[bytes]) -> float:
    """CPU seconds that `json.loads` needs for one of them, on the core that this process is on."""
    began = time.thread_time_ns()
    for line in lines:
        json.loads(line)
    return (time.thread_time_ns() - began) / len(lines) / 1e9


def main() -> None:
    lines = list(corpus.lines(_WARMING + _MEASURED))
    taken_s: list[float] = []
    print(flush=True)  # it has begun
    is_over = False
    while not is_over:
        is_over = bool(select.select([sys.stdin], [], [], _PAUSE_S)[0])
        parse_s(lines[:_WARMING])
        taken_s.append(parse_s(lines[_WARMING:]))
    print(sum(taken_s) / len(taken_s))


if __name__ == "__main__":
    main()
