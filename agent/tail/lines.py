"""How a file's bytes become lines: its encoding, its container format, its events. Pure, but for the matcher of events.

What it is is decided by the file's first bytes and its first line, once they are there; `source` may say it.
"""

from __future__ import annotations

from dataclasses import replace

from agent.config import Source
from agent.tail.container import CONFIGURED, UNWRAP, Format, Unwrap, detect, join, open_bytes
from agent.tail.encoding import units_for, valid
from agent.tail.framing import UTF8, Piece, Units, frame
from agent.tail.kubernetes import place_of
from agent.tail.multiline import Caps, matcher, of_plain, of_wrapped

HEAD_BYTES = 64 * 1024
"""In so much of a file its first line ends, or it is judged by what there is."""

_LEAST_WINDOW = 256 * 1024


class Lines:
    """units: how text lies in the bytes.  mark_length: of the byte-order mark.  format: None until it is known.
    replaced: characters so far that were none in UTF-8.  _marked: how it lay in what the file held before it was emptied, if a
    mark told that."""

    __slots__ = (
        "_events",
        "_marked",
        "_path",
        "_source",
        "format",
        "mark_length",
        "replaced",
        "units",
    )

    def __init__(self, source: Source, path: str) -> None:
        self._source = source
        self._path = path
        self.units: Units = UTF8
        self._marked: Units | None = None
        self.mark_length = 0
        self.replaced = 0
        self.format: Format | None = CONFIGURED.get(source.format)
        multiline = source.multiline
        self._events = None
        if multiline is not None:
            self._events = matcher(multiline.start), Caps.of(multiline, source.max_line_bytes)

    def begins_with(self, head: bytes) -> None:
        """head: the first 4 bytes, or as many as there are."""
        self.units, self.mark_length = units_for(self._source.encoding, head)
        if self._marked is not None and not self.mark_length and b"\0" in head:
            self.units = self._marked  # a writer that goes on writes no second mark

    def follow(self, emptied: Lines) -> None:
        """What the same file holds after it was emptied."""
        self._marked = emptied.units if emptied.mark_length else emptied._marked

    def decide(self, head: bytes) -> None:
        """The format, by the first line, once it is there, or enough of it."""
        if self.format is not None or not head:
            return
        newline = head.find(b"\n")
        if newline >= 0 or len(head) >= HEAD_BYTES:
            first = head[: newline if newline >= 0 else len(head)].removesuffix(b"\r")
            self.format = detect(first.lstrip(b"\0")) if self.units.width == 1 else "plain"
            if self.format == "plain" and place_of(self._path) is not None:
                self.format = "cri"  # the runtime wrote it, whatever has become of its first line

    @property
    def window_bytes(self) -> int:
        """What has to be read, at most, to find something that can be taken."""
        limit = self._source.max_line_bytes
        # Of a container's lines as many as may be open, and one more that ends them.
        enough = limit + 2 * self.units.width if self.format in (None, "plain") else 2 * open_bytes(limit)
        if self._events is not None:
            enough = max(enough, self.units.width * open_bytes(limit))
        return max(_LEAST_WINDOW, enough)

    def has_open_lines(self, rest: bytes) -> bool:
        """Whether whole lines in what was not taken wait for more of their kind."""
        return (self._events is not None or self._is_wrapped) and self._end_of_last(rest) > 0

    def ends_whole(self, rest: bytes) -> bool:
        """Whether these bytes, from where a line begins, end where one ends."""
        return 0 < self._end_of_last(rest) == len(rest)

    def _end_of_last(self, rest: bytes) -> int:
        units = UTF8 if self._is_wrapped else self.units
        newline = units.last_newline(rest, 0, len(rest))
        return newline + units.width if newline >= 0 else 0

    @property
    def _is_wrapped(self) -> bool:
        return UNWRAP[self.format or "plain"] is not None

    def go_on_from(self, earlier: Lines) -> bool:
        """Whether these may be one with those, as bytes."""
        return self.format == earlier.format and self.units == earlier.units

    def pieces(
        self, body: bytes, part: int, read_ns: int, *, final: bool, close: bool = False, start: int = 0
    ) -> list[Piece]:
        """What can be taken of `body`, which from `start` on begins where a line begins, or after part `part` of one.

        `close`: lines that wait for more of their kind have waited long enough. `final`: and nothing at all will follow.
        """
        if self._events is None and not self._is_wrapped and self.units.width == 1:  # then no copy has to be made
            pieces = self._plain(body, part, final=final, close=close, start=start)
        else:
            pieces = self._taken(body[start:] if start else body, part, read_ns, final=final, close=close)
        return [self._as_utf8(piece) for piece in pieces]

    def _as_utf8(self, piece: Piece) -> Piece:
        data = piece.data
        if data.isascii():
            return piece
        if self.format == "cri":  # what a container says is in its own encoding, whatever wraps it is not
            data = self.units.text(data)
        data, replaced = valid(data, self._source.max_line_bytes)
        self.replaced += replaced
        return piece if data is piece.data else replace(piece, data=data)

    def _taken(self, body: bytes, part: int, read_ns: int, *, final: bool, close: bool) -> list[Piece]:
        unwrap = UNWRAP[self.format or "plain"]
        full = len(body) >= self.window_bytes
        if unwrap is None:
            pieces = self._plain(body, part, final=final, close=close)
            return pieces or (self._plain(body, part, final=final, close=True) if full else [])
        end = body.rfind(b"\n") + 1
        if final and end < len(body):
            *pieces, last = self._unwrapped(body + b"\n", unwrap, part, read_ns, close=True)
            return [*pieces, replace(last, length=last.length - 1)]
        if end == 0:
            return frame(body, self.units.most(self._source.max_line_bytes), part) if full else []
        pieces = self._unwrapped(body[:end], unwrap, part, read_ns, close=final or close)
        return pieces or (self._unwrapped(body[:end], unwrap, part, read_ns, close=True) if full else [])

    def _plain(self, body: bytes, part: int, *, final: bool, close: bool, start: int = 0) -> list[Piece]:
        limit = self.units.most(self._source.max_line_bytes)
        if self._events is None:
            return frame(body, limit, part, final=final, units=self.units, start=start)
        return of_plain(body, limit, part, self.units, *self._events, final=final, close=close)

    def _unwrapped(self, raw: bytes, unwrap: Unwrap, part: int, read_ns: int, *, close: bool) -> list[Piece]:
        if self._events is None:
            limit = self.units.most(self._source.max_line_bytes)
            return join(raw, unwrap, limit, part, read_ns, final=close)
        return of_wrapped(raw, unwrap, read_ns, *self._events, final=close)
