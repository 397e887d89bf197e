"""What Loki refused for good, kept on disk for an operator to look at and send again.

    <directory>/dead-letters-00000001.jsonl    0600, one JSON object a line, oldest file first
    <directory>/dead-letters-00000001.taken    set aside by a replay; this class never changes it again
    <directory>/.lock                          flock: writing and setting aside exclude each other, between processes too

    {"time": "2025-01-02T03:04:05Z", "reason": "line_too_long", "message": "<Loki's words, shortened>",
     "labels": "{…}", "timestamp_ns": "1735787045000000000", "line": "…", "metadata": {"request_id": "…"}}

A line that is not UTF-8 stands as `line_base64`. Lines are redacted already. The files together are bounded; the oldest
goes when the bound is reached, counted.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import fcntl
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from time import time
from typing import Any

import orjson

from agent import wire
from agent.durable import make_directory, sync_directory
from agent.observe.events import DeadLettersFull, Emit

MAX_BYTES = 64 * 1024 * 1024
FILES = 8
"""How many files the bound is spread over: the oldest eighth goes at a time."""

_NAME = "dead-letters-"
_LIVE = ".jsonl"
_TAKEN = ".taken"


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One refused entry.

    time_s:    when it was refused, epoch seconds.
    reason:    one of `reply.REASONS`.
    message:   Loki's words.
    metadata:  as `wire.encode_metadata` wrote it.
    """

    time_s: float
    reason: str
    message: str
    labels: str
    timestamp_ns: int
    line: bytes
    metadata: bytes = b""


@dataclass(frozen=True, slots=True)
class FileSummary:
    """What one file holds. `damaged` counts lines that a crash cut off."""

    path: Path
    rows: int
    size_bytes: int
    reasons: dict[str, int]
    damaged: int


