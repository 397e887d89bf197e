"""Chooses the finder: the fastest that works on this machine.

Old processors have died in Hyperscan, so a child process compiles the patterns there and tries them. That also keeps the
fifty megabytes that the compiler takes out of the agent.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Sequence
from typing import Literal

import msgspec

Engine = Literal["hyperscan", "re2", "re"]

Group = Sequence[tuple[str, int]]
"""Patterns and their numbers, to become one database."""

_CHILD = """
import sys
import hyperscan, msgspec
groups, text = msgspec.msgpack.decode(sys.stdin.buffer.read())
made = []
for group in groups:
    database = hyperscan.Database(mode=hyperscan.HS_MODE_BLOCK)
    database.compile(
        expressions=[pattern.encode() for pattern, _ in group], ids=[number for _, number in group], flags=[0] * len(group)
    )
    made.append(hyperscan.dumpb(database))
    again = hyperscan.loadb(made[-1], hyperscan.HS_MODE_BLOCK)
    again.scan(text, match_event_handler=lambda *_: None, scratch=hyperscan.Scratch(again))
sys.stdout.buffer.write(msgspec.msgpack.encode(made))
"""
_LONGEST_S = 60.0
# Something for every kind of code in the automaton: names, digits, long runs, what is not ASCII.
_TRIAL_TEXT = (
    b'{"a": "x ghp_abcd1234 y 1111-2222 bob@example.com", "password": "hunter2", "b": "eyJhbGci.eyJz.c2ln"}\n'
    b"4111 1111 1111 1111 DE89 3704 0044 0532 0130 00 \xc3\xa4 -----BEGIN PRIVATE KEY-----\n"
) * 64


class Unusable(Exception):
    """Hyperscan is not there, or dies on this machine."""


def compiled_in_child(groups: Sequence[Group]) -> list[bytes]:
    """Each group as a serialized Hyperscan database, after a first scan. Raises Unusable."""
    if importlib.util.find_spec("hyperscan") is None:
        raise Unusable("not installed")
    asked = msgspec.msgpack.encode((groups, _TRIAL_TEXT))
    try:
        child = subprocess.run(  # noqa: S603 - our own words
            [sys.executable, "-c", _CHILD], input=asked, capture_output=True, timeout=_LONGEST_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unusable(str(error)) from error
    if child.returncode:
        raise Unusable(f"exit code {child.returncode}")
    made: list[bytes] = msgspec.msgpack.decode(child.stdout, type=list[bytes])
    return made


def installed_engine() -> Engine:
    """The best that is installed, untried."""
    return "hyperscan" if importlib.util.find_spec("hyperscan") is not None else fallback_engine()


def fallback_engine() -> Engine:
    return "re2" if importlib.util.find_spec("re2") is not None else "re"
