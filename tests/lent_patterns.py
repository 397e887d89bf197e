"""Compiled patterns that all processes of a run lend one another: each set costs seconds, and there are several workers."""

from __future__ import annotations

import fcntl
import hashlib
from pathlib import Path
from typing import IO

from agent.durable import replace_whole


class LentPatterns:
    """A store in a directory. Whoever finds nothing compiles, and the others wait for that."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._locks: dict[str, IO[bytes]] = {}

    def load(self, key: str) -> bytes | None:
        path = self._path(key)
        if path.exists():
            return path.read_bytes()
        lock = path.with_suffix(".lock").open("wb")
        fcntl.flock(lock, fcntl.LOCK_EX)
        if path.exists():
            lock.close()
            return path.read_bytes()
        self._locks[key] = lock  # until it is saved, or this process ends
        return None

    def save(self, key: str, data: bytes) -> None:
        replace_whole(self._path(key), data)
        if (lock := self._locks.pop(key, None)) is not None:
            lock.close()

    def _path(self, key: str) -> Path:
        return self._directory / f"{hashlib.blake2b(key.encode(), digest_size=8).hexdigest()}.patterns"
