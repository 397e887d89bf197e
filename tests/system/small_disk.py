"""A file system of a few megabytes in a mount namespace of its own, for an agent to run out of."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Self

_HOLD = 'mount -t tmpfs -o "size=$1" none "$2" && echo mounted && exec sleep infinity'


@cache
def why_not() -> str:
    """The reason why there is none here; empty when there can be."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "mounting needs root on Linux"
    if shutil.which("unshare") is None or shutil.which("nsenter") is None:
        return "unshare and nsenter are not installed"
    tried = subprocess.run(
        ["unshare", "--mount", "sh", "-c", "mount -t tmpfs none /mnt"], capture_output=True, text=True, check=False
    )
    return "" if tried.returncode == 0 else f"no mount namespace here: {tried.stderr.strip()[:200]}"


class SmallDisk:
    """Mounted at `place` for whoever runs `under` it; seen from outside at `seen`. Lives as long as the block."""

    def __init__(self, place: Path, size: str) -> None:
        place.mkdir(parents=True)
        self.place = place
        self._size = size

    def __enter__(self) -> Self:
        self._holder = subprocess.Popen(
            ["unshare", "--mount", "--propagation", "private", "sh", "-c", _HOLD, "sh", self._size, str(self.place)],
            stdout=subprocess.PIPE,
        )
        assert self._holder.stdout is not None
        assert self._holder.stdout.readline() == b"mounted\n"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._holder.kill()
        self._holder.communicate()

    @property
    def under(self) -> list[str]:
        return ["nsenter", "--mount", "--target", str(self._holder.pid), "--"]

    @property
    def seen(self) -> Path:
        return Path(f"/proc/{self._holder.pid}/root{self.place}")

    @property
    def free_bytes(self) -> int:
        facts = os.statvfs(self.seen)
        return facts.f_bavail * facts.f_frsize

    def fill(self, name: str, leave: int) -> Path:
        """Somebody else's file that takes all but so many bytes."""
        path = self.seen / name
        with path.open("wb") as file:
            while (room := self.free_bytes - leave) > 0:
                file.write(bytes(min(room, 1 << 20)))
                file.flush()
        return path
