"""Two trees, two interpreters or two ways, in turn on one core: which is faster, where a machine is too noisy for either alone.

    python bench/duel.py build/before build/after [--python /usr/bin/python3.11 python3] [--rounds 200] [--emails 0]

Each side is a process that takes the same turn of lines (2.4 MB) from chunks to batches, redacted, parsed, stamped, encoded and
compressed. They take it one after the other, some 20 ms each, so what slows the machine down slows both down; the ratio of each
two neighbours counts. What is between the stages (reading, the buffer, HTTP) is not in it: that is what `throughput.py` is for.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import rig

LINES = 6_000
_EVICTED_BYTES = 4 * 1024 * 1024
"""More than a core's second cache holds: in the agent, too, everything else comes between two turns."""


def serve(lines: int, emails: float) -> None:
    """Answers each line of standard input with the ns of CPU of one turn."""
    import corpus  # noqa: PLC0415 - only a side has the agent of its tree, or needs any
    import stages  # noqa: PLC0415

    from agent import config  # noqa: PLC0415
    from agent.batch.batcher import Batcher  # noqa: PLC0415

    clock = stages.Clock()

    async def read(path: Path) -> list[stages.Chunk]:
        return [chunk async for chunks in stages.read(path, clock) for chunk in chunks]

    with tempfile.TemporaryDirectory(prefix="greenstack-duel-") as name:
        path = Path(name) / "app.txt"
        corpus.write(path, lines, emails=emails, begin=corpus.recent(lines))
        chunks = asyncio.run(read(path))
    transform, batcher = stages.transformer(clock), Batcher(config.Batch())
    between = bytearray(_EVICTED_BYTES)
    gc.collect()
    gc.freeze()
    for _ in sys.stdin:
        between.count(b"x")
        began = time.thread_time_ns()
        for entries in transform.turn(chunks):
            batcher.add(entries, 0.0)
        batcher.flush()
        print(time.thread_time_ns() - began, flush=True)


class Side:
    """A process on the first core."""

    def __init__(self, tree: Path, python: str, lines: int, emails: float) -> None:
        bench = Path(__file__).resolve().parent
        self._process = subprocess.Popen(
            rig.pinned(0, [python, __file__, "--serve", str(lines), "--emails", str(emails)]),
            cwd=tree,
            env={**os.environ, "PYTHONPATH": f"{tree.resolve()}:{bench}"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def turn_ns(self) -> int:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise SystemExit("a side has ended")
        return int(answer)

    def end(self) -> None:
        self._process.communicate()


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("trees", type=Path, nargs="*", help="two directories that hold `agent`, compiled or not")
    arguments.add_argument(
        "--python", nargs=2, default=[sys.executable, sys.executable], help="of the one and the other"
    )
    arguments.add_argument("--rounds", type=int, default=200)
    arguments.add_argument("--emails", type=float, default=0.0)
    arguments.add_argument("--serve", type=int, default=0, help=argparse.SUPPRESS)
    given = arguments.parse_args()
    if given.serve:
        serve(given.serve, given.emails)
        return
    if len(given.trees) != 2:
        arguments.error("two trees are needed")
    sides = [Side(tree, python, LINES, given.emails) for tree, python in zip(given.trees, given.python, strict=True)]
    for side in sides * 3:  # caches of the agent fill
        side.turn_ns()
    took: list[list[int]] = [[], []]
    for number in range(given.rounds):
        for which in (0, 1) if number % 2 else (1, 0):
            took[which].append(sides[which].turn_ns())
    for side in sides:
        side.end()
    for tree, turns in zip(given.trees, took, strict=True):
        print(f"{tree}: {statistics.median(turns) / LINES:,.0f} ns a line, the least {min(turns) / LINES:,.0f}")
    ratios = [second / first for first, second in zip(*took, strict=True)]
    low, middle, high = statistics.quantiles(ratios, n=4)
    # Of a median, by the middle half: a neighbour's noise is not in it.
    error = 1.25 * (high - low) / 1.35 / len(ratios) ** 0.5
    half = f"half of {len(ratios)} between {low:.3f} and {high:.3f}"
    print(f"the second takes {middle:.3f} of the first (± {error:.3f}; {half})")


if __name__ == "__main__":
    main()
