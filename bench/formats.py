"""What it costs to make lines of bytes, by format: nanoseconds a line, without reading, redacting or sending.

    python bench/formats.py [--rounds 30]

Each format gets the same messages, 256 KiB of raw bytes at a time as the tailer reads them. Median of the rounds, CPU time.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable

import corpus

from agent.config import Multiline, Source
from agent.tail.lines import Lines
from agent.tail.reader import QUANTUM_BYTES

TIME = "2026-01-02T03:04:05.123456789Z"


def messages(count: int) -> list[str]:
    return [line.decode().rstrip("\n") for line in corpus.lines(count)]


def cri(lines: list[str], parts_every: int = 0) -> bytes:
    out = []
    for number, line in enumerate(lines):
        stream = "stderr" if number % 10 == 0 else "stdout"
        if parts_every and number % parts_every == 0:
            out += [f"{TIME} {stream} P {line[:200]}\n", f"{TIME} {stream} F {line[200:]}\n"]
        else:
            out.append(f"{TIME} {stream} F {line}\n")
    return "".join(out).encode()


def docker(lines: list[str]) -> bytes:
    return "".join(json.dumps({"log": line + "\n", "stream": "stdout", "time": TIME}) + "\n" for line in lines).encode()


def plain(lines: list[str], encoding: str = "utf-8") -> bytes:
    return "".join(line + "\n" for line in lines).encode(encoding)


def tracebacks(lines: list[str]) -> bytes:
    return "".join(line + "\n" + '  File "app.py", line 3, in main\n' * 4 for line in lines).encode()


def measure(source: Source, raw: bytes, rounds: int) -> tuple[float, int]:
    """(ns a raw line, lines a quantum)"""
    body = raw[:QUANTUM_BYTES]
    made = Lines(source, "/var/log/app.log")
    made.begins_with(body[:4])
    made.decide(body)
    take: Callable[[], object] = lambda: made.pieces(body, 0, 1, final=False)  # noqa: E731
    taken = made.pieces(body, 0, 1, final=False)
    lines = body[: sum(piece.length for piece in taken)].count(b"\n")
    times = []
    for _ in range(rounds):
        began = time.process_time_ns()
        for _ in range(10):
            take()
        times.append((time.process_time_ns() - began) / 10 / lines)
    return statistics.median(times), lines


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--rounds", type=int, default=30)
    rounds = arguments.parse_args().rounds
    lines = messages(2000)
    events = Multiline(start=r"^\S")
    cases = [
        ("plain", Source(), plain(lines)),
        ("plain, latin-1", Source(encoding="latin-1"), plain(lines)),
        ("plain, utf-16", Source(encoding="utf-16-le"), plain(lines, "utf-16-le")),
        ("plain, events of 5 lines", Source(multiline=events), tracebacks(lines)),
        ("cri", Source(), cri(lines)),
        ("cri, 1 % in parts", Source(), cri(lines, 100)),
        ("cri, every line in parts", Source(), cri(lines, 1)),
        ("cri, events of 1 line", Source(multiline=events), cri(lines)),
        ("docker", Source(), docker(lines)),
    ]
    print("format                        ns/line   lines per CPU second")
    for name, source, raw in cases:
        ns, count = measure(source, raw, rounds)
        print(f"{name:28} {ns:8.0f} {1e9 / ns:12,.0f}   ({count} lines a read)")


if __name__ == "__main__":
    main()
