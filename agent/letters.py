"""`dead-letters`: entries that Loki refused for good, to list, to show, and to send again after the cause is mended."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterable
from pathlib import Path

from agent import wire
from agent.batch.stamp import START
from agent.config import Config
from agent.failures import OK, PROBLEMS, UNREACHABLE
from agent.model import Body, Record
from agent.observe.events import Emit, EntriesRefused, Event, PushAccepted
from agent.push.client import LokiClient
from agent.push.dead_letters import DeadLetter, DeadLetters, encode
from agent.push.pusher import Outcome, Pusher
from agent.running import reporter, run_loop

BODY_ENTRIES = 1000


def dead_letters(settings: Config, what: str, *, count: int, patience_s: float) -> int:
    """0 ok; 1 when a replay was refused again; 69 when Loki cannot be reached."""
    letters = DeadLetters(Path(settings.agent.state_dir) / "dead-letters", reporter(settings).observe)
    if what == "list":
        return _list(letters)
    if what == "show":
        return _show(letters, count)
    return run_loop(_replay(settings, letters, patience_s))


def _list(letters: DeadLetters) -> int:
    files = letters.list()
    for file in files:
        reasons = ", ".join(f"{reason} {rows}" for reason, rows in sorted(file.reasons.items()))
        print(f"{file.rows:8} entries  {file.size_bytes:10} bytes  {reasons}  {file.path}")
    print(f"{sum(file.rows for file in files)} entries in {letters.directory}", file=sys.stderr)
    return OK


def _show(letters: DeadLetters, count: int) -> int:
    for letter in letters.show(count):
        print(encode(letter).decode(), end="")
    return OK


async def _replay(settings: Config, letters: DeadLetters, patience_s: float) -> int:
    """Sends every letter as it was. Letters refused again become new ones; those not sent stay for the next replay."""
    said = reporter(settings)
    sent = refused = 0
    loop = asyncio.get_running_loop()
    async with LokiClient(settings.loki) as client:
        try:
            async with asyncio.timeout(patience_s) as patience:

                def observe(event: Event) -> None:
                    said.observe(event)
                    if isinstance(event, (PushAccepted, EntriesRefused)):
                        patience.reschedule(loop.time() + patience_s)

                for path in await asyncio.to_thread(letters.take):
                    bodies = tuple(_bodies(letters.rows(path), settings.loki.encoding))
                    outcome = await _push(settings, client, letters, bodies, observe)
                    sent, refused = sent + outcome.delivered_entries, refused + outcome.refused_entries
                    await asyncio.to_thread(letters.discard, path)
        except TimeoutError:
            print(f"{sent} entries sent, then no answer for {patience_s:g} s; the rest stays", file=sys.stderr)
            return UNREACHABLE
    print(f"{sent} entries sent, {refused} refused again", file=sys.stderr)
    return PROBLEMS if refused else OK


async def _push(
    settings: Config, client: LokiClient, letters: DeadLetters, bodies: tuple[Body, ...], emit: Emit
) -> Outcome:
    entries = sum(body.entries for body in bodies)
    line_bytes = sum(body.line_bytes for body in bodies)
    pusher = Pusher(settings.loki, client, letters, emit, load=lambda _: bodies)
    return await pusher(Record(1, "replay", entries, line_bytes, 0, 0, 0))


def _bodies(rows: Iterable[DeadLetter], encoding: str) -> Iterable[Body]:
    """Letters as push bodies, one stream each, in the order they were refused."""
    streams: dict[str, list[DeadLetter]] = {}
    for row in rows:
        streams.setdefault(row.labels, []).append(row)
    for labels, all_rows in streams.items():
        for start in range(0, len(all_rows), BODY_ENTRIES):
            part = all_rows[start : start + BODY_ENTRIES]
            times = [row.timestamp_ns for row in part]
            lines = [row.line for row in part]
            payload = wire.encode(encoding, labels, times, lines, [row.metadata for row in part])
            yield Body(labels, payload, encoding, len(part), sum(map(len, lines)), min(times), max(times), START)
