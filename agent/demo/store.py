"""What the stand-in keeps: every visible entry once, and a count of everything that came.

Loki's log queries leave out an entry whose stream, timestamp, line and metadata they already have
(pkg/iter/entry_iterator.go). A dict in insertion order is both that memory and the order of first acceptance; an entry
of 400 bytes takes about 700 bytes, so a million fit in 0.7 GiB.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from agent.demo.limits import Bucket, Limits

Pairs = tuple[tuple[bytes, bytes], ...]
Key = tuple[int, bytes, Pairs]


@dataclass(frozen=True, slots=True)
class StoredEntry:
    """An entry a log query returns. `labels` is the stream's canonical text, with the service name Loki added."""

    labels: str
    timestamp_ns: int
    line: bytes
    metadata: Pairs


class Stream:
    """One label set of one tenant. `highest_ns` decides what is too far behind; `last` is skipped when sent again."""

    def __init__(self, labels: str, pairs: tuple[tuple[str, str], ...], limits: Limits) -> None:
        self.labels = labels
        self.pairs = dict(pairs)
        self.entries: dict[Key, None] = {}
        self.highest_ns: int | None = None
        self.last: Key | None = None
        self.bucket = Bucket(limits.stream_rate, limits.stream_burst)

    def add(self, keys: list[Key]) -> list[Key]:
        """Keep what is new of these and return it."""
        known = self.entries
        fresh: list[Key] = []
        for key in keys:
            if key not in known:
                known[key] = None
                fresh.append(key)
        return fresh

    def visible(self) -> Iterator[StoredEntry]:
        for timestamp_ns, line, metadata in self.entries:
            yield StoredEntry(self.labels, timestamp_ns, line, metadata)


class Tenant:
    """The streams of one tenant, by their text, in order of creation."""

    def __init__(self, limits: Limits) -> None:
        self.streams: dict[str, Stream] = {}
        self.bucket = Bucket(limits.tenant_rate, limits.tenant_burst)

    def matching(self, labels: Mapping[str, str] | None) -> Iterator[Stream]:
        """The streams that carry at least these labels."""
        wanted = (labels or {}).items()
        for stream in self.streams.values():
            if wanted <= stream.pairs.items():
                yield stream
