"""The short form of the benchmarks, for `make bench`: under two minutes."""

from __future__ import annotations

import subprocess
import sys
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
    rig.kept_patterns()  # compiled by the first of them, for all
    for script, *options in RUNS:
        print(f"\n{script} {' '.join(options)}", flush=True)
        subprocess.run([sys.executable, str(here / script), *options], check=True)


if __name__ == "__main__":
    main()
