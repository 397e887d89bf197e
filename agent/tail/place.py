"""How far a file was read, and what is known of what lies before: enough to know the file again, or a copy of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from agent.model import Origin, Position
from agent.tail.content import Content
from agent.tail.identity import PREFIX_BYTES, Seen, Verdict, compare, fingerprint

_ANCHORS = 32


class Place:
    """offset:    the next line begins here.
    part:      of the line there, how many parts were taken.
    tail:      up to 256 bytes before the offset, once it was opened.
    anchors:   some places before the offset, each with the digest of the bytes before it.
    beginning: up to 4096 first bytes of what nothing was read of, once they were learned.
    mtime_ns:  when the file was last written, as far as seen.
    named_ns:  the same, as far as it was seen under the name it was found by. This is what a position tells: a writer that goes
               on after a rename must not make it look younger than the generations after it.
    """

    __slots__ = (
        "_generation",
        "_origin",
        "_position",
        "_prefix_digest",
        "_prefix_length",
        "_wall_ns",
        "anchors",
        "beginning",
        "mtime_ns",
        "named_ns",
        "offset",
        "part",
        "tail",
    )

    def __init__(self, origin: Origin, wall_ns: Callable[[], int]) -> None:
        self.offset = self.part = self.mtime_ns = self.named_ns = 0
        self.tail = b""
        self.anchors: list[tuple[int, bytes]] = []
        self.beginning = b""
        self._origin = origin
        self._wall_ns = wall_ns
        self._generation = 0
        self._prefix_length, self._prefix_digest = 0, b""
        self._position: Position | None = None

    @property
    def is_known(self) -> bool:
        """Whether there is something to recognise the file, or a copy of it, by."""
        return bool(self.offset or self._prefix_length)

    @property
    def has_prefix(self) -> bool:
        return bool(self._prefix_length)

    def resume_at(self, position: Position) -> None:
        self.offset, self.part = position.offset, position.part
        self._generation = position.generation
        self._prefix_length, self._prefix_digest = position.prefix_length, position.prefix_digest
        self._position = position

    def position(self, content: Content | None) -> Position:
        """Needs the file open when the place was moved since the last call."""
        if self._position is None:
            if self._prefix_length < PREFIX_BYTES and self._prefix_length < self.offset:
                assert content is not None
                self._take_prefix(content.read(0, min(PREFIX_BYTES, self.offset)))
            self._position = Position(
                self.offset,
                self._prefix_length,
                self._prefix_digest,
                fingerprint(self.tail),
                self.part,
                self._origin,
                self._generation,
                # Who writes a log may set any time. What was read was not written later than now.
                max(0, min(self.named_ns, self._wall_ns())),
            )
        return self._position

    def learn_beginning(self, content: Content) -> None:
        """Of a file of which nothing was read."""
        self.beginning = content.read(0, PREFIX_BYTES)
        self._take_prefix(self.beginning)
        self._position = None
        self.position(content)  # with the time of this content's last write: emptying it is a write as well

    def _take_prefix(self, prefix: bytes) -> None:
        self._prefix_length, self._prefix_digest = len(prefix), fingerprint(prefix)

    def learn_generation(self, generation: int) -> None:
        if not self._generation and generation:
            self._generation = generation
            if self._position is not None:
                self._position = replace(self._position, generation=generation)

    def judge(self, content: Content, size: int) -> Verdict:
        """Whether an open file holds what was read."""
        known = self.position(content)
        if content.is_archive:
            size = known.offset  # not known before the end
        prefix = content.read(0, known.prefix_length) if known.prefix_length else b""
        generation = content.generation if known.generation else 0
        return compare(known, Seen(size, prefix, content.anchor(known.offset), generation))

    def begins(self, content: Content) -> bool:
        """Whether the first bytes are still those that were read."""
        return fingerprint(content.read(0, self._prefix_length)) == self._prefix_digest

    def pass_to(self, offset: int, part: int, tail: bytes) -> None:
        """On to a place further on, for what lies between was taken."""
        self.move_to(offset, tail)
        self.part = part
        self.anchors.append((offset, fingerprint(tail)))
        if len(self.anchors) > _ANCHORS:  # ever sparser towards the beginning
            del self.anchors[1 : _ANCHORS // 2 : 2]

    def move_to(self, offset: int, tail: bytes) -> None:
        self.offset, self.tail, self.beginning = offset, tail, b""
        self._position = None
