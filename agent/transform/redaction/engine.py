"""Chooses the finder: the fastest that works on this machine. Old processors have died in Hyperscan, so a child tries it."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from functools import cache
from typing import Literal

Engine = Literal["hyperscan", "re2", "re"]

_TRIAL = """
import hyperscan
database = hyperscan.Database(mode=hyperscan.HS_MODE_BLOCK)
database.compile(expressions=[rb"(?i)gh[po]_[a-z0-9]{8}", rb"[0-9]{4}-[0-9]{4}"], ids=[1, 2], flags=[0, 0])
found = []
database.scan(b"x ghp_abcd1234 y 1111-2222" * 50, match_event_handler=lambda *match: found.append(match[0]))
assert set(found) == {1, 2}
"""
_TRIAL_S = 30.0


@cache
def select_engine() -> Engine:
    """Starts a child process, once; call it at start and hand the answer to `Redactor.build`."""
    if importlib.util.find_spec("hyperscan") is not None:
        try:
            trial = subprocess.run([sys.executable, "-c", _TRIAL], capture_output=True, timeout=_TRIAL_S, check=False)  # noqa: S603 - our own words
        except (OSError, subprocess.TimeoutExpired):
            return fallback_engine()
        if trial.returncode == 0:
            return "hyperscan"
    return fallback_engine()


def installed_engine() -> Engine:
    """The best that is installed, untried."""
    return "hyperscan" if importlib.util.find_spec("hyperscan") is not None else fallback_engine()


def fallback_engine() -> Engine:
    return "re2" if importlib.util.find_spec("re2") is not None else "re"
