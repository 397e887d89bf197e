"""What container runtimes wrap around a line, taken off. Pure.

    CRI      2026-01-02T03:04:05.678901234Z stdout F the line
             the tag P instead of F says that the line goes on in the next P or F of the same stream
    docker   {"log":"the line\\n","stream":"stdout","time":"2026-01-02T03:04:05.678901234Z"}
             a log text without newline goes on in the next of the same stream

The two streams are interleaved, so a joined line may begin before lines of the other stream that end earlier. Reading can
only resume where no line is open, and so pieces end at such places.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import Literal

from agent.tail.framing import Piece, utf8_border

Format = Literal["plain", "cri", "docker"]

_CRI = re.compile(
    rb"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9})\d*)?(Z|[+-]\d\d:\d\d) (stdout|stderr) ([PF])\S*(?: |$)"
)
_TIME = re.compile(rb"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9})\d*)?(Z|[+-]\d\d:\d\d)")


@dataclass(frozen=True, slots=True)
class Wrapped:
    """One raw line, unwrapped. `ended` is false when its text goes on in the next of its stream."""

    stream: str
    ended: bool
    text: bytes
    time_ns: int


Unwrap = Callable[[bytes], Wrapped | None]


@dataclass(slots=True)
class _Open:
    """A line of which only the beginning was seen."""

    time_ns: int
    texts: list[bytes] = field(default_factory=list)
    length: int = 0


def open_bytes(limit: int) -> int:
    """How many raw bytes a joined line, and what is interleaved with it, may span before it is cut."""
    return 2 * limit + 64 * 1024


def detect(first_line: bytes) -> Format:
    """The format of a file by its first line, or as much of it as there is."""
    if _CRI.match(first_line):
        return "cri"
    if first_line.startswith(b"{") and unwrap_docker(first_line) is not None:
        return "docker"
    return "plain"


def unwrap_cri(line: bytes) -> Wrapped | None:
    match = _CRI.match(line)
    if match is None:
        return None
    time_ns = _time_ns(match[1], match[2], match[3])
    if time_ns is None:
        return None
    return Wrapped(match[4].decode(), match[5] == b"F", line[match.end() :], time_ns)


def unwrap_docker(line: bytes) -> Wrapped | None:
    try:
        record = json.loads(line)
    except ValueError:  # covers broken JSON and broken UTF-8
        return None
    if not isinstance(record, dict) or not {"log", "stream", "time"} <= record.keys():
        return None
    log, match = record["log"], _TIME.match(str(record["time"]).encode("utf-8", "replace"))
    time_ns = _time_ns(match[1], match[2], match[3]) if match else None
    if not isinstance(log, str) or time_ns is None:
        return None
    text = log.encode("utf-8", "replace")
    ended = text.endswith(b"\n")
    return Wrapped(str(record["stream"]), ended, text[:-1].removesuffix(b"\r") if ended else text, time_ns)


@lru_cache(maxsize=256)
def _epoch_s(second: bytes, zone: bytes) -> int | None:
    try:
        return int(datetime.fromisoformat((second + zone).decode()).timestamp())
    except ValueError:  # such as the 30th of February
        return None


def _time_ns(second: bytes, fraction: bytes | None, zone: bytes) -> int | None:
    epoch_s = _epoch_s(second, zone)
    return None if epoch_s is None else epoch_s * 1_000_000_000 + int((fraction or b"").ljust(9, b"0"))


def join(raw: bytes, unwrap: Unwrap, limit: int, part: int, read_ns: int, *, final: bool = False) -> list[Piece]:
    """Unwrap whole raw lines and join those that belong together, up to the last place where none is open.

    A joined line that would exceed `limit` is cut. Its pieces are numbered parts when no other line is interleaved with
    them (which stream part n + 1 belongs to is not remembered over a restart: it is the first one seen); otherwise they
    are lines. What cannot be unwrapped is a line as it stands, at `read_ns`. `final` closes what is open at the end.
    """
    return _Joiner(unwrap, limit, part, read_ns).join(raw, final)


UNWRAP: dict[Format, Unwrap | None] = {"plain": None, "cri": unwrap_cri, "docker": unwrap_docker}
CONFIGURED: dict[str, Format] = {"json": "plain", "text": "plain", "cri": "cri", "docker": "docker"}
"""What a source's `format` says of its files; `auto` says nothing."""


