"""One file with a huge backlog, a hundred small ones: how long does a line of a small file take to leave?

    python bench/fairness.py [--gib 5] [--small 100] [--seconds 30]

The backlog is being read at full speed the whole time, by an agent pinned to one core. Each small file gets a line now and
then, with the time in it; the sink notes when it arrives. `batch.max_wait` is the default, one second.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import corpus
from aiohttp import web
from rig import free_port, pinned

from agent import wire


class Sink:
    """Takes every push; of the small files' lines it notes how old they are."""

    def __init__(self) -> None:
        self.ages_s: list[float] = []
        self.backlog_bytes = 0

    async def push(self, request: web.Request) -> web.Response:
        decoded = wire.decode(wire.PROTOBUF, await request.read())
        if wire.parse_labels(decoded.labels)["filename"].endswith("backlog.log"):
            self.backlog_bytes += sum(map(len, decoded.lines))
        else:
            now = time.time()
            self.ages_s += [now - float(line.rsplit(b" ", 1)[1]) for line in decoded.lines]
        return web.Response(status=204)


def write_backlog(path: Path, gib: float) -> None:
    """The corpus again and again."""
    corpus.write(path, 100_000, secrets=0.01, emails=0.0)
    block = path.read_bytes()
    with path.open("ab") as file:
        while file.tell() < gib * 2**30:
            file.write(block)


async def measure(given: argparse.Namespace, directory: Path) -> None:
    logs = directory / "logs"
    logs.mkdir()
    write_backlog(logs / "backlog.log", given.gib)
    small = [logs / f"small-{number}.log" for number in range(given.small)]
    for path in small:
        path.touch()
    sink, port = Sink(), free_port()
    app = web.Application(client_max_size=64 * 1024 * 1024)
    app.router.add_post("/loki/api/v1/push", sink.push)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    config = directory / "config.toml"
    config.write_text(
        f'[agent]\nstate_dir = "{directory / "state"}"\n[[source]]\ninclude = ["{logs}/*.log"]\n[parse]\nout_of_range = "send"\n'
        f'[buffer]\nmin_free_bytes = "0B"\n[loki]\nurl = "http://127.0.0.1:{port}"\n[server]\nlisten = "127.0.0.1:0"\n'
    )
    command = pinned(0, [sys.executable, "-m", "agent", "run", "-c", str(config)])
    agent = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        while sink.backlog_bytes < 8 * 2**20:
            await asyncio.sleep(0.1)
        began, before = time.monotonic(), sink.backlog_bytes
        written = 0
        dice = random.Random(5)
        while time.monotonic() - began < given.seconds:
            with dice.choice(small).open("a") as file:
                file.write(f"small line {written} {time.time():.6f}\n")
            written += 1
            await asyncio.sleep(0.02)
        took = time.monotonic() - began
        done = sink.backlog_bytes - before
        async with asyncio.timeout(60):
            while len(sink.ages_s) < written:
                await asyncio.sleep(0.05)
    finally:
        agent.send_signal(signal.SIGKILL)
        agent.wait()
        await runner.cleanup()
    ages = sorted(sink.ages_s)
    size = (logs / "backlog.log").stat().st_size
    print(
        f"{size / 2**30:.1f} GiB backlog in one file, {given.small} small files, {written} lines in them in {took:.0f} s"
    )
    print(f"{done / took / 1e6:12.1f} MB/s of the backlog meanwhile")
    print(
        f"{statistics.median(ages):12.2f} s median until a small file's line is delivered, "
        f"{ages[len(ages) * 99 // 100]:.2f} for 99 %, {ages[-1]:.2f} at most"
    )
    print(f"{len(os.sched_getaffinity(0)):12d} cores")


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--gib", type=float, default=5.0)
    arguments.add_argument("--small", type=int, default=100)
    arguments.add_argument("--seconds", type=float, default=30)
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory(prefix="greenstack-bench-") as name:
        asyncio.run(measure(given, Path(name)))


if __name__ == "__main__":
    main()
