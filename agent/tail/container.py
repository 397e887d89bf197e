"""What container runtimes wrap around a line, taken off. Pure.

    CRI      2026-01-02T03:04:05.678901234Z stdout F the line
             the tag P instead of F says that the line goes on in the next P or F of the same stream
    docker   {"log":"the line\\n","stream":"stdout","time":"2026-01-02T03:04:05.678901234Z"}
             a log text without newline goes on in the next of the same stream

A chunk is unwrapped at once, into columns. Nearly always every line is whole; only a chunk with parts is looked at line by
line. The two streams are interleaved, so a joined line may begin before lines of the other stream that end earlier. Reading
can only resume where no line is open, and so pieces end at such places.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import Literal

import msgspec

from agent.tail.framing import Piece, utf8_border

Format = Literal["plain", "cri", "docker"]

_HEADER = (
    rb"\0*(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)) (stdout|stderr) ([PF])[^ \n]*(?: |(?=\r?$))"
)
_CRI = re.compile(_HEADER)
_POINT, _UTC = b".Z"
# One match for each line, wrapped or not: a line without header is its own text.
_CRI_LINE = re.compile(rb"(?m)^(?:" + _HEADER + rb")?(.*)\n")
_TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9})\d*)?(Z|[+-]\d\d:\d\d)", re.ASCII)


Stream = str | bytes


@dataclass(frozen=True, slots=True)
class Columns:
    """Raw lines, unwrapped: parallel lists.

    streams: whose text it is; empty for a line that is not wrapped.
    ended:   false where the text goes on in the next line of its stream.
    """

    streams: Sequence[Stream]
    ended: Sequence[bool]
    texts: list[bytes]
    times_ns: list[int]


Unwrap = Callable[[bytes, int], Columns]
"""Whole raw lines and the time of those that carry none."""


class _Docker(msgspec.Struct):
    log: str
    stream: str
    time: str


_docker = msgspec.json.Decoder(_Docker)
_NO_RECORD = _Docker("", "", "")


def open_bytes(limit: int) -> int:
    """How many raw bytes a joined line, and what is interleaved with it, may span before it is cut."""
    return 2 * limit + 64 * 1024


def detect(first_line: bytes) -> Format:
    """The format of a file by its first line, or as much of it as there is."""
    if _CRI.match(first_line):
        return "cri"
    if first_line.startswith(b"{") and _docker_line(first_line) is not None:
        return "docker"
    return "plain"


def unwrap_cri(raw: bytes, read_ns: int) -> Columns:
    found = _CRI_LINE.findall(raw)
    if not found:
        return Columns((), (), [], [])
    stamps, streams, tags, texts = zip(*found, strict=True)
    times, odd = _times(stamps, read_ns)
    columns = Columns(streams, [tag != b"P" for tag in tags], list(texts), times)
    return _as_they_stand(columns, raw, [number for number in odd if stamps[number]]) if odd else columns


def _times(stamps: Iterable[bytes], read_ns: int) -> tuple[list[int], list[int]]:
    """Times, and the numbers of those that are none, which become `read_ns`."""
    times: list[int] = []
    odd: list[int] = []
    # What most times have in common with the one before them, up to the point of the second.
    known, known_ns = b"\n", 0
    for stamp in stamps:
        digits = stamp[20:-1]
        if stamp.startswith(known) and stamp[-1] == _UTC and digits.isdigit():
            times.append(known_ns + int(digits if len(digits) == 9 else digits[:9].ljust(9, b"0")))
            continue
        time_ns = _time_ns(stamp.decode("utf-8", "replace"))
        if time_ns is None:
            odd.append(len(times))
            time_ns = read_ns
        elif stamp[19] == _POINT and stamp[-1] == _UTC:
            known, known_ns = stamp[:20], time_ns - time_ns % 1_000_000_000
        times.append(time_ns)
    return times, odd


def _as_they_stand(columns: Columns, raw: bytes, odd: Iterable[int]) -> Columns:
    """With lines that look wrapped but name no time there is, such as the 30th of February, left as they are."""
    streams, ended, lines = list(columns.streams), list(columns.ended), raw.split(b"\n")
    for number in odd:
        streams[number], ended[number], columns.texts[number] = "", True, lines[number]
    return Columns(streams, ended, columns.texts, columns.times_ns)


def unwrap_docker(raw: bytes, read_ns: int) -> Columns:
    records: list[_Docker] = []
    with contextlib.suppress(msgspec.DecodeError, RecursionError):
        records = _docker.decode_lines(raw)
    if len(records) != raw.count(b"\n"):  # one of them is broken
        lines = raw.split(b"\n")[:-1]
        found = [_docker_line(line) for line in lines]
        # What is broken stands alone and is its own text: without a stream, like a line of no container.
        odd = [number for number, record in enumerate(found) if record is None]
        records = [record or _NO_RECORD for record in found]
    else:
        odd = []
    texts = [record.log.encode("utf-8", "replace") for record in records]
    ended = [text.endswith(b"\n") for text in texts]
    times, no_times = _times([record.time.encode("utf-8", "replace") for record in records], read_ns)
    columns = Columns(
        [record.stream for record in records],
        ended,
        [text[:-1] if end else text for text, end in zip(texts, ended, strict=True)],
        times,
    )
    return _as_they_stand(columns, raw, {*odd, *no_times}) if odd or no_times else columns


def _docker_line(line: bytes) -> _Docker | None:
    try:
        record = json.loads(line.lstrip(b"\0"))
    except (ValueError, RecursionError):  # covers broken JSON and broken UTF-8
        return None
    if not isinstance(record, dict) or not {"log", "stream", "time"} <= record.keys():
        return None
    log, time = record["log"], str(record["time"])
    if not isinstance(log, str) or _time_ns(time) is None:
        return None
    return _Docker(log, str(record["stream"]), time)


@lru_cache(maxsize=4096)
def _second_ns(second: str, zone: str) -> int | None:
    try:
        return int(datetime.fromisoformat(second + zone).timestamp()) * 1_000_000_000
    except ValueError:  # such as the 30th of February
        return None


def _time_ns(time: str) -> int | None:
    """Keeps every digit up to the ninth; `fromisoformat` alone would take six."""
    match = _TIME.match(time)
    start_ns = _second_ns(match[1], match[3]) if match else None
    return start_ns + int((match[2] or "").ljust(9, "0")) if match and start_ns is not None else None


UNWRAP: dict[Format, Unwrap | None] = {"plain": None, "cri": unwrap_cri, "docker": unwrap_docker}
CONFIGURED: dict[str, Format] = {"json": "plain", "text": "plain", "cri": "cri", "docker": "docker"}
"""What a source's `format` says of its files; `auto` says nothing."""