class _Joiner:
    """One call of `join`.

    _start: where the piece in hand begins;  _clean: the last place where no line was open, with _clean_lines lines
    before it.  Lines after _clean are done themselves but wait for an older one of the other stream.
    """

    def __init__(self, unwrap: Unwrap, limit: int, part: int, read_ns: int) -> None:
        self._unwrap = unwrap
        self._limit = limit
        self._part = part
        self._read_ns = read_ns
        self._pieces: list[Piece] = []
        self._lines: list[bytes] = []
        self._times: list[int] = []
        self._open: dict[str, _Open] = {}
        self._start = self._clean = self._clean_lines = 0

    def join(self, raw: bytes, final: bool) -> list[Piece]:
        for at, end in _line_borders(raw):
            line = raw[at : end - 1].removesuffix(b"\r")
            self._take(self._unwrap(line) or Wrapped("", True, line, self._read_ns), at, end)
        if final and self._open:
            self._cut_all(len(raw))
        self._piece()
        return self._pieces

    def _take(self, wrapped: Wrapped, at: int, end: int) -> None:
        line = self._open.get(wrapped.stream)
        if line is not None and line.length + len(wrapped.text) > self._limit:
            self._cut(line, at)
            line = None
        # Each raw line takes room although its text may be short: so many open bytes are too many whatever they say.
        if line is not None and at - self._clean > open_bytes(self._limit):
            self._cut(line, at)
            line = None
        if line is None:
            line = self._open[wrapped.stream] = _Open(wrapped.time_ns)
        line.texts.append(wrapped.text)
        line.length += len(wrapped.text)
        if wrapped.ended:
            self._end(wrapped.stream, line, end)

    def _end(self, stream: str, line: _Open, end: int) -> None:
        del self._open[stream]
        if self._part and not self._open and len(self._lines) == self._clean_lines:
            self._numbered(line, end, last=True)
            return
        self._add(line)
        if not self._open:
            self._clean, self._clean_lines = end, len(self._lines)

    def _cut(self, line: _Open, at: int) -> None:
        """The line has grown too long at raw offset `at`: it ends here and goes on as a part, or as a line."""
        if len(self._open) == 1 and len(self._lines) == self._clean_lines:
            self._open.clear()
            self._numbered(line, at, last=False)
        else:
            self._cut_all(at)

    def _cut_all(self, at: int) -> None:
        for line in self._open.values():
            self._add(line)
        self._open.clear()
        self._clean, self._clean_lines = at, len(self._lines)

    def _numbered(self, line: _Open, end: int, *, last: bool) -> None:
        self._piece()
        text = b"".join(line.texts)
        if b"\n" in text or len(text) > self._limit:  # odd enough to do without a number
            self._add(line)
            self._clean, self._clean_lines = end, len(self._lines)
            return
        number = self._part + 1
        self._pieces.append(
            Piece(end - self._start, text + b"\n", number, 0 if last else number, times_ns=(line.time_ns,))
        )
        self._start = self._clean = end
        self._part = 0 if last else number

    def _add(self, line: _Open) -> None:
        self._part = 0
        for text in b"".join(line.texts).split(b"\n"):
            for short in _cut_text(text, self._limit):
                self._lines.append(short)
                self._times.append(line.time_ns)

    def _piece(self) -> None:
        """Close the piece in hand at the last clean place."""
        if self._clean > self._start:
            count = self._clean_lines
            data = b"".join([line + b"\n" for line in self._lines[:count]])
            self._pieces.append(Piece(self._clean - self._start, data, times_ns=tuple(self._times[:count])))
            del self._lines[:count], self._times[:count]
            self._start, self._clean_lines = self._clean, 0


def _line_borders(raw: bytes) -> Iterator[tuple[int, int]]:
    at = 0
    while (newline := raw.find(b"\n", at)) >= 0:
        yield at, newline + 1
        at = newline + 1


def _cut_text(text: bytes, limit: int) -> Iterator[bytes]:
    at = 0
    while len(text) - at > limit:
        border = utf8_border(text, at, at + limit)
        yield text[at:border]
        at = border
    yield text[at:]
