"""What following very many files costs: the time until all are known, and CPU and memory with most of them idle.

    python bench/many_files.py [--idle 10000] [--active 50] [--rate 10] [--seconds 30] [--start 55000] [--watch auto|poll]

The agent runs as a process of its own, pinned to one core.

* It is started on `--start` files that it has never seen, and the time until `/health/ready` says yes is taken. Before, it was
  started on none and stopped: the very first start on a host compiles the patterns and keeps them, and that is told apart.
* It gets `--idle` files that are read to their end and `--active` ones that grow by `--rate` lines a second each; CPU is user and
  system time of the process over `--seconds`.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rig import Agent, machine, sink


@contextmanager
def agent_on(directory: Path, logs: Path, watch: str) -> Iterator[Agent]:
    with sink() as loki, Agent(directory, loki, f"{logs}/*.log", watch) as agent:
        yield agent


def grow(logs: list[Path], rate: float, seconds: float) -> int:
    """So many lines a second into each file; gives how many lines that were."""
    files = [path.open("a", buffering=1) for path in logs]
    end, lines = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        for file in files:
            file.write(line("still here", lines))
            lines += 1
        time.sleep(1 / rate)
    for file in files:
        file.close()
    return lines


def line(message: str, number: int) -> str:
    return f'{{"timestamp": {time.time():.6f}, "level": "INFO", "message": "{message}", "n": {number}}}\n'


def many_at_the_start(given: argparse.Namespace, directory: Path) -> None:
    logs = directory / "logs"
    logs.mkdir()
    with agent_on(directory, logs, given.watch) as agent:
        agent.until_ready()
        first_s = time.time() - agent.began_s
    for number in range(given.start):
        (logs / f"{number}.log").touch()
    with agent_on(directory, logs, given.watch) as agent:
        agent.until_ready()
        ready_s = time.time() - agent.began_s
        print(f"{given.start} files at the start, {given.watch}")
        print(f"{ready_s:12.2f} s until ready, {agent.usage.cpu_s():.2f} CPU seconds")
        print(f"{agent.usage.peak_mib():12.1f} MiB at the peak")
        print(f"{first_s:12.2f} s until ready with none, the very first start, which compiles the patterns")


def most_are_idle(given: argparse.Namespace, directory: Path) -> None:
    logs = directory / "logs"
    logs.mkdir()
    for number in range(given.idle):
        (logs / f"idle-{number}.log").write_text(line("once", number))
    active = [logs / f"active-{number}.log" for number in range(given.active)]
    with agent_on(directory, logs, given.watch) as agent:
        agent.until_ready()
        agent.until_delivered(given.idle)
        grow(active, given.rate, 65)  # until idle files are closed
        before, began = agent.usage.precise_cpu_s(), time.monotonic()
        lines = grow(active, given.rate, given.seconds)
        used = (agent.usage.precise_cpu_s() - before) / (time.monotonic() - began)
        print(
            f"{given.idle} idle files, {given.active} active, {lines / given.seconds:.0f} lines a second, {given.watch}"
        )
        print(f"{used:12.1%} of a core")
        print(f"{agent.usage.rss_mib():12.1f} MiB resident, {agent.usage.peak_mib():.1f} at the peak")
        print(f"{len(os.listdir(f'/proc/{agent.pid}/fd')):12d} descriptors")


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--idle", type=int, default=10_000)
    arguments.add_argument("--active", type=int, default=50)
    arguments.add_argument("--rate", type=float, default=10)
    arguments.add_argument("--seconds", type=float, default=30)
    arguments.add_argument("--start", type=int, default=55_000)
    arguments.add_argument("--watch", choices=["auto", "poll"], default="auto")
    given = arguments.parse_args()
    print(machine())
    for part, wanted in ((many_at_the_start, given.start), (most_are_idle, given.idle)):
        if wanted:
            with tempfile.TemporaryDirectory(prefix="greenstack-bench-") as name:
                part(given, Path(name))


if __name__ == "__main__":
    main()
