"""Gives memory that was freed back to the system: glibc keeps it otherwise, and a start frees much."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache


def trim() -> None:
    """Takes a millisecond or so. Does nothing where the C library has no such call (musl gives pages back by itself)."""
    call = _malloc_trim()
    if call is not None:
        call(0)


@cache
def _malloc_trim() -> Callable[[int], int] | None:
    found: Callable[[int], int] | None = getattr(ctypes.CDLL(None), "malloc_trim", None)
    return found
