"""The short form of the benchmarks, for `make bench`: under two minutes."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import rig

RUNS = (
    ("stages.py", "--rounds", "2", "--lines", "60000"),
    ("throughput.py", "--lines", "400000"),
    ("throughput.py", "--lines", "400000", "--emails", "0.25"),
    ("throughput.py", "--lines", "200000", "--double"),
    ("latency.py", "--seconds", "3", "--rates", "1000"),
    ("idle.py", "--seconds", "5", "--files", "1000"),
    ("backlog.py", "--size", "60MB"),
)


def main() -> None:
    here = Path(__file__).parent
    with tempfile.TemporaryDirectory(prefix="greenstack-bench-kept-") as kept:
        for script, *options in RUNS:
            print(f"\n{script} {' '.join(options)}", flush=True)
            command = [sys.executable, str(here / script), *options]
            subprocess.run(command, check=True, env={**os.environ, rig.KEPT: kept})


if __name__ == "__main__":
    main()