def join(raw: bytes, unwrap: Unwrap, limit: int, part: int, read_ns: int, *, final: bool = False) -> list[Piece]:
    """Unwrap whole raw lines and join those that belong together, up to the last place where none is open.

    A joined line that would exceed `limit` is cut. Its pieces are numbered parts when no other line is interleaved with
    them (which stream part n + 1 belongs to is not remembered over a restart: it is the first one seen); otherwise they
    are lines. What cannot be unwrapped is a line as it stands, at `read_ns`. `final` closes what is open at the end.
    """
    columns = unwrap(raw, read_ns)
    piece = None if part else _whole(raw, columns, limit)
    return [piece] if piece is not None else _Joiner(limit, part).join(raw, columns, final)


def _whole(raw: bytes, columns: Columns, limit: int) -> Piece | None:
    """All at once, when every raw line is one line."""
    texts = columns.texts
    if not texts or not all(columns.ended) or max(map(len, texts)) > limit:
        return None
    data = b"\n".join(texts) + b"\n"
    if b"\r" in data:
        data = data.replace(b"\r\n", b"\n")
    if data.count(b"\n") != len(texts):
        return None
    return Piece(len(raw), data, times_ns=tuple(columns.times_ns))


@dataclass(slots=True)
class _Open:
    """A line of which only the beginning was seen."""

    start: int
    time_ns: int
    texts: list[bytes] = field(default_factory=list)
    length: int = 0


class _Joiner:
    """One call of `join`.

    _start: where the piece in hand begins;  _clean: the last place where no line was open, with _clean_lines lines
    before it.  Lines after _clean are done themselves but wait for an older one of the other stream.
    """

    def __init__(self, limit: int, part: int) -> None:
        self._limit = limit
        self._most_open = open_bytes(limit)
        self._part = part
        self._pieces: list[Piece] = []
        self._lines: list[bytes] = []
        self._times: list[int] = []
        self._open: dict[Stream, _Open] = {}
        self._start = self._clean = self._clean_lines = 0

    def join(self, raw: bytes, columns: Columns, final: bool) -> list[Piece]:
        rows = zip(line_borders(raw), columns.streams, columns.ended, columns.texts, columns.times_ns, strict=True)
        for (at, end), stream, ended, text, time_ns in rows:
            line = self._open.get(stream)
            if line is None and ended and len(text) <= self._limit and not self._part and b"\n" not in text:
                self._lines.append(text.removesuffix(b"\r"))
                self._times.append(time_ns)
                if not self._open:
                    self._clean, self._clean_lines = end, len(self._lines)
                continue
            # Each raw line takes room although its text may be short: so many open bytes are too many whatever they say.
            if line is not None and (line.length + len(text) > self._limit or at - self._clean > self._most_open):
                self._cut(line, at)
                line = None
            if line is None:
                line = self._open[stream] = _Open(at, time_ns)
            line.texts.append(text)
            line.length += len(text)
            if ended:
                self._end(stream, line, end)
        if final and self._open:
            self._close(len(raw))
        self._piece()
        return self._pieces

    def _end(self, stream: Stream, line: _Open, end: int) -> None:
        del self._open[stream]
        line.texts = [b"".join(line.texts).removesuffix(b"\r")]
        if self._part and not self._open and len(self._lines) == self._clean_lines:
            self._numbered(line, end, last=True)
            return
        self._add(line)
        if not self._open:
            self._clean, self._clean_lines = end, len(self._lines)

    def _close(self, end: int) -> None:
        """Nobody knows whether what is open goes on."""
        only = next(iter(self._open.values()))
        if len(self._open) == 1 and len(self._lines) == self._clean_lines and only.length:
            self._open.clear()
            self._numbered(only, end, last=False)
        else:
            self._cut_all(end)

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
            for short in cut_text(text, self._limit):
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


def line_borders(raw: bytes) -> Iterator[tuple[int, int]]:
    at = 0
    while (newline := raw.find(b"\n", at)) >= 0:
        yield at, newline + 1
        at = newline + 1


def cut_text(text: bytes, limit: int) -> Iterator[bytes]:
    at = 0
    while len(text) - at > limit:
        border = utf8_border(text, at, at + limit)
        yield text[at:border]
        at = border
    yield text[at:]
