"""The same text in other clothes: JSON escapes, percent, base64, terminal colours; each with the way back to the source."""

from __future__ import annotations

import html
import json
import re
import unicodedata
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from itertools import accumulate

from agent.transform.redaction.rule import Hit, WorkLimit

_JSON_ESCAPE = re.compile(
    r"(\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\u[0-9a-fA-F]{4}|\\.)", re.DOTALL
)
_ZERO_WIDTH, _FULL_WIDTH = r"\u200b-\u200f\u2060\ufeff\u00ad", r"\uff01-\uff5e\u00a0\u3000"
_DRESS = {
    "\x1b": r"\x1b\[[0-9;:?]{0,32}[A-Za-z]",
    "\\": r"\\(?:(?:u001[bB]|x1[bB]|033|e)\[[0-9;]{0,16}m|u200[b-fB-F]|(?<!\\\\)u00[2-7][0-9a-fA-F]|x(?:2[0-9a-fA-F]|5[cC]))",
    "&": "&(?:quot|lt|gt|apos|amp|#3[49]|#x2[27]);",
}
"""What text is dressed in, by its first character."""
_DRESS_BEGINS = {
    "\\": ("\\u00", "\\x1", "\\x2", "\\033", "\\e[", "\\u200"),
    "&": ("&quot;", "&lt;", "&gt;", "&apos;", "&#3", "&#x2"),
    "\x1b": ("\x1b",),
}
"""What any of it begins with: to look for these is faster than the pattern."""
_NOT_ASCII_DRESS = re.compile(f"[{_ZERO_WIDTH}{_FULL_WIDTH}]")
_PERCENT = re.compile(r"%(?:[0-7][0-9A-Fa-f]|[89A-Fa-f][0-9A-Fa-f](?:%[89A-Fa-f][0-9A-Fa-f])*)")
_LONG_RUN = 4_096
_BASE64_CHARACTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/_-"
_BASE64_RUN = re.compile(r"(?<![A-Za-z0-9+/_-])[A-Za-z0-9+/_\-]{24,}+={0,2}")


_MOST_REPLACED = 8_000
_MOST_ESCAPES = 100_000


class View:
    """Another form of a source text, and where each of its characters came from."""

    def __init__(self, source: str, pattern: re.Pattern[str], replace: Callable[[str], str]) -> None:
        parts: list[str] = []
        self._starts: list[float] = []
        self._ends: list[float] = []
        self._shifts: list[int] = [0]
        position = length = 0
        for number, found in enumerate(pattern.finditer(source)):
            if number > _MOST_REPLACED:
                raise WorkLimit("too much to decode")
            new = replace(found[0])
            parts += (source[position : found.start()], new)
            length += found.start() - position + len(new)
            position = found.end()
            self._starts.append(length)
            # A hit that ends where something was taken away ends before it.
            self._ends.append(length if new else length + 0.5)
            self._shifts.append(position - length)
        parts.append(source[position:])
        self.text = "".join(parts)

    def back(self, hit: Hit) -> Hit:
        """`hit` of this form, in the source's places."""
        start = hit.start + self._shifts[bisect_right(self._starts, hit.start)]
        end = hit.end + self._shifts[bisect_right(self._ends, hit.end)]
        return hit._replace(start=start, end=end)


def unescape(content: str) -> str:
    """What the inside of a JSON string stands for."""
    decoded: str = json.loads(f'"{content}"', strict=False)
    return decoded


class JsonView:
    """What the inside of a JSON string stands for has its places in there: each escape stands for one character."""

    def __init__(self, content: str) -> None:
        if content.count("\\") > _MOST_ESCAPES:
            raise WorkLimit("too much to decode")
        # Text and escape by turns.
        sizes = list(map(len, _JSON_ESCAPE.split(content)))
        self._ends = list(accumulate(sizes))[1::2]
        self._behind = [length + number for number, length in enumerate(accumulate(sizes[::2]), 1)]
        self._behind.pop()

    def back(self, hit: Hit) -> Hit:
        """`hit` of the decoded text, in the places of the content."""
        return hit._replace(start=self._source(hit.start), end=self._source(hit.end))

    def _source(self, place: int) -> int:
        before = bisect_right(self._behind, place)
        return self._ends[before - 1] + place - self._behind[before - 1] if before else place


def _undress(piece: str) -> str:
    if piece[0] == "&":
        return html.unescape(piece)
    if piece[0] == "\\":
        if piece[:2] == "\\x" and len(piece) == 4:
            return chr(int(piece.removeprefix("\\x"), 16))
        return (
            chr(int(piece.removeprefix("\\u"), 16))
            if piece[1] == "u" and piece[2:4] == "00" and len(piece) == 6
            else ""
        )
    return unicodedata.normalize("NFKC", piece) if "\uff01" <= piece <= "\uff5e" or piece in "\u00a0\u3000" else ""


@cache
def _dress(kinds: tuple[str, ...]) -> re.Pattern[str]:
    """One kind begins with a literal and is found many times as fast as several."""
    return re.compile("|".join(_DRESS.get(kind, kind) for kind in kinds))


def undressed(text: str) -> View | None:
    """Without colours and zero-width characters, full-width letters and needless escapes as plain ones."""
    kinds = [kind for kind, begins in _DRESS_BEGINS.items() if kind in text and any(begin in text for begin in begins)]
    if not text.isascii() and _NOT_ASCII_DRESS.search(text) is not None:
        kinds.append(_NOT_ASCII_DRESS.pattern)
    if not kinds:
        return None
    view = View(text, _dress(tuple(kinds)), _undress)
    return view if view.text != text else None


def _unpercent(piece: str) -> str:
    return bytes.fromhex(piece.replace("%", "")).decode("utf-8", "surrogateescape")


def unpercented(text: str) -> View | None:
    if "%" not in text:
        return None
    view = View(text, _PERCENT, _unpercent)
    return view if view.text != text else None


_PART_OF_RUN = re.compile(r"[^/]{24,}+")


def parts(run: str) -> Iterator[re.Match[str]]:
    """What may be base64 in a run of its characters that is none as a whole: segments of a path."""
    return _PART_OF_RUN.finditer(run)


def base64_runs_at(text: str, places: Iterable[int]) -> Iterator[tuple[int, int]]:
    """The runs that end at or behind one of `places`, which are sorted, and begin before it. A place may be one behind the end,
    at which the finder has seen that the run is over."""
    done = 0
    for behind in places:
        place = behind - 1
        if place <= done:
            continue
        # Backwards is slow, so a run of many thousands is looked for from the last one on.
        low = max(done, place - _LONG_RUN)
        left = len(text[low:place].rstrip(_BASE64_CHARACTERS))
        run = _BASE64_RUN.match(text, low + left) if left or low == done else _BASE64_RUN.search(text, done)
        while run is not None and run.end() < place:
            run = _BASE64_RUN.search(text, run.end())
        if run is not None:
            yield run.span()
            done = run.end()


def base64_runs(text: str) -> Iterator[re.Match[str]]:
    return _BASE64_RUN.finditer(text)
