"""End to end: real files, real HTTP to a sink in another process, durable buffer, all rules, snappy, metrics on.

    python bench/throughput.py [--lines 500000] [--secrets 0.01] [--emails 0] [--no-redact] [--rounds 1] [--pace US] [--double]

The daemon runs on one core, the sink on another. The corpus is put in place once the daemon is ready, so its start is told
apart. Prints lines per CPU second (user and system of the agent's process), MB/s, peak memory, how long the event loop
took to answer meanwhile; fails when a line is missing. --double measures half, all, and all in four files: the cost should
grow with the lines alone.

All the while `yardstick.py` measures what `json.loads` takes for a line on the agent's core: on a machine that others use both
suffer. --pace: a round counts only where that was at most so many µs. The others are printed too, and what the agent took
plays no part in it.
"""

from __future__ import annotations

import argparse
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Self

import corpus
import rig
from yardstick import Yardstick

# What a start leaves behind is looked for when its lines are delivered; that belongs to the start.
_SETTLED_AFTER_S = 0.5
# Between questions to the agent: a sign of life costs it 0.3 ms, as much as a hundred lines.
_PAUSE_S = 0.2
# After which nothing more is expected at the sink; then the agent is asked, which costs it 0.8 ms.
_QUIET_S = 0.4
# For quiet moments.
_LONGEST_WAIT_S = 1200.0


@dataclass(frozen=True)
class Figures:
    lines: int
    size: int
    cpu_s: float
    start_cpu_s: float
    wall_s: float
    peak_mib: float
    lag_p99_ms: float
    requests: int
    sent: int
    parse_s: float

    @property
    def of_a_parse(self) -> float:
        """CPU of a line in all, as a multiple of what Python's own `json.loads` needs for it there and then."""
        return self.cpu_s / self.lines / self.parse_s

    @property
    def steady(self) -> float:
        return self.lines / self.cpu_s

    @property
    def with_start(self) -> float:
        return self.lines / (self.cpu_s + self.start_cpu_s)


class LagWatch:
    """Asks the agent for a sign of life all the while."""

    def __init__(self, agent: rig.Agent) -> None:
        self._agent = agent
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self.lags_s: list[float] = []

    def _watch(self) -> None:
        while not self._over.wait(_PAUSE_S):
            self.lags_s.append(self._agent.lag_s())

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()


