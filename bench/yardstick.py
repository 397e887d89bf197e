"""How fast a core is while something else runs there: on a shared machine it changes from one second to the next.

    python bench/yardstick.py

Now and then it wakes, warms up, and takes the time of `json.loads` for the lines of the corpus: 3 % of the core. When its
input ends, it prints when it did and what it took, in seconds of CPU for a line. What else runs there leaves it cold caches: that is
in it.
"""

from __future__ import annotations

import json
import select
import statistics
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
    """Use as `with`, around what is measured on the first core. Afterwards `taken` is there: when, in seconds of the epoch, and seconds
    of CPU for a line."""

    taken: list[tuple[float, float]]

    def __enter__(self) -> Self:
        command = rig.pinned(0, [sys.executable, __file__])
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self._process.stdout is not None
        self._process.stdout.readline()
        return self

    def __exit__(self, *_: object) -> None:
        printed, _errors = self._process.communicate()
        if self._process.returncode == 0:  # else it has said why, and `taken` is missing
            self.taken = [tuple(each) for each in json.loads(printed)]

    def parse_s(self, until_s: float) -> float:
        """The mean of what was taken up to then, or all there is of a shorter time."""
        meanwhile = [took_s for at_s, took_s in self.taken if at_s <= until_s] or [took_s for _, took_s in self.taken]
        return statistics.fmean(meanwhile)


def parse_s(lines: list[bytes]) -> float:
    """CPU seconds that `json.loads` needs for one of them, on the core that this process is on."""
    began = time.thread_time_ns()
    for line in lines:
        json.loads(line)
    return (time.thread_time_ns() - began) / len(lines) / 1e9


def main() -> None:
    lines = list(corpus.lines(_WARMING + _MEASURED))
    taken: list[tuple[float, float]] = []
    print(flush=True)  # it has begun
    is_over = False
    while not is_over:
        is_over = bool(select.select([sys.stdin], [], [], _PAUSE_S)[0])
        parse_s(lines[:_WARMING])
        took_s = parse_s(lines[_WARMING:])
        taken.append((time.time(), took_s))
    print(json.dumps(taken))


if __name__ == "__main__":
    main()
