"""How long does a line of one file take to leave while others keep the agent busy?

    python bench/fairness.py [--gib 5] [--small 100] [--seconds 30] [--rotated 1000]

Beside a huge backlog in one file, which is being read at full speed the whole time; and beside so many files of one directory
that are renamed and written again in the same moment, of twice as many. Each small file gets a line now and then, with the time in
it; the sink notes when it arrives. The agent is pinned to one core; `batch.max_wait` is the default, one second.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import corpus
from aiohttp import web
from rig import Agent, free_port, machine, percentile

from agent import wire


class Sink:
    """Takes every push; of the small files' lines it notes how old they are."""

    def __init__(self) -> None:
        self.ages_s: list[float] = []
        self.other_bytes = self.other_lines = 0

    async def push(self, request: web.Request) -> web.Response:
        decoded = wire.decode(wire.PROTOBUF, await request.read())
        if "small-" not in wire.parse_labels(decoded.labels)["filename"]:
            self.other_bytes += sum(map(len, decoded.lines))
            self.other_lines += len(decoded.lines)
        else:
            now = time.time()
            self.ages_s += [now - float(line.rsplit(b" ", 1)[1]) for line in decoded.lines]
        return web.Response(status=204)

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(300):
            while not condition():
                await asyncio.sleep(0.05)


@asynccontextmanager
async def running(directory: Path, logs: Path) -> AsyncIterator[Sink]:
    """An agent on these logs, and what takes its pushes."""
    sink, port = Sink(), free_port()
    app = web.Application(client_max_size=64 * 1024 * 1024)
    app.router.add_post("/loki/api/v1/push", sink.push)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        with Agent(directory, f"http://127.0.0.1:{port}", f"{logs}/*.log") as agent:
            try:
                yield sink
            finally:
                agent.kill()
    finally:
        await runner.cleanup()


def small_files(logs: Path, count: int) -> list[Path]:
    paths = [logs / f"small-{number}.log" for number in range(count)]
    for path in paths:
        path.touch()
    return paths


async def write_to(small: list[Path], seconds: float) -> int:
    """A line into one of them every 20 ms; gives how many lines that were."""
    dice, written, end = random.Random(5), 0, time.monotonic() + seconds
    while time.monotonic() < end:
        with dice.choice(small).open("a") as file:
            file.write(f"small line {written} {time.time():.6f}\n")
        written += 1
        await asyncio.sleep(0.02)
    return written


def tell(ages_s: list[float]) -> None:
    ages_s.sort()
    print(
        f"{percentile(ages_s, 0.5):12.2f} s median until a small file's line is delivered, "
        f"{percentile(ages_s, 0.99):.2f} for 99 %, {ages_s[-1]:.2f} at most, of {len(ages_s)}"
    )


def write_backlog(path: Path, gib: float) -> None:
    """The corpus again and again."""
    corpus.write(path, 100_000, secrets=0.01, emails=0.0)
    block = path.read_bytes()
    with path.open("ab") as file:
        while file.tell() < gib * 2**30:
            file.write(block)


async def beside_a_backlog(given: argparse.Namespace, directory: Path) -> None:
    logs = directory / "logs"
    logs.mkdir()
    write_backlog(logs / "backlog.log", given.gib)
    small = small_files(logs, given.small)
    async with running(directory, logs) as sink:
        await sink.until(lambda: sink.other_bytes >= 8 * 2**20)
        began, before = time.monotonic(), sink.other_bytes
        written = await write_to(small, given.seconds)
        took, done = time.monotonic() - began, sink.other_bytes - before
        await sink.until(lambda: len(sink.ages_s) >= written)
    size = (logs / "backlog.log").stat().st_size
    print(f"{size / 2**30:.1f} GiB backlog in one file, {given.small} small files")
    print(f"{done / took / 1e6:12.1f} MB/s of the backlog meanwhile")
    tell(sink.ages_s)


def rotate(paths: list[Path]) -> None:
    for path in paths:
        with path.open("a") as file:
            file.write("the last line of it\n")
        path.rename(f"{path}.1")
        path.write_text("the first line of the next\n")


async def beside_rotations(given: argparse.Namespace, directory: Path) -> None:
    logs = directory / "logs"
    logs.mkdir()
    paths = [logs / f"svc-{number}.log" for number in range(2 * given.rotated)]
    for path in paths:
        path.write_text("a line before\n")
    small = small_files(logs, given.small)
    async with running(directory, logs) as sink:
        await sink.until(lambda: sink.other_lines >= len(paths))
        writer = asyncio.create_task(write_to(small, 10))
        await asyncio.sleep(1)
        await asyncio.to_thread(rotate, paths[: given.rotated])
        written = await writer
        await sink.until(lambda: len(sink.ages_s) >= written)
        await sink.until(lambda: sink.other_lines >= len(paths) + 2 * given.rotated)
    print(f"{given.rotated} of {len(paths)} files of one directory rotated at once, {given.small} small files")
    tell(sink.ages_s)
    print(f"{sink.other_lines:12d} lines of the others delivered, {len(paths) + 2 * given.rotated} written")


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--gib", type=float, default=5.0)
    arguments.add_argument("--small", type=int, default=100)
    arguments.add_argument("--seconds", type=float, default=30)
    arguments.add_argument("--rotated", type=int, default=1000)
    given = arguments.parse_args()
    print(machine())
    for scene, wanted in ((beside_a_backlog, given.gib), (beside_rotations, given.rotated)):
        if wanted:
            with tempfile.TemporaryDirectory(prefix="greenstack-bench-") as name:
                asyncio.run(scene(given, Path(name)))


if __name__ == "__main__":
    main()