def measure(lines: int, secrets: float, emails: float, *, redact: bool = True, files: int = 1) -> Figures:
    rig.stay_on(1)
    with tempfile.TemporaryDirectory(prefix="greenstack-bench-") as name, rig.sink() as url:
        directory = Path(name)
        (directory / "logs").mkdir()
        size = 0
        for number in range(files):
            path = directory / f"{number}.corpus"
            size += corpus.write(
                path, lines // files, secrets=secrets, emails=emails, seed=1 + number, begin=corpus.recent(lines)
            )
        agent = rig.Agent(directory, url, str(directory / "logs" / "*.txt"), redact=f"enabled = {str(redact).lower()}")
        with agent:  # makes the state directory, and in it the compiled patterns
            agent.until_ready()
        with agent:
            agent.until_ready()
            time.sleep(_SETTLED_AFTER_S)
            start_cpu_s = agent.usage.cpu_s()
            before_s = agent.usage.precise_cpu_s()
            with LagWatch(agent) as watch, Yardstick() as yardstick:
                began_s = time.time()
                for number in range(files):
                    (directory / f"{number}.corpus").rename(directory / "logs" / f"{number}.txt")
                ended_s, after_s = until_delivered(agent, url, lines // files * files)
            peak_mib = agent.usage.peak_mib()
        arrived = rig.get(f"{url}/count")
    if arrived["entries"] != lines // files * files:
        raise SystemExit(f"{arrived['entries']} of {lines} lines arrived")
    lags = sorted(watch.lags_s) or [0.0]
    lag_ms = 1000 * rig.percentile(lags, 0.99)
    return Figures(
        lines=lines,
        size=size,
        cpu_s=after_s - before_s,
        start_cpu_s=start_cpu_s,
        wall_s=ended_s - began_s,
        peak_mib=peak_mib,
        lag_p99_ms=lag_ms,
        requests=arrived["requests"],
        sent=arrived["bytes"],
        parse_s=yardstick.parse_s(ended_s),
    )


def until_delivered(agent: rig.Agent, sink: str, lines: int) -> tuple[float, float]:
    """When the last request came to the sink, and the agent's CPU seconds a moment later."""
    seen: list[int] = []
    found: list[tuple[float, float]] = []

    def is_over() -> bool:
        answer = rig.get(f"{sink}/done")
        seen.append(answer["requests"])
        if seen[-2:] != [answer["requests"]] * 2:
            return False
        found.append((answer["last_s"], agent.usage.precise_cpu_s()))
        is_delivered = agent.status()["lines"]["delivered"] >= lines
        # The last request may have come after the CPU was read.
        return is_delivered and rig.get(f"{sink}/done")["requests"] == answer["requests"]

    rig.wait(is_over, f"{lines} lines are delivered", _QUIET_S)
    return found[-1]


def told(figures: Figures) -> str:
    return (
        f"{figures.steady:12,.0f} lines per CPU second ({figures.cpu_s:.2f} s), {figures.with_start:,.0f} with the start "
        f"({figures.start_cpu_s:.2f} s)\n"
        f"{figures.of_a_parse:12.2f} of what json.loads alone needs for the line ({1e6 * figures.parse_s:.2f} µs)\n"
        f"{figures.size / figures.wall_s / 1e6:12.1f} MB/s wall ({figures.wall_s:.2f} s)\n"
        f"{figures.peak_mib:12.1f} MiB peak memory\n"
        f"{figures.lag_p99_ms:12.1f} ms until the event loop answered, p99\n"
        f"{figures.sent / figures.size:12.2f} of the bytes on the wire, {figures.requests} requests"
    )


def quiet_rounds(count: int, pace_s: float, once: Callable[[], Figures]) -> list[Figures]:
    """So many measurements with the agent's core at this pace or faster. Each is printed as it ends."""
    runs: list[Figures] = []
    deadline = time.monotonic() + _LONGEST_WAIT_S
    print(f"  a round counts where json.loads took {1e6 * pace_s:.2f} µs at most during it")
    while len(runs) < count:
        if time.monotonic() > deadline:
            raise SystemExit(f"the machine was not quiet for long enough: {len(runs)} of {count} rounds")
        run = once()
        counts = run.parse_s <= pace_s
        if counts:
            runs.append(run)
        print(f"  {run.steady:12,.0f} at {1e6 * run.parse_s:.2f} µs{'' if counts else ', does not count'}", flush=True)
    return runs


def median(runs: list[Figures]) -> Figures:
    runs = sorted(runs, key=lambda run: run.steady)
    if len(runs) > 1:
        spread = ", ".join(f"{run.steady:,.0f} ({run.of_a_parse:.2f})" for run in runs)
        print(f"  of {len(runs)} rounds the median; all, and of what json.loads needs: {spread}")
    return runs[(len(runs) - 1) // 2]


def double(lines: int) -> None:
    """The cost of a line in half as many, in all, and in all in four files."""
    runs = {
        f"{lines // 2} lines": measure(lines // 2, 0.01, 0.0),
        f"{lines} lines": measure(lines, 0.01, 0.0),
        f"{lines} lines in 4 files": measure(lines, 0.01, 0.0, files=4),
    }
    for name, run in runs.items():
        print(f"  {name:<28}{run.cpu_s:>6.2f} CPU s {1e6 * run.cpu_s / run.lines:>7.2f} µs a line")


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--lines", type=int, default=500_000)
    arguments.add_argument("--secrets", type=float, default=0.01)
    arguments.add_argument("--emails", type=float, default=0.0)
    arguments.add_argument("--no-redact", action="store_true")
    arguments.add_argument("--rounds", type=int, default=1)
    arguments.add_argument("--pace", type=float, default=None, metavar="US")
    arguments.add_argument("--double", action="store_true")
    given = arguments.parse_args()
    if given.double:
        double(given.lines)
        return
    once = partial(measure, given.lines, given.secrets, given.emails, redact=not given.no_redact)
    if given.pace is None:
        runs = [once() for _ in range(given.rounds)]
    else:
        runs = quiet_rounds(given.rounds, given.pace / 1e6, once)
    figures = median(runs)
    print(
        f"{given.lines} lines of {figures.size / given.lines:.0f} bytes, {given.secrets:.0%} secrets, "
        f"{given.emails:.0%} e-mails, redaction {'off' if given.no_redact else 'on'} ({rig.machine()})"
    )
    print(told(figures))


if __name__ == "__main__":
    main()
