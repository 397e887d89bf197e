"""A backlog while Loki is down, and what happens when it comes back.

    python bench/backlog.py [--size 1GB] [--files 1 500] [--buffer 4GiB]

Memory must be bounded by the configuration, whatever lies in the files: it is printed when the agent has read all it may
with Loki down, and at its peak after everything was delivered. Fails when a line is missing.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import corpus
import rig

_UNITS = {"MB": 10**6, "GB": 10**9}
_COPY_LINES = 50_000


def size_of(text: str) -> int:
    return int(float(text[:-2]) * _UNITS[text[-2:]])


def fill(logs: Path, size: int, files: int) -> int:
    """Files of the corpus, together about `size` bytes; gives their lines. Each differs from the others."""
    lines, begin = 0, corpus.recent(size // 402)
    for number in range(files):
        left = size // files
        with (logs / f"{number}.txt").open("wb") as file:
            while left > 0:
                count = min(_COPY_LINES, left // 402 + 1)
                # Another second for each part, so that no two lines are the same.
                part = b"".join(corpus.lines(count, seed=number % 7, begin=begin + lines // 5000))
                file.write(part)
                left -= len(part)
                lines += count
    return lines


def measure(size: int, files: int, buffer: str) -> None:
    with tempfile.TemporaryDirectory(prefix="greenstack-backlog-", dir="/var/tmp") as name:
        directory = Path(name)
        logs = directory / "logs"
        logs.mkdir()
        lines = fill(logs, size, files)
        port = rig.free_port()
        sections = {"buffer": f'min_free_bytes = "0B"\nmax_bytes = "{buffer}"'}
        agent = rig.Agent(directory, f"http://127.0.0.1:{port}", str(logs / "*.txt"), **sections)
        with agent:
            agent.until_ready()
            began = time.perf_counter()
            rig.wait(lambda: _is_read(agent, lines), "all is read, or the buffer is full", 0.5)
            read_s, down_mib, down_peak_mib = time.perf_counter() - began, agent.usage.rss_mib(), agent.usage.peak_mib()
            with rig.sink("--at-once", port=port) as url:
                began = time.perf_counter()
                agent.until_delivered(lines, 1.0)
                sent_s = time.perf_counter() - began
                arrived = rig.get(f"{url}/count")["entries"]
            cpu_s, peak_mib = agent.usage.cpu_s(), agent.usage.peak_mib()
    if arrived < lines:
        raise SystemExit(f"{arrived} of {lines} lines arrived")
    print(
        f"  {files:>5}{lines:>12,}{down_mib:>10.1f}{down_peak_mib:>10.1f}{peak_mib:>10.1f}{read_s:>8.0f}{sent_s:>8.0f}"
        f"{1e6 * cpu_s / lines:>9.2f}"
    )


def _is_read(agent: rig.Agent, lines: int) -> bool:
    status = agent.status()
    return bool(status["buffer"]["full"] or status["lines"]["read"] >= lines)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--size", default="1GB")
    arguments.add_argument("--files", type=int, nargs="+", default=[1, 500])
    arguments.add_argument("--buffer", default="4GiB")
    given = arguments.parse_args()
    print(f"a backlog of {given.size}, buffer of {given.buffer} ({rig.machine()})")
    print(
        f"  {'files':>5}{'lines':>12}{'down MiB':>10}{'its peak':>10}{'peak MiB':>10}{'read s':>8}{'sent s':>8}{'CPU µs':>9}"
    )
    for files in given.files:
        measure(size_of(given.size), files, given.buffer)


if __name__ == "__main__":
    main()
