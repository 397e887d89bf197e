"""What an agent costs that has nothing to do: CPU and memory with many files that nobody writes to.

python bench/idle.py [--files 0 1000 10000] [--seconds 20]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import rig


def measure(files: int, seconds: float) -> tuple[float, float, float]:
    """(share of a core, MiB of memory, its peak), once all files were read and are quiet."""
    with tempfile.TemporaryDirectory(prefix="greenstack-idle-") as name, rig.sink() as url:
        directory = Path(name)
        logs = directory / "logs"
        logs.mkdir()
        for number in range(files):
            (logs / f"{number}.txt").write_bytes(
                b'{"timestamp": 1763461800.5, "level": "INFO", "message": "%d"}\n' % number
            )
        with rig.Agent(
            directory, url, str(logs / "*.txt")
        ) as agent:  # with the patterns compiled, as every later start
            agent.until_ready()
        with rig.Agent(directory, url, str(logs / "*.txt")) as agent:
            agent.until_ready()
            rig.wait(lambda: not agent.status()["lines"]["waiting"], "all is delivered")
            time.sleep(5)
            before_s, began = agent.usage.precise_cpu_s(), time.monotonic()
            time.sleep(seconds)
            share = (agent.usage.precise_cpu_s() - before_s) / (time.monotonic() - began)
            return share, agent.usage.rss_mib(), agent.usage.peak_mib()


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--files", type=int, nargs="+", default=[0, 1_000, 10_000])
    arguments.add_argument("--seconds", type=float, default=20.0)
    given = arguments.parse_args()
    print(f"idle for {given.seconds:g} s ({rig.machine()})")
    print(f"  {'files':>7}{'of a core':>11}{'RSS MiB':>9}{'peak MiB':>10}")
    for files in given.files:
        share, rss_mib, peak_mib = measure(files, given.seconds)
        print(f"  {files:>7,}{share:>11.2%}{rss_mib:>9.1f}{peak_mib:>10.1f}")


if __name__ == "__main__":
    main()
