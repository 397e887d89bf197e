"""Values whose name stands above or beside them: columns of CSV, two columns of a listing, the frames that loguru draws."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from agent.transform.redaction.prose import is_random
from agent.transform.redaction.rule import Hit
from agent.transform.redaction.values import MARK, name_before

if TYPE_CHECKING:
    from agent.transform.redaction.names import Verdict
    from agent.transform.redaction.verify import Verifier

# Each branch begins with a character of its own, which the engine looks for fast.
_BREAK = re.compile(r"\n|\r\n|\\\\{0,15}(?:n|r\\{1,16}n)")
_LINES = re.compile(f"({_BREAK.pattern})")
_PLAIN_LINES = re.compile(r"(\n)")
"""The same where nothing is escaped: a literal, which the engine looks for fast."""
_CELL = re.compile(r"[\w .\-\"'\\]{0,80}")
_GAP = re.compile(r"(?:\t|\\{1,16}t)[ \t]{0,8}(?=[^\s|│])| {2,40}(?=[^\s|│])")
_QUOTES = " \t\"'\\"
_LONGEST_HEADER = 2_000
_MOST_CELLS = 40
_CHEAP = 6
"""So many lines that are no header cost what a candidate costs."""
_MOST_ROWS = 1_000
_LONGEST_ROW = 4_000


def scan_columns(text: str, verifier: Verifier) -> Iterator[Hit]:
    """`user,password` and then rows of as many cells; `password<tab>x`."""
    if "\n" in text or "\\n" in text:
        verifier.work.affords(text.count("\\n" if "\\" in text else "\n") // _CHEAP)
        # Line and break by turns.
        parts = (_LINES if "\\" in text else _PLAIN_LINES).split(text)
        at = 0
        for number, (line, ending) in enumerate(zip(parts[::2], parts[1::2], strict=False)):
            at += len(line) + len(ending)
            if number % _CHEAP == 0:
                verifier.step()
            if line.endswith((":", ":\r")):
                yield from _below(line[-_LONGEST_HEADER:].removesuffix("\r"), text, at, verifier)
            if "," in line or ";" in line or "\t" in line:
                header = line[-_LONGEST_HEADER:].removesuffix("\r")
                for comma in (c for c in ",;\t" if 0 < header.count(c) <= _MOST_CELLS):
                    yield from _under(header.split(comma), text, at, comma, verifier)
    for gap in verifier.each(_GAP, text) if "\t" in text or "\\t" in text or "  " in text else ():
        name, _ = name_before(text, gap.start())
        verdict = verifier.names.verdict(name) if name else None
        value = verifier.value(text, gap.end()) if verdict else None
        if verdict and value and is_random(text[value.start : value.end], verdict):
            yield Hit(value.start, value.end, verdict.rule)


_INDENTED = re.compile(r" {2,40}(?P<value>[^\s\"'\\:]{7,256})(?=[\r\n]|\\{1,16}[rn]|\Z)")


def _below(header: str, text: str, at: int, verifier: Verifier) -> Iterator[Hit]:
    """`password:` and the value by itself on the next line, further in."""
    name, start = name_before(header, len(header) - 1)
    name = name[1:] if header[start - 1 : start] == "\\" and name[:1] in ("n", "r", "t") else name
    verdict = verifier.names.verdict(name) if name else None
    below = _INDENTED.match(text, at) if verdict else None
    if verdict and below and is_random(below["value"], verdict):
        yield Hit(*below.span("value"), verdict.rule)


def _under(cells: list[str], text: str, at: int, comma: str, verifier: Verifier) -> Iterator[Hit]:
    """Before the first name may stand what a log line begins with."""
    if not all(_CELL.fullmatch(cell) for cell in cells[1:]):
        return
    names = [cell.strip(_QUOTES) for cell in (re.split(r"[\s:\"'\\]", cells[0].strip(_QUOTES))[-1], *cells[1:])]
    verdicts = [None if MARK in cell else verifier.names.verdict(name) for name, cell in zip(names, cells, strict=True)]
    if any(verdicts):
        yield from _rows(text, at, comma, names, verdicts, verifier)


def _rows(
    text: str, at: int, comma: str, names: list[str], verdicts: list[Verdict | None], verifier: Verifier
) -> Iterator[Hit]:
    for _ in range(_MOST_ROWS):
        verifier.step()
        end = _BREAK.search(text, at, at + _LONGEST_ROW)
        row = text[at : end.start() if end else at + _LONGEST_ROW]
        if not row or row.count(comma) != len(verdicts) - 1:
            return
        start = at
        for cell, name, verdict in zip(row.split(comma), names, verdicts, strict=True):
            value = cell.strip(_QUOTES)
            if verdict:
                verifier.step()
            if verdict and value and not verifier.gate.leaves_in_text(name, value, verdict, True, False):
                begin = start + cell.index(value)
                yield Hit(begin, begin + len(value), verdict.rule)
            start += len(cell) + 1
        if end is None:
            return
        at = end.end()


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
    value = verifier.value(text, at) if verdict else None
    if verdict and value and not verifier.gate.leaves(text[value.start : value.end], verdict):
        yield Hit(value.start, value.end, verdict.rule)
