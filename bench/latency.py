"""How long a line takes from its append to its acceptance, by rate.

    python bench/latency.py [--seconds 10] [--rates 10 1000 50000] [--max-wait 200ms]

A writer in a process of its own appends lines that carry the time of their append; the sink notes when it answered. Also
how long the first line of a started process takes, with compiled patterns kept from the start before and without.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import rig

_WRITER = """
import sys, time
path, rate, seconds = sys.argv[1], float(sys.argv[2]), float(sys.argv[3])
step_s = max(0.005, 1 / rate)
pad = "x" * 280
with open(path, "ab", buffering=0) as file:
    began, written = time.monotonic(), 0
    while (gone := time.monotonic() - began) < seconds:
        due = int(gone * rate) + 1
        now = time.time_ns()
        file.write(b"".join(
            b'{"timestamp": %d.%09d, "level": "INFO", "message": "%s", "request_id": "r-%d", "n": %d}\\n'
            % (now // 10**9, (now + i) % 10**9, pad.encode(), (written + i) // 7, written + i)
            for i in range(due - written)
        ))
        written = max(written, due)
        time.sleep(step_s)
print(written)
"""


def measure(rate: float, seconds: float, max_wait: str) -> tuple[int, list[float]]:
    """(lines, milliseconds of each, sorted)."""
    with tempfile.TemporaryDirectory(prefix="greenstack-latency-") as name, rig.sink() as url:
        directory = Path(name)
        log = directory / "app.txt"
        log.touch()
        with rig.Agent(directory, url, str(log), batch=f'max_wait = "{max_wait}"') as agent:
            agent.until_ready()
            command = rig.pinned(1, [sys.executable, "-c", _WRITER, str(log), str(rate), str(seconds)])
            written = int(subprocess.run(command, capture_output=True, check=True).stdout)
            agent.until_delivered(written)
        found = rig.get(f"{url}/latency")
    if len(found) != written:
        raise SystemExit(f"{len(found)} of {written} lines arrived")
    return written, found


def first_line() -> tuple[float, float]:
    """Seconds from the start of the process to the first acceptance: on a new state directory, and on a known one."""
    with tempfile.TemporaryDirectory(prefix="greenstack-first-") as name:
        directory = Path(name)
        took = []
        for number in range(2):
            log = directory / f"{number}.txt"
            log.write_bytes(b'{"timestamp": 1763461800.5, "level": "INFO", "message": "first"}\n')
            with (
                rig.sink() as url,
                rig.Agent(directory, url, str(log), is_new=True, batch='max_wait = "10ms"') as agent,
            ):
                rig.wait(lambda url=url: bool(rig.get(f"{url}/done")["requests"]), "the first request", 0.005)
                took.append(time.time() - agent.began_s)
    return took[0], took[1]


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--seconds", type=float, default=10.0)
    arguments.add_argument("--rates", type=float, nargs="+", default=[10, 1_000, 50_000])
    arguments.add_argument("--max-wait", default="200ms")
    given = arguments.parse_args()
    print(f'append to acceptance, max_wait = "{given.max_wait}" ({rig.machine()})')
    print(f"  {'lines/s':>8}{'lines':>9}{'p50 ms':>9}{'p99 ms':>9}{'max ms':>9}")
    for rate in given.rates:
        lines, found = measure(rate, given.seconds, given.max_wait)
        p50, p99 = rig.percentile(found, 0.5), rig.percentile(found, 0.99)
        print(f"  {rate:>8,.0f}{lines:>9,}{p50:>9.1f}{p99:>9.1f}{found[-1]:>9.1f}")
    new, known = first_line()
    print(f"first line accepted {known:.2f} s after the start of the process, {new:.2f} s at the very first start")


if __name__ == "__main__":
    main()
