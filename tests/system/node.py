"""The log tree of a Kubernetes node, as containerd and the kubelet make it: real files, links, rotations."""

from __future__ import annotations

import gzip
import itertools
import os
import random
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO, Self

PIECE_BYTES = 200
"""containerd cuts lines into pieces of 16 KiB; smaller ones make more to join."""


class Node:
    def __init__(self, root: Path) -> None:
        self.pods, self.containers = root / "var/log/pods", root / "var/log/containers"
        self.containers.mkdir(parents=True)
        self._started: list[Container] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for container in self._started:
            container.close()

    def start(self, namespace: str, pod: str, container: str, uid: str, restarts: int = 0) -> Container:
        log = self.pods / f"{namespace}_{pod}_{uid}" / container / f"{restarts}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        started = Container(log)
        self._started.append(started)
        (self.containers / f"{pod}_{namespace}_{container}-{os.urandom(32).hex()}.log").symlink_to(log)
        return started


@dataclass
class Container:
    """One run of a container. `said`: its messages, in the order in which their last pieces were written."""

    log: Path
    said: list[bytes] = field(default_factory=list)
    _clock: datetime = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    _numbers: itertools.count[int] = field(default_factory=itertools.count)
    _unsaid: dict[str, list[bytes]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._file: IO[bytes] = self._open()
        self._dice = random.Random(str(self.log))

    def _open(self) -> IO[bytes]:
        return self.log.open("ab", buffering=0)

    def step(self, stream: str) -> None:
        """One write: the next piece of the stream's message, or a new message."""
        if not self._unsaid.get(stream):
            length = self._dice.choice((20, 60, 300, 1500))
            text = f"{stream} {next(self._numbers)} {self._dice.randbytes(length).hex()}".encode()
            self._unsaid[stream] = [text[at : at + PIECE_BYTES] for at in range(0, len(text), PIECE_BYTES)]
            self._unsaid[stream].insert(0, text)
        text, piece, *rest = self._unsaid[stream]
        time = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f000Z")
        self._file.write(b"%s %s %s %s\n" % (time.encode(), stream.encode(), b"P" if rest else b"F", piece))
        self._unsaid[stream] = [text, *rest] if rest else []
        if not rest:
            self.said.append(text)

    @property
    def is_within_a_message(self) -> bool:
        return any(self._unsaid.values())

    def finish(self) -> None:
        for stream in list(self._unsaid):
            while self._unsaid[stream]:
                self.step(stream)

    def rotate(self, keep_plain: int, keep: int) -> None:
        """As the kubelet: delete the oldest, compress older ones, rename; the runtime writes on until it reopens."""
        rotated = sorted(self.log.parent.glob(f"{self.log.name}.*"))
        for old in rotated[: max(0, len(rotated) - keep)]:
            old.unlink()
        for old in rotated[:-keep_plain]:
            if old.exists() and old.suffix != ".gz":
                made = old.with_name(old.name + ".tmp")
                made.write_bytes(gzip.compress(old.read_bytes(), 1))
                made.rename(old.with_name(old.name + ".gz"))
                old.unlink()
        self._clock += timedelta(seconds=1)
        self.log.rename(f"{self.log}.{self._clock:%Y%m%d-%H%M%S}")
        self.step("stdout")
        self._file.close()
        self._file = self._open()

    def close(self) -> None:
        self._file.close()
