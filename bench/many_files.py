"""What following very many files costs: CPU and memory with most of them idle, and the time until all are known.

    python bench/many_files.py [--idle 10000] [--active 50] [--rate 10] [--seconds 30] [--start 55000] [--watch auto|poll]

The agent runs as a process of its own, pinned to one core. First it gets `--idle` files that are read to their end and
`--active` ones that grow by `--rate` lines a second each; CPU is user and system time of the process over `--seconds`. Then it is
started on `--start` files that it has never seen, and the time until `/health/ready` says yes is taken.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

from rig import free_port, pinned, sink

_TICKS = os.sysconf("SC_CLK_TCK")


class Agent:
    """`greenstack-agent run` on a directory, with a sink on another core."""

    def __init__(self, directory: Path, logs: Path, watch: str) -> None:
        self.port = free_port()
        self._sink = sink()
        url = self._sink.__enter__()
        config = directory / "config.toml"
        config.write_text(
            f'[agent]\nstate_dir = "{directory / "state"}"\nwatch = "{watch}"\n[[source]]\ninclude = ["{logs}/*.log"]\n'
            f'[parse]\nout_of_range = "send"\n[buffer]\nmin_free_bytes = "0B"\n'
            f'[loki]\nurl = "{url}"\n[server]\nlisten = "127.0.0.1:{self.port}"\n'
        )
        self.began = time.monotonic()
        self.process = subprocess.Popen(
            pinned(0, [sys.executable, "-m", "agent", "run", "-c", str(config)]), stderr=subprocess.DEVNULL
        )

    def ready_s(self) -> tuple[float, float]:
        """Seconds until it is ready, and how many of them its interpreter and its rules took: until it listens."""
        listening = 0.0
        while time.monotonic() - self.began < 300:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health/ready", timeout=60) as reply:
                    if reply.status == 200:
                        return time.monotonic() - self.began, listening or time.monotonic() - self.began
            except urllib.error.HTTPError:
                listening = listening or time.monotonic() - self.began
            except OSError:
                pass
            time.sleep(0.02)
        raise SystemExit("never ready")

    def until_read(self, lines: int) -> None:
        while self.metric("read_lines_total") < lines:
            time.sleep(0.1)

    def metric(self, name: str) -> float:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=60) as reply:
            text = reply.read().decode()
        return sum(
            float(value) for value in re.findall(rf"^greenstack_agent_{name}(?:{{.*}})? (\S+)$", text, re.MULTILINE)
        )

    def cpu_s(self) -> float:
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    def memory_mib(self, what: str) -> float:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        match = re.search(rf"{what}:\s+(\d+) kB", status)
        return int(match[1]) / 1024 if match else 0.0

    def descriptors(self) -> int:
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait()
        self._sink.__exit__(None, None, None)


def grow(logs: list[Path], rate: float, seconds: float) -> int:
    """So many lines a second into each file; gives how many lines that were."""
    files = [path.open("a", buffering=1) for path in logs]
    end, lines = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        for file in files:
            file.write(f'{{"timestamp": {time.time():.6f}, "level": "INFO", "message": "still here", "n": {lines}}}\n')
            lines += 1
        time.sleep(1 / rate)
    for file in files:
        file.close()
    return lines


def most_are_idle(given: argparse.Namespace, directory: Path) -> None:
    logs = directory / "logs"
    logs.mkdir()
    for number in range(given.idle):
        (logs / f"idle-{number}.log").write_text(f'{{"message": "once", "n": {number}}}\n')
    active = [logs / f"active-{number}.log" for number in range(given.active)]
    agent = Agent(directory, logs, given.watch)
    try:
        agent.ready_s()
        agent.until_read(given.idle)
        grow(active, given.rate, 65)  # until idle files are closed
        before = agent.cpu_s()
        began = time.monotonic()
        lines = grow(active, given.rate, given.seconds)
        used = (agent.cpu_s() - before) / (time.monotonic() - began)
        print(
            f"{given.idle} idle files, {given.active} active, {lines / given.seconds:.0f} lines a second, {given.watch}"
        )
        print(f"{used:12.1%} of a core")
        print(f"{agent.memory_mib('VmRSS'):12.1f} MiB resident, {agent.memory_mib('VmHWM'):.1f} at the peak")
        print(f"{agent.descriptors():12d} descriptors")
    finally:
        agent.stop()


def many_at_the_start(given: argparse.Namespace, directory: Path) -> None:
    logs = directory / "logs"
    logs.mkdir()
    for number in range(given.start):
        (logs / f"{number}.log").touch()
    agent = Agent(directory, logs, given.watch)
    try:
        ready, listening = agent.ready_s()
        print(f"{given.start} files at the start, {given.watch}")
        print(
            f"{ready:12.2f} s until ready, {listening:.2f} of them until it listens, {agent.cpu_s():.2f} CPU seconds in all"
        )
        print(f"{agent.memory_mib('VmHWM'):12.1f} MiB at the peak")
    finally:
        agent.stop()


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--idle", type=int, default=10_000)
    arguments.add_argument("--active", type=int, default=50)
    arguments.add_argument("--rate", type=float, default=10)
    arguments.add_argument("--seconds", type=float, default=30)
    arguments.add_argument("--start", type=int, default=55_000)
    arguments.add_argument("--watch", choices=["auto", "poll"], default="auto")
    given = arguments.parse_args()
    for part in (many_at_the_start, most_are_idle) if given.start else (most_are_idle,):
        with tempfile.TemporaryDirectory(prefix="greenstack-bench-") as name:
            part(given, Path(name))


if __name__ == "__main__":
    main()
