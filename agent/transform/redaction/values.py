"""Where a value ends, quoted to any depth of escaping or bare, and where a name begins. Each function looks at each character once."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

_OPEN: Final = re.compile(r"(?:[brfuBRFU]{1,2}(?=\\*+[\"']))?(\\*+)([\"'`“‘])")
_QUOTES: Final = {q: re.compile(r"(\\*+)" + re.escape({"“": "”", "‘": "’"}.get(q, q))) for q in "\"'`“‘"}
_BARE: Final = re.compile(r"[^\s\"'`<>]++")
_BRACED: Final = re.compile(r"\{[^{}\"'\n:]{1,256}\}(?=[;\s,&)]|$)")
# Each way begins with a literal: only then the engine looks for them fast.
_CUT: Final = re.compile(
    r"&|;|,(?=$|[A-Za-z_][\w.\-]{0,40}[=:]|[\[{(])|\)(?=[,;:.]|$)|\\(?=\\*$)|\\(?=[rnt](?:[A-Z]|$))|\|(?=$)"
)
_OPENS: Final = frozenset("brfuBRFU\\\"'`“‘")
_LONGEST: Final = 65_536
DESCRIPTIVE: Final = frozenset(
    [
        *("path", "file", "backend", "engine", "method", "kind", "store"),
        *("type", "format", "in", "name", "namespace", "provider", "source", "region", "version", "status", "enabled"),
        *("minLength", "maxLength", "min_length", "max_length", "minimum", "maximum", "min", "max"),
        *("required", "nullable", "optional", "sensitive", "readOnly", "writeOnly"),
        *(
            "expires",
            "expires_at",
            "expiresAt",
            "expiration",
            "ttl",
            "created",
            "created_at",
            "createdAt",
            "updated_at",
        ),
    ]
)
"""What is said about a secret and is none: `"password": {"type": "string", "minLength": 12}`."""
_MOST_ITEMS: Final = 10_000


class Value(NamedTuple):
    start: int
    end: int
    quoted: bool


def _closes(backslashes: int, depth: int) -> bool:
    """A quote ends the string when it is escaped as deeply as the one that opened it.

    At depth 1 (\\") the content doubles, so a run of 1, 5, 9 … backslashes closes and one of 3 is content.
    """
    return backslashes % (2 * (depth + 1)) == depth if depth & (depth + 1) == 0 else backslashes <= depth


def quoted(text: str, at: int) -> Value | None:
    """The inside of the quoted string that begins at `at`; to the end of the text when it is never closed."""
    opening = _OPEN.match(text, at) if text[at : at + 1] in _OPENS else None
    if opening is None:
        return None
    depth, start = len(opening[1]), opening.end()
    triple = opening[1] + opening[2]
    if text.startswith(triple * 2, start) and not text.startswith(triple * 3, start):
        inside = start + 2 * len(triple)
        end = text.find(triple * 3, inside, inside + _LONGEST)
        return Value(inside, end if end >= 0 else min(len(text), inside + _LONGEST), True)
    if depth == 0 and opening[2] == "'" and text.startswith("'", start) and text[start + 1 : start + 2].isalnum():
        end = text.find("''", start + 1, start + 1 + _LONGEST)  # in a statement that is itself quoted
        if end > 0:
            return Value(start + 1, end, True)
    for close in _QUOTES[opening[2]].finditer(text, start, start + _LONGEST):
        if _closes(len(close[1]), depth):
            return Value(start, close.end() - 1 - depth, True)
    return Value(start, min(len(text), start + _LONGEST), True)


def bare(text: str, at: int, query: bool = False) -> Value | None:
    """An unquoted value: up to white space, a quote, `&`, `;`, or a comma before another name.

    query: of a parameter in a URL, which is empty where the next one or the fragment begins.
    """
    if query and text.startswith(("&", "#"), at):
        return None
    braced = _BRACED.match(text, at) if text.startswith("{", at) else None
    if braced is not None:
        return Value(braced.start(), braced.end(), False)
    run = _BARE.match(text, at)
    if run is None:
        return None
    start, end = run.start(), run.end()
    cut = _CUT.search(text, start + 1, end)
    if cut is not None:
        end = cut.start()
    if query:
        hash_at = text.find("#", start, end)
        end = hash_at if hash_at > start else end
    while end > start and (text[end - 1] in ".,:\\" or (text[end - 1] in ")]}" and _unbalanced(text, start, end))):
        end -= 1
    return Value(start, end, False) if end > start else None


def _unbalanced(text: str, start: int, end: int) -> bool:
    last = text[end - 1]
    return text.count({")": "(", "]": "[", "}": "{"}[last], start, end) < text.count(last, start, end)


_ITEM: Final = re.compile(r"[\]})]|\\*+[\"'`]")


def items(text: str, at: int, step: Callable[[], None]) -> Iterator[Value]:
    """The quoted strings in the list or dict that opens at `at`, its keys left out."""
    depth, position = 0, at
    if text[at : at + 1] not in ("[", "{", "("):
        return
    position = at + 1
    key = ""
    for _ in range(_MOST_ITEMS):
        step()
        found = _ITEM.search(text, position, at + _LONGEST)
        if found is None:
            return
        depth += sum(text.count(opening, position, found.start()) for opening in "[{(")
        if found[0] in "]})":
            if depth <= 0:
                return
            depth, position = depth - 1, found.end()
            continue
        value = quoted(text, found.start())
        if value is None:
            return
        position = value.end + len(found[0])
        if text[position : position + 3].lstrip().startswith((":", "=>")):
            key = text[value.start : value.end]
            continue
        if key not in DESCRIPTIVE:
            yield value
        key = ""


_NAME_CHARACTERS: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-[]$%"
_CLOSERS: Final = " \t\"'`\\])>"
_LONGEST_NAME: Final = 160
MARK: Final = "[REDACTED:"
"""The name of a rule in a mark of ours is no name."""


def name_before(text: str, at: int) -> tuple[str, int]:
    """The name that ends at `at`, quotes, brackets and spaces between left out."""
    low = max(0, at - _LONGEST_NAME)
    left = text[low:at]
    closed = left.rstrip(_CLOSERS)
    if not closed or len(left) - len(closed) > 24:
        return "", at
    if "]" in left[len(closed) :] and "[" in closed:
        closed = left[: len(closed)]
    kept = closed.rstrip(_NAME_CHARACTERS)
    while kept and ord(kept[-1]) > 0x7F and kept[-1].isalpha():
        kept = kept[:-1].rstrip(_NAME_CHARACTERS)
    name = closed[len(kept) :]
    start = low + len(closed) - len(name)
    if text.startswith(MARK, start - len(MARK)) or (len(name) <= 4 and _ends_base64(text, start, at)):
        return "", at
    return name, start


_BASE64_BEFORE: Final = re.compile(r"[A-Za-z0-9+/]{20}[+/]")


def _ends_base64(text: str, start: int, at: int) -> bool:
    """Whether what looks like a name and a separator is the end of a long run of base64, padding included."""
    return text.startswith("==", at) and _BASE64_BEFORE.fullmatch(text, max(0, start - 21), start) is not None
