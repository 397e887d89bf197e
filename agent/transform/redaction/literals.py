"""Literals without which a pattern cannot match, read off its syntax tree; for the finder that has no automaton."""

from __future__ import annotations

import importlib
import re
from typing import Any

_parser: Any = importlib.import_module("re._parser")
_FEWEST = 2
_MOST = 64
_LONGEST_RUN = 16
_COMMON = frozenset({"val", "value", "content", "default", "name", "prod", "env"})
"""Words that stand in every line: as what a pattern needs they would be no help."""


def parse(pattern: str) -> Any:
    """The pattern's syntax tree as the stdlib sees it."""
    return _parser.parse(pattern)


def required(pattern: str) -> tuple[bytes, ...]:
    """Lower-case literals of which one is in every match; empty when there is no such set."""
    best = _of_sequence(parse(pattern))
    return tuple(literal.encode("latin-1") for literal in best) if best else ()


def _of_sequence(items: Any) -> list[str] | None:
    """The best set any part of a sequence gives: the one whose shortest literal is longest."""
    candidates: list[list[str]] = []
    run = ""
    for op, argument in items:
        name = str(op)
        if name == "LITERAL":
            run += chr(argument).lower() if argument < 0x80 else chr(argument)
            continue
        if len(run) >= _FEWEST:
            candidates.append([run])
        run = ""
        inner = _of_part(name, argument)
        if inner:
            candidates.append(inner)
    if len(run) >= _FEWEST:
        candidates.append([run])
    return max(candidates, key=lambda c: (_COMMON.isdisjoint(c), min(map(len, c)), -len(c)), default=None)


def _of_part(name: str, argument: Any) -> list[str] | None:
    if name == "SUBPATTERN":
        return _of_sequence(argument[-1])
    if name in ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT") and argument[0] >= 1:
        body = list(argument[2])
        if len(body) == 1 and str(body[0][0]) == "LITERAL" and body[0][1] < 0x80:
            return [chr(body[0][1]).lower() * min(argument[0], _LONGEST_RUN)] if argument[0] >= _FEWEST else None
        return _of_sequence(argument[2])
    if name == "BRANCH":
        together: list[str] = []
        for branch in argument[1]:
            inner = _of_sequence(branch)
            if not inner:
                return None
            together += inner
        return together if len(together) <= _MOST * 4 else None
    return None


_BACKTRACKS = re.compile(r"GROUPREF|ASSERT")


def not_linear(pattern: str) -> str | None:
    """Why a pattern could take more than linear time in a backtracking engine, or None."""
    return _worst(parse(pattern), repeated=False)


def _worst(items: Any, *, repeated: bool) -> str | None:
    open_ended = 0
    for op, argument in items:
        name = str(op)
        if _BACKTRACKS.match(name):
            return "it has a look-around or a back-reference"
        if name in ("MAX_REPEAT", "MIN_REPEAT"):
            low, high, body = argument
            varies = low != high and int(high) > 16
            if varies and repeated:
                return "it has a repeat inside a repeat"
            open_ended += varies
            problem = _worst(body, repeated=repeated or varies)
        elif name == "BRANCH":
            problem = next((p for p in (_worst(b, repeated=repeated) for b in argument[1]) if p), None)
        elif name == "SUBPATTERN":
            problem = _worst(argument[-1], repeated=repeated)
        else:
            problem = None
        if problem:
            return problem
    return "it has more than three open repeats" if open_ended > 3 else None
