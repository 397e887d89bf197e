"""One process per state directory: a lock that the kernel takes back when its holder dies."""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path

from agent.buffer.errors import StateHeld, StateUnusable
from agent.durable import make_directory

FILE_NAME = "lock"


def make_private(directory: Path) -> None:
    """Creates the directory, for its owner alone. Raises StateUnusable."""
    try:
        make_directory(directory)
        if directory.stat().st_mode & 0o077:
            directory.chmod(0o700)
    except OSError as error:
        raise StateUnusable(
            f"cannot create or use {directory}: {error.strerror}; "
            "give the agent's user a directory of its own in agent.state_dir"
        ) from error


class Lock:
    """Held from construction to `close`. Raises StateHeld and StateUnusable."""

    def __init__(self, directory: Path) -> None:
        path = directory / FILE_NAME
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StateUnusable(
                f"cannot open {path}: {error.strerror}; the agent's user must own {directory}"
            ) from error
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = self._holder()
            os.close(self._fd)
            who = f"process {holder}" if holder is not None else "another process"
            raise StateHeld(
                f"{directory} is in use by {who}; stop that agent or set another state_dir", holder
            ) from None
        except OSError as error:
            os.close(self._fd)
            raise StateUnusable(f"cannot lock {path}: {error.strerror}; use a local file system") from error
        # On a full disk the number is not there to be read; the lock holds all the same.
        with contextlib.suppress(OSError):
            os.ftruncate(self._fd, 0)
            os.pwrite(self._fd, f"{os.getpid()}\n".encode(), 0)

    def _holder(self) -> int | None:
        with contextlib.suppress(OSError, ValueError):
            return int(os.pread(self._fd, 32, 0))
        return None

    def close(self) -> None:
        os.close(self._fd)
