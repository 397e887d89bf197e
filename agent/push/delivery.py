"""What of a record is still to be sent, in order, and what became of the rest.

A body goes as it lies in the buffer. When it must be divided, its entries go in pieces: the left half to its end, then
the right half, so the order in the stream stays. A piece is encoded from the same entries in the same way each time, and
so has the same bytes each time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from agent import wire
from agent.model import Body, Record


@dataclass(slots=True)
class Piece:
    """Entries `start`..`stop` of the body number `body` of a record: one request.

    limited:         how often a rate limit refused it.
    failures:        how often it failed in a way that passes.
    last_failure_s:  when it did so last.
    """

    body: int
    start: int
    stop: int
    limited: int = 0
    failures: int = 0
    last_failure_s: float = 0.0

    @property
    def entries(self) -> int:
        return self.stop - self.start

    def halves(self) -> tuple[Piece, Piece]:
        middle = (self.start + self.stop + 1) // 2
        return Piece(self.body, self.start, middle), Piece(self.body, middle, self.stop)


@dataclass(slots=True)
class Delivery:
    """The state of one record between its attempts. It holds no bytes.

    pieces: still to be sent, the next one last; None until the record was loaded for the first time.
    """

    record: Record
    pieces: list[Piece] | None = None
    delivered_entries: int = 0
    refused_entries: int = 0
    delivered_bytes: int = 0
    failures: int = field(default=0)
    """Attempts since something of this record got through."""

    def begin(self, bodies: Sequence[Body]) -> None:
        """Learns the bodies of the record, at the first attempt only."""
        if self.pieces is None:
            done = self.record.bodies_done
            pieces = [Piece(number, 0, body.entries) for number, body in enumerate(bodies) if body.entries]
            self.pieces = [piece for piece in pieces[::-1] if piece.body >= done]
            self.refused_entries = self.record.refused_before
            self.delivered_entries = sum(body.entries for body in bodies[:done]) - self.refused_entries
            self.delivered_bytes = sum(body.line_bytes for body in bodies[:done])

    @property
    def next(self) -> Piece | None:
        return self.pieces[-1] if self.pieces else None

    @property
    def bodies_done(self) -> int:
        """How many of the first bodies are settled, unless all of them are."""
        return self.pieces[-1].body if self.pieces else 0

    def split(self, piece: Piece) -> None:
        assert self.pieces is not None
        assert self.pieces[-1] is piece
        left, right = piece.halves()
        self.pieces[-1:] = [right, left]

    def settle(self, piece: Piece, *, delivered_bytes: int, refused: int = 0) -> None:
        """The fate of each entry of the piece is known. delivered_bytes: of the lines that Loki has."""
        assert self.pieces is not None
        assert self.pieces[-1] is piece
        self.pieces.pop()
        self.failures = 0
        self.delivered_entries += piece.entries - refused
        self.refused_entries += refused
        self.delivered_bytes += delivered_bytes


def payload_of(body: Body, piece: Piece) -> bytes:
    """The HTTP body of a piece that is less than the whole. Blocks while it encodes. Raises wire.BadBody."""
    push = entries_of(body, piece)
    return wire.encode(body.encoding, body.labels, push.timestamps_ns, push.lines, push.metadata)


def entries_of(body: Body, piece: Piece) -> wire.Push:
    """The entries of a piece. Blocks while it decodes. Raises wire.BadBody."""
    push = wire.decode(body.encoding, body.payload)
    at = slice(piece.start, piece.stop)
    return wire.Push(body.labels, push.timestamps_ns[at], push.lines[at], push.metadata[at])
