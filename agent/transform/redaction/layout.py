"""Values whose name stands above or beside them: columns of CSV, two columns of a listing, the frames that loguru draws."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from agent.transform.redaction import checks
from agent.transform.redaction.names import Verdict
from agent.transform.redaction.prose import strong
from agent.transform.redaction.rule import Hit
from agent.transform.redaction.values import bare, quoted

if TYPE_CHECKING:
    from agent.transform.redaction.verify import Verifier

_BREAK = r"(?:\r?\n|(?:\\+r)?\\+n)"
_HEADER = re.compile(
    rf"(?P<cells>[\w .\-\"'\\]{{1,80}}(?:(?P<comma>[,;]|\t)[\w .\-\"'\\]{{1,80}}(?:(?P=comma)[\w .\-\"'\\]{{1,80}}){{0,40}})){_BREAK}"
)
_ROW = re.compile(rf"(?P<row>[^\r\n]{{1,4000}}?)(?:{_BREAK}|\Z)")
_QUOTES = " \t\"'\\"
_MOST_ROWS = 1_000


def scan_columns(text: str, verifier: Verifier) -> Iterator[Hit]:
    """`user,password` and then rows of as many cells; `password<tab>x`."""
    for header in verifier.each(_HEADER, text):
        comma = header["comma"]
        names = [cell.strip(_QUOTES) for cell in header["cells"].split(comma)]
        verdicts = [verifier.names.verdict(name) for name in names]
        if any(verdicts):
            yield from _rows(text, header.end(), comma, names, verdicts, verifier)
    for beside in verifier.each(_BESIDE, text):
        verdict = verifier.names.verdict(beside["name"])
        value = (quoted(text, beside.end()) or bare(text, beside.end())) if verdict else None
        if verdict and value and _is_random(text[value.start : value.end], verdict):
            yield Hit(value.start, value.end, verdict.rule)


def _rows(
    text: str, at: int, comma: str, names: list[str], verdicts: list[Verdict | None], verifier: Verifier
) -> Iterator[Hit]:
    for _ in range(_MOST_ROWS):
        verifier.step()
        row = _ROW.match(text, at)
        if row is None or row["row"].count(comma) != len(verdicts) - 1:
            return
        start = row.start()
        for cell, name, verdict in zip(row["row"].split(comma), names, verdicts, strict=True):
            value = cell.strip(_QUOTES)
            if verdict and value and not verifier.gate.leaves_in_text(name, value, verdict, True, False):
                begin = start + cell.index(value)
                yield Hit(begin, begin + len(value), verdict.rule)
            start += len(cell) + 1
        at = row.end()


_BESIDE = re.compile(r"(?<![\w.\-])(?P<name>[^\W\d_][\w.\-]{1,60})[\"']?(?:(?:\t|\\+t)[ \t]{0,8}| {2,40})(?=[^\s|│])")


def _is_random(value: str, verdict: Verdict) -> bool:
    """A listing also names things: `token   default-token-x2k4q`."""
    if verdict.rule == "password":
        return strong(value, 8)
    return strong(value, 16) and not checks.is_a_name(value) and not checks.UUID.fullmatch(value)


_FRAME = re.compile(r"(?P<branch>└) (?=[^\s])")
_DRAWN = re.compile(r"[ │└]*[│└].*")
_IDENTIFIER = re.compile(r"[A-Za-z_]\w*")
_MOST_FRAMES = 40


def scan_frames(text: str, verifier: Verifier) -> Iterator[Hit]:
    """`login(user, password)` and below it, in the column of each name, a branch and the name's value."""
    for branch in verifier.each(_FRAME, text, 4):
        line = text.rfind("\n", 0, branch.start()) + 1
        column = branch.start() - line
        for _ in range(_MOST_FRAMES):
            end = line - 1
            if end < 0:
                break
            line = text.rfind("\n", 0, end) + 1
            above = text[line:end]
            if _DRAWN.fullmatch(above) is None:
                yield from _named_above(text, above, column, branch.end(), verifier)
                break


def _named_above(text: str, above: str, column: int, at: int, verifier: Verifier) -> Iterator[Hit]:
    name = next((found[0] for found in _IDENTIFIER.finditer(above) if found.start() <= column < found.end()), "")
    verdict = verifier.names.verdict(name) if name else None
    value = (quoted(text, at) or bare(text, at)) if verdict else None
    if verdict and value and not verifier.gate.leaves(text[value.start : value.end], verdict):
        yield Hit(value.start, value.end, verdict.rule)
