"""Where the time goes: ns of CPU per line and stage, chunk after chunk as in the agent, so that a regression names its stage.

    python bench/stages.py [--lines 100000] [--secrets 0.01] [--emails 0] [--json]

Each stage is the agent's own code on real files, a real buffer and a real HTTP sink. The sum is what a line costs but for
the hand-overs between the loops; `throughput.py` shows those too.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import socket
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import corpus
import cramjam
import sink

from agent import config, wire
from agent.batch.batcher import Batcher
from agent.buffer.disk import DiskBuffer
from agent.model import Batch, Chunk, Resume
from agent.observe.metrics import Metrics
from agent.pipeline import report
from agent.push.client import LokiClient
from agent.tail.all_files import Tailer
from agent.transform.chain import Transform
from agent.transform.redact import Redactor
from agent.transform.redaction.places import Flags, lines_in

KEY = b"bench" * 8

Costs = dict[str, float]


class Clock:
    """CPU seconds of this process, by stage."""

    def __init__(self) -> None:
        self.spent: Costs = defaultdict(float)

    @contextmanager
    def on(self, stage: str) -> Iterator[None]:
        began = time.process_time_ns()
        try:
            yield
        finally:
            self.spent[stage] += time.process_time_ns() - began


class TimedRedactor:
    """A redactor whose scan and whose care for flagged lines are timed apart."""

    def __init__(self, redactor: Redactor, clock: Clock) -> None:
        self._redactor = redactor
        self.text = redactor.text
        self.chunk = redactor.chunk
        self._clock = clock

    def split(self, data: bytes) -> tuple[list[bytes], Flags]:
        with self._clock.on("scan, split"):
            return self._redactor.split(data)


async def read(path: Path, clock: Clock) -> AsyncIterator[list[Chunk]]:
    source = config.Source(name="bench", include=(str(path),))
    async with Tailer([source], config.Agent(), Resume({}, {}), lambda _: None, once=True) as tailer:
        turns = tailer.turns()
        stage = "start"  # the first turn scans, which has nothing to do with lines
        while True:
            with clock.on(stage):
                chunks = await anext(turns, None)
            stage = "read and frame"
            if chunks is None:
                return
            yield chunks


def transformer(clock: Clock) -> Transform:
    redactor = TimedRedactor(Redactor.build(config.Redact(), pseudonym_key=KEY), clock)
    parse = config.Parse(out_of_range="send")
    return Transform(parse, config.Labels(), config.Metadata(), redactor, host="bench")


class TimedSnappy:
    """In the place of `cramjam.snappy`: its part of the making of a batch."""

    def __init__(self, clock: Clock) -> None:
        self._real = cramjam.snappy
        self.compress_raw_max_len = self._real.compress_raw_max_len
        self._clock = clock

    def compress_raw_into(self, body: bytes, out: bytearray) -> int:
        with self._clock.on("snappy"):
            return self._real.compress_raw_into(body, out)

    def compress_raw(self, body: bytes) -> bytes:
        with self._clock.on("snappy"):
            return self._real.compress_raw(body)


async def collect(path: Path, clock: Clock) -> tuple[list[Batch], int]:
    """Files → batches. Parsing, inside `Transform`, is timed by doing it once more, alone."""
    transform, batcher, metrics = transformer(clock), Batcher(config.Batch()), Metrics(lambda: ())
    snappy = mock.patch.object(cramjam, "snappy", TimedSnappy(clock))
    batches: list[Batch] = []
    lines = 0
    async for chunks in read(path, clock):
        split = [lines_in(chunk.data) for chunk in chunks]
        with clock.on("parse, metadata"):
            for chunk, whole in zip(chunks, split, strict=True):
                transform._read(whole, chunk, "bench")  # noqa: SLF001
        del split
        made = transform.turn(chunks)
        while True:
            with clock.on("transform"):
                entries = next(made, None)
            if entries is None:
                break
            with clock.on("events, metrics"):
                report(entries, metrics.observe)
            lines += entries.lines
            with clock.on("batch"), snappy:
                batches += batcher.add(entries, 0.0)
    with clock.on("batch"), snappy:
        batches += batcher.flush()
    return batches, lines


async def deliver(batches: list[Batch], directory: Path, port: int, clock: Clock) -> None:
    settings = config.Loki(url=f"http://127.0.0.1:{port}")
    quiet = config.Buffer(min_free_bytes=0)
    with DiskBuffer.open(directory, quiet, lambda _: None) as buffer:
        async with LokiClient(settings) as client:
            records = buffer.unsent()
            for batch in batches:
                with clock.on("buffer: write"):
                    await buffer.append([batch])
                if not batch.bodies:
                    continue
                with clock.on("buffer: take"):
                    record = await anext(records)
                    bodies = buffer.at_hand(record) or await asyncio.to_thread(buffer.read, record)
                with clock.on("http"):
                    for body in bodies:
                        reply = await client.post(body.encoding, body.payload)
                        assert reply.status == 204, reply
                    buffer.ack(record)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def measure(lines: int, secrets: float, emails: float) -> Costs:
    """ns per line of each stage, in the order of the way."""
    clock = Clock()
    with tempfile.TemporaryDirectory(prefix="greenstack-stages-") as name:
        path = Path(name) / "app.txt"
        corpus.write(path, lines, secrets=secrets, emails=emails, begin=corpus.recent(lines))
        gc.collect()
        gc.freeze()
        batches, read_lines = asyncio.run(collect(path, clock))
        if read_lines != lines:
            raise SystemExit(f"{read_lines} of {lines} lines were read")
        port = free_port()
        command = [sys.executable, str(Path(sink.__file__)), str(port)]
        with subprocess.Popen(command) as process:
            try:
                sink.until_listening(port)
                asyncio.run(deliver(batches, Path(name) / "buffer", port, clock))
            finally:
                process.terminate()
    spent = {stage: ns / lines for stage, ns in clock.spent.items()}
    inside = ("scan, split", "parse, metadata")
    spent["verify"] = spent.pop("transform") - sum(spent[stage] for stage in inside)
    spent["stamp, encode"] = spent.pop("batch") - spent["snappy"]
    return {stage: spent[stage] for stage in ORDER}


ORDER = (
    "read and frame",
    "scan, split",
    "verify",
    "parse, metadata",
    "events, metrics",
    "stamp, encode",
    "snappy",
    "buffer: write",
    "buffer: take",
    "http",
)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--lines", type=int, default=100_000)
    arguments.add_argument("--secrets", type=float, default=0.01)
    arguments.add_argument("--emails", type=float, default=0.0)
    arguments.add_argument("--rounds", type=int, default=3, help="the lowest figure of each stage counts (3)")
    arguments.add_argument("--json", action="store_true")
    given = arguments.parse_args()
    rounds = [measure(given.lines, given.secrets, given.emails) for _ in range(given.rounds)]
    costs = {stage: min(costs[stage] for costs in rounds) for stage in ORDER}
    if given.json:
        print(json.dumps(costs))
        return
    total = sum(costs.values())
    compiled = " (compiled)" if not str(wire.__file__).endswith(".py") else ""
    print(f"{given.lines} lines, {given.secrets:.0%} secrets, {given.emails:.0%} e-mails{compiled}: ns of CPU per line")
    for stage, cost in costs.items():
        print(f"  {stage:<18}{cost:>7.0f}  {cost / total:>5.1%}")
    print(f"  {'sum':<18}{total:>7.0f}  {1e9 / total:,.0f} lines per CPU second")


if __name__ == "__main__":
    main()
