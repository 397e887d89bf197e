"""The place for what was found damaged: bytes are kept for a look, up to a bound, and never read again by the agent."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from agent.buffer.segment import reading

DIRECTORY_NAME = "damaged"
MAX_BYTES = 64 << 20


class Damaged:
    """Keeps the first 64 MiB; the earliest damage says most. What cannot be kept for want of space or health is not."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory / DIRECTORY_NAME

    def keep_bytes(self, path: Path, offset: int, length: int) -> None:
        """Copies a part of a segment."""
        with contextlib.suppress(OSError):
            if length <= 0 or not self._room_for(length):
                return
            with reading(path) as read:
                data = read(offset, length)
            fd = os.open(self._target(f"{path.name}.{offset}"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with open(fd, "wb") as file:
                file.write(data)

    def keep_file(self, path: Path) -> bool:
        """Moves a whole file here, or deletes it when there is no room. False when it could be neither."""
        with contextlib.suppress(OSError):
            if self._room_for(path.stat().st_size):
                path.rename(self._target(path.name))
            else:
                path.unlink()
            return True
        return False

    def _target(self, name: str) -> Path:
        self._directory.mkdir(mode=0o700, exist_ok=True)
        return self._directory / name

    def _room_for(self, size: int) -> bool:
        if not self._directory.is_dir():
            return size <= MAX_BYTES
        held = sum(entry.stat().st_size for entry in os.scandir(self._directory))
        return held + size <= MAX_BYTES
