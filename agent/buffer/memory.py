"""What the log adds up to: how far each file was read, and which timestamps of each stream are taken."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from agent.buffer.meta import HeldClock, Tally
from agent.buffer.record import Draft, draft_head
from agent.model import FileId, Position, Resume, Span, StreamClock


class Memory:
    """The state that every segment's head repeats.

    A clock goes with the file that fed its stream last, so that neither outlives the other by much.
    """

    def __init__(
        self, positions: Mapping[FileId, Position] | None = None, clocks: Mapping[str, HeldClock] | None = None
    ) -> None:
        self.positions = dict(positions or {})
        self.clocks = dict(clocks or {})
        self._to_forget: set[FileId] = set()

    def apply(self, spans: Iterable[Span], clocks: Iterable[tuple[str, StreamClock]]) -> None:
        """What one record adds."""
        file = None
        for span in spans:
            file = span.file
            self.positions[file] = span.after
        for labels, clock in clocks:
            self.clocks[labels] = HeldClock(clock, file)

    def span(self, file: FileId, start: int, end: int) -> tuple[Span, ...]:
        """These bytes of a file, if it is still known. The position at their end has no anchor."""
        known = self.positions.get(file)
        return () if known is None else (Span(file, start, replace(known, offset=end, anchor_digest=b"", part=0)),)

    def forget(self, files: Iterable[FileId]) -> None:
        """From the next record on. Not at once: a head may just be in the making in another thread."""
        self._to_forget.update(files)

    def forget_now(self) -> None:
        if not self._to_forget:
            return
        for file in self._to_forget:
            self.positions.pop(file, None)
        self.clocks = {labels: held for labels, held in self.clocks.items() if held.file not in self._to_forget}
        self._to_forget.clear()

    def head(self, tally: Tally) -> Draft:
        return draft_head(tally, self.positions, self.clocks)

    def resume(self, lost: tuple[Span, ...], *, is_first: bool) -> Resume:
        clocks = {labels: held.clock for labels, held in self.clocks.items()}
        return Resume(dict(self.positions), clocks, lost, is_first)
