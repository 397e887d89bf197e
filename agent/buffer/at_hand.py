"""Bodies that are durable and still in memory, so that what is sent at once need not be read back. Pure."""

from __future__ import annotations

from collections import OrderedDict

from agent.model import Body

_BODY_BYTES = 1024
"""What a body takes beside its payload: objects, labels, its place in here."""


class AtHand:
    """Those of the newest records, of at most so many bytes in memory. Each is given once: who sends it again reads it from the disk."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        # An OrderedDict finds its first key in constant time also after many deletions, a dict does not.
        self._bodies: OrderedDict[int, tuple[Body, ...]] = OrderedDict()
        self._size = 0

    def __len__(self) -> int:
        return len(self._bodies)

    @property
    def is_crowded(self) -> bool:
        """More than half full: as many again, and some would have to be read back."""
        return 2 * self._size > self._limit_bytes

    def clear(self) -> None:
        self._bodies.clear()
        self._size = 0

    def keep(self, sequence: int, bodies: tuple[Body, ...]) -> None:
        """Of a record that is newer than all before."""
        self._bodies[sequence] = bodies
        self._size += _size_of(bodies)
        while self._size > self._limit_bytes:
            self._size -= _size_of(self._bodies.popitem(last=False)[1])

    def take(self, sequence: int) -> tuple[Body, ...] | None:
        bodies = self._bodies.pop(sequence, None)
        if bodies is not None:
            self._size -= _size_of(bodies)
        return bodies


def _size_of(bodies: tuple[Body, ...]) -> int:
    return sum(_BODY_BYTES + len(body.payload) for body in bodies)
