"""How fast redaction is: `python bench/redaction.py [hyperscan|re2|re]` prints a table."""

from __future__ import annotations

import json
import random
import sys
import time

from agent import config
from agent.transform.redact import Redactor
from agent.transform.redaction import samples
from agent.transform.redaction.engine import Engine

CHUNK_BYTES = 256 * 1024
ROUND_S = 1.5
KEY = b"bench" * 8


def greenstack_line(dice: random.Random, user: str | None = None, message: str = "IODD upload started") -> bytes:
    record = {
        "timestamp": 1763461800 + dice.random() * 1e6,
        "level": dice.choice(("INFO", "DEBUG", "WARNING")),
        "message": message,
        "logger": "src.routes.iodd_routes",
        "function": "upload_iodd",
        "line": dice.randrange(900),
        "app": "greenstack",
        "version": "2.0.0",
        "environment": "production",
        "request_id": samples.uuid(dice),
        "event": "upload_start",
        "upload_filename": f"device{dice.randrange(1000)}.xml",
        "content_type": "application/xml",
        "client_ip": f"192.168.1.{dice.randrange(255)}",
        "user": user or "operator",
        "duration_ms": round(dice.random() * 100, 2),
    }
    return json.dumps(record).encode()


def secret_message(dice: random.Random) -> str:
    return samples.expand(
        dice.choice(
            (
                "User credentials: bob:{pw:10}",
                "login with password={pw:12}",
                "GET /x?api_key={b62:32} HTTP/1.1",
                "Authorization: Bearer {=jwt}",
                "using ghp_{b62:36}",
                "connect postgres://app:{b62:12}@db/x",
            )
        ),
        dice,
    )


def chunks(lines: list[bytes]) -> list[list[bytes]]:
    out: list[list[bytes]] = [[]]
    size = 0
    for line in lines:
        if size + len(line) > CHUNK_BYTES:
            out.append([])
            size = 0
        out[-1].append(line)
        size += len(line) + 1
    return out


def measure(redactor: Redactor, lines: list[bytes]) -> tuple[float, float, float]:
    """MB/s, µs a line and flagged lines in percent; the split is part of the time."""
    data = [b"\n".join(chunk) + b"\n" for chunk in chunks(lines)]
    size = count = flagged = 0
    begin = time.process_time()
    while time.process_time() - begin < ROUND_S:
        for chunk in data:
            split = chunk.split(b"\n")
            split.pop()
            flagged += redactor.chunk(chunk, split).flagged
            size += len(chunk)
            count += len(split)
    spent = time.process_time() - begin
    return size / spent / 1e6, spent / count * 1e6, 100 * flagged / count


def adversarial() -> dict[str, bytes]:
    return {
        "a=a=a=…": b"a=" * 500_000,
        "password=": b"password=" * 111_000,
        "password=x, …": b"password=x1, " * 77_000,
        "@@@": b"a@" * 500_000,
        "eyJ…": b"eyJ" + b"a" * 1_000_000,
        "eyJeyJ": b"eyJhbGci." * 111_000,
        "a@b.c.d": b"a@" + b"b." * 500_000,
        "://": b"://a:b" * 166_000,
        "[[[": b'{"password":' * 83_000,
        "quotes": b"\\\"'" * 333_000 + b"password='",
        "BEGIN": b"-----BEGIN PRIVATE KEY-----" * 37_000,
        "digits": b"4111 " * 200_000,
        "percent": b"%41%70" * 166_000,
        "json": json.dumps({f"k{i}": {"password": i} for i in range(38_000)}).encode(),
        "json in json": json.dumps({"a": json.dumps({"b": json.dumps([{"token": "a"}] * 60_000)})}).encode(),
        "basic": b"Basic " + b"a" * 1_000_000,
        "credentials": b"credentials: a:" * 66_000,
        "password is": b"password is " * 83_000,
        "sk-": b"sk-" * 333_000,
        "words": b"password for " + b"x " * 500_000,
    }


def main() -> None:
    engine: Engine | None = sys.argv[1] if len(sys.argv) > 1 else None  # type: ignore[assignment]
    begin = time.process_time()
    redactor = Redactor.build(config.Redact(), pseudonym_key=KEY, engine=engine)
    print(f"engine {redactor.engine}, {len(redactor.rules())} rules, built in {time.process_time() - begin:.2f} s\n")
    dice = random.Random(7)
    sets = {
        "benign": [greenstack_line(dice) for _ in range(4000)],
        "a quarter with e-mail": [
            greenstack_line(dice, samples.email(dice) if i % 4 == 0 else None) for i in range(4000)
        ],
        "every line with e-mail": [greenstack_line(dice, samples.email(dice)) for _ in range(4000)],
        "10 % secrets": [
            greenstack_line(dice, message=secret_message(dice) if i % 10 == 0 else "IODD upload done")
            for i in range(4000)
        ],
        "all secrets": [greenstack_line(dice, message=secret_message(dice)) for _ in range(4000)],
    }
    print(f"{'lines':<24}{'MB/s':>8}{'µs/line':>9}{'lines/s':>10}{'flagged':>9}")
    for name, lines in sets.items():
        speed, per_line, flagged = measure(redactor, lines)
        print(f"{name:<24}{speed:>8.0f}{per_line:>9.2f}{1e6 / per_line:>10.0f}{flagged:>8.1f}%")
    print("\n1 MB lines made to be slow, ms")
    for name, line in adversarial().items():
        begin = time.process_time()
        facts = redactor.chunk(line + b"\n", [line])
        print(f"  {name:<20}{(time.process_time() - begin) * 1000:>8.1f}{'  stub' if facts.failed else ''}")


if __name__ == "__main__":
    main()
