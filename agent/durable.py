"""Files and names that are there whole or not at all, whatever happens while they are made."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


def sync_directory(directory: Path) -> None:
    """Makes names durable: created, renamed or removed files. Raises OSError."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def make_directory(directory: Path, mode: int = 0o700) -> None:
    """Creates it and its parents, each durable in the one above. Raises OSError."""
    if directory.is_dir():
        return
    make_directory(directory.parent, 0o755)
    with contextlib.suppress(FileExistsError):
        directory.mkdir(mode=mode)
    sync_directory(directory.parent)


def create_whole(path: Path, data: bytes) -> None:
    """A new file (0600) with this content, durable. Raises OSError, FileExistsError when there is one of this name."""
    made = _written_beside(path, data)
    try:
        os.link(made, path)
    finally:
        made.unlink()
    sync_directory(path.parent)


def replace_whole(path: Path, data: bytes) -> None:
    """The file (0600) with this content instead of whatever it was, durable. Raises OSError; then it is as it was."""
    made = _written_beside(path, data)
    try:
        made.replace(path)
    except OSError:
        made.unlink()
        raise
    sync_directory(path.parent)


def _written_beside(path: Path, data: bytes) -> Path:
    """The content, durable, under a name of this process; what a crash left of it is overwritten by the next try."""
    made = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        fd = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        with open(fd, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(fd)
    except OSError:
        made.unlink(missing_ok=True)
        raise
    return made