class DeadLetters:
    """The refused entries of one agent. `add` is for the daemon; the others, which block, are for commands."""

    def __init__(
        self,
        directory: Path,
        emit: Emit,
        *,
        max_bytes: int = MAX_BYTES,
        clock: Callable[[], float] = time,
    ) -> None:
        self._directory = directory
        self._emit = emit
        self._max_bytes = max_bytes
        self._max_file_bytes = max(1, max_bytes // FILES)
        self._clock = clock

    @property
    def directory(self) -> Path:
        return self._directory

    def now(self) -> float:
        """The time of a letter, epoch seconds."""
        return self._clock()

    async def add(self, rows: Sequence[DeadLetter]) -> None:
        """Writes all rows; they are on disk when this returns. Raises OSError.

        After a failure, or when cancelled, some may be there already; adding them again repeats these.
        """
        if not rows:
            return
        dropped = await asyncio.to_thread(self._add, rows)
        if dropped:
            self._emit(DeadLettersFull(str(self._directory), dropped))

    def list(self) -> tuple[FileSummary, ...]:
        """Every file, oldest first, also those set aside by a replay that did not end."""
        return tuple(self._summary(path) for path in self._paths())

    def show(self, count: int) -> tuple[DeadLetter, ...]:
        """The newest `count` letters, oldest of them first."""
        newest: tuple[DeadLetter, ...] = ()
        for path in reversed(self._paths()):
            if len(newest) >= count:
                break
            newest = (*self.rows(path), *newest)
        return newest[-count:] if count > 0 else ()

    def take(self) -> tuple[Path, ...]:
        """Sets all files aside and returns them, oldest first: the daemon writes into none of them any more.

        Read each with `rows` and remove it with `discard` when Loki has its entries. What is not discarded is returned
        again by the next `take`.
        """
        if not self._directory.is_dir():
            return ()
        with self._locked():
            for path in self._paths(_LIVE):
                path.rename(path.with_suffix(_TAKEN))
            sync_directory(self._directory)
        return self._paths(_TAKEN)

    def rows(self, path: Path) -> Iterator[DeadLetter]:
        """The letters of a file, in the order they were written; lines cut off by a crash are passed over."""
        with path.open("rb") as file:
            for line in file:
                letter = _parse(line)
                if letter is not None:
                    yield letter

    def discard(self, path: Path) -> None:
        """Removes a file that `take` returned."""
        with self._locked():
            path.unlink(missing_ok=True)
            sync_directory(self._directory)

    # --- files ----------------------------------------------------------------------------------------------------

    def _add(self, rows: Sequence[DeadLetter]) -> int:
        """Returns how many older letters were dropped to make room."""
        data = b"".join(encode(row) for row in rows)
        make_directory(self._directory)
        with self._locked():
            dropped = self._make_room(len(data))
            self._append(self._current(len(data)), data)
        return dropped

    def _make_room(self, needed: int) -> int:
        dropped = 0
        paths = self._paths(_LIVE)
        total = sum(path.stat().st_size for path in paths)
        for oldest in paths:
            if total + needed <= self._max_bytes:
                break
            total -= oldest.stat().st_size
            dropped += sum(1 for _ in self.rows(oldest))
            oldest.unlink()
        return dropped

    def _current(self, needed: int) -> Path:
        """The newest file, or the next when it would become too large."""
        live = self._paths(_LIVE)
        if live and live[-1].stat().st_size + needed <= self._max_file_bytes:
            return live[-1]
        # Numbers go on after files set aside, so that names stay in the order of writing.
        numbers = [int(path.stem.removeprefix(_NAME)) for path in self._paths()]
        return self._directory / f"{_NAME}{max(numbers, default=0) + 1:08d}{_LIVE}"

    def _append(self, path: Path, data: bytes) -> None:
        is_new = not path.exists()
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        with open(descriptor, "r+b", buffering=0) as file:
            size = os.fstat(descriptor).st_size
            # A line that a crash cut off must not swallow the first new one.
            if size and os.pread(descriptor, 1, size - 1) != b"\n":
                data = b"\n" + data
            view = memoryview(data)
            while view:
                view = view[file.write(view) :]
            os.fsync(descriptor)
        if is_new:
            sync_directory(self._directory)

    def _paths(self, *suffixes: str) -> tuple[Path, ...]:
        wanted = suffixes or (_LIVE, _TAKEN)
        found = (path for path in self._directory.glob(f"{_NAME}*") if path.suffix in wanted)
        return tuple(sorted(path for path in found if path.stem.removeprefix(_NAME).isdecimal()))

    @contextmanager
    def _locked(self) -> Iterator[None]:
        descriptor = os.open(self._directory / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _summary(self, path: Path) -> FileSummary:
        reasons: Counter[str] = Counter()
        lines = 0
        with path.open("rb") as file:
            for line in file:
                lines += bool(line.strip())
                letter = _parse(line)
                if letter is not None:
                    reasons[letter.reason] += 1
        rows = reasons.total()
        return FileSummary(path, rows, path.stat().st_size, dict(reasons), lines - rows)


def encode(letter: DeadLetter) -> bytes:
    """The line of a file: a JSON object."""
    row: dict[str, Any] = {
        "time": datetime.fromtimestamp(letter.time_s, UTC).isoformat(timespec="milliseconds"),
        "reason": letter.reason,
        "message": letter.message,
        "labels": letter.labels,
        # As text: JavaScript and jq would round a number of this size.
        "timestamp_ns": str(letter.timestamp_ns),
    }
    try:
        row["line"] = letter.line.decode()
    except UnicodeDecodeError:
        row["line_base64"] = base64.b64encode(letter.line).decode()
    if letter.metadata:
        pairs = wire.decode_metadata(letter.metadata)
        row["metadata"] = {name.decode("utf-8", "replace"): value.decode("utf-8", "replace") for name, value in pairs}
    return orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE)


def _parse(line: bytes) -> DeadLetter | None:
    try:
        row = orjson.loads(line)
        text = row["line"].encode() if "line" in row else base64.b64decode(row["line_base64"], validate=True)
        pairs = [(name.encode(), value.encode()) for name, value in row.get("metadata", {}).items()]
        return DeadLetter(
            datetime.fromisoformat(row["time"]).timestamp(),
            row["reason"],
            row["message"],
            row["labels"],
            int(row["timestamp_ns"]),
            text,
            wire.encode_metadata(pairs),
        )
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError, AttributeError, binascii.Error):
        return None
