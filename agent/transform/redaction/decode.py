"""The same text in other clothes: JSON escapes, percent, base64, terminal colours; each with the way back to the source."""

from __future__ import annotations

import html
import json
import re
import unicodedata
from bisect import bisect_right
from collections.abc import Callable, Iterator

from agent.transform.redaction.rule import Hit, WorkLimit

_JSON_ESCAPE = re.compile(
    r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\u[0-9a-fA-F]{4}|\\.", re.DOTALL
)
_DRESS = re.compile(
    r"\x1b\[[0-9;:?]{0,32}[A-Za-z]|\\(?:u001[bB]|x1[bB]|033|e)\[[0-9;]{0,16}m|[\u200b-\u200f\u2060\ufeff\u00ad]|[\uff01-\uff5e\u00a0\u3000]"
    r"|&(?:quot|lt|gt|apos|amp|#3[49]|#x2[27]);|\\u200[b-fB-F]|(?<!\\)\\u00[2-7][0-9a-fA-F]"
)
_MAY_BE_DRESSED = re.compile(
    r"[\x1b\u200b-\u200f\u2060\ufeff\u00ad\uff01-\uff5e\u00a0\u3000]|\\(?:u00|x1|033|e\[|u200)|&(?:quot|lt|gt|apos|#3[49]|#x2[27]);"
)
_PERCENT = re.compile(r"%(?:[0-7][0-9A-Fa-f]|[89A-Fa-f][0-9A-Fa-f](?:%[89A-Fa-f][0-9A-Fa-f])*)")
_BASE64_RUN = re.compile(r"(?<![A-Za-z0-9+/_-])[A-Za-z0-9+/_\-]{24,}+={0,2}")


_MOST_REPLACED = 20_000


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


def json_view(content: str) -> View:
    return View(content, _JSON_ESCAPE, unescape)


def _undress(piece: str) -> str:
    if piece[0] == "&":
        return html.unescape(piece)
    if piece[0] == "\\":
        return (
            chr(int(piece.removeprefix("\\u"), 16))
            if piece[1] == "u" and piece[2:4] == "00" and len(piece) == 6
            else ""
        )
    return unicodedata.normalize("NFKC", piece) if "\uff01" <= piece <= "\uff5e" or piece in "\u00a0\u3000" else ""


def undressed(text: str) -> View | None:
    """Without colours and zero-width characters, full-width letters and needless escapes as plain ones."""
    escapes, ascii_only = "\\" in text, text.isascii()
    if ascii_only and not escapes and "\x1b" not in text and "&" not in text:
        return None
    if _MAY_BE_DRESSED.search(text) is None:
        return None
    view = View(text, _DRESS, _undress)
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


def base64_runs(text: str) -> Iterator[re.Match[str]]:
    return _BASE64_RUN.finditer(text)
