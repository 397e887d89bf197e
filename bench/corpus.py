"""GreenStack-like lines of about 400 bytes, the same for the same seed.

python bench/corpus.py FILE --lines 500000 --secrets 0.01 --emails 0.0
"""

from __future__ import annotations

import argparse
import random
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

EVENTS = (
    ("IODD upload started", "upload_start", "upload_iodd", "src.routes.iodd_routes"),
    ("IODD upload completed", "upload_complete", "upload_iodd", "src.routes.iodd_routes"),
    ("EDS file parsed", "parse_complete", "parse_eds", "src.routes.eds_routes"),
    ("PQA analysis finished", "pqa_done", "run_pqa", "src.routes.pqa_routes"),
    ("Ticket created", "ticket_created", "create_ticket", "src.routes.ticket_routes"),
    ("Query returned", "db_query", "fetch_device", "src.greenstack"),
)
BEGIN = 1763461800


def lines(
    count: int, *, secrets: float = 0.01, emails: float = 0.0, seed: int = 1, begin: float = BEGIN
) -> Iterator[bytes]:
    """`count` lines; a share `secrets` of them holds a password, a share `emails` an e-mail address."""
    dice = random.Random(seed)
    request = str(uuid.UUID(int=dice.getrandbits(128), version=4))
    for number in range(count):
        if number % 5 == 0:
            request = str(uuid.UUID(int=dice.getrandbits(128), version=4))
        message, event, function, logger = EVENTS[dice.randrange(len(EVENTS))]
        shot = dice.random()
        if shot < secrets:
            message = f"User credentials: user{number % 97}:Pw{dice.getrandbits(40):x}!"
        user = (
            f'"user": "person{dice.randrange(5000)}@example.com", '
            if secrets <= shot < secrets + emails
            else '"actor": "svc", '
        )
        yield (
            f'{{"timestamp": {begin + number / 5000:.6f}, "level": "INFO", "message": "{message}", "logger": "{logger}", '
            f'"function": "{function}", "line": {dice.randrange(900)}, "app": "greenstack", "version": "2.0.0", '
            f'"environment": "production", "request_id": "{request}", "event": "{event}", {user}'
            f'"upload_filename": "device{dice.randrange(9999)}.xml", "duration_ms": {dice.random() * 900:.3f}, '
            f'"device_id": {dice.randrange(90000)}}}\n'
        ).encode()


def recent(count: int) -> float:
    """When `count` lines have to begin to end a minute ago: much older ones are no everyday lines, for Loki takes none."""
    return time.time() - 60 - count / 5000


def write(path: Path, count: int, **options: float) -> int:
    """Writes the corpus; gives its size in bytes."""
    with path.open("wb") as file:
        file.writelines(lines(count, **options))  # type: ignore[arg-type]
    return path.stat().st_size


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("file", type=Path)
    arguments.add_argument("--lines", type=int, default=500_000)
    arguments.add_argument("--secrets", type=float, default=0.01)
    arguments.add_argument("--emails", type=float, default=0.0)
    given = arguments.parse_args()
    size = write(given.file, given.lines, secrets=given.secrets, emails=given.emails)
    print(f"{given.lines} lines, {size} bytes, {size / given.lines:.0f} a line")


if __name__ == "__main__":
    main()
