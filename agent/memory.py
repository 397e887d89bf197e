"""Gives memory back to the system: what was freed, which glibc keeps otherwise, and the code that only a start needs."""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

_DONTNEED = 4
"""Of `madvise`, Linux `include/uapi/asm-generic/mman-common.h`."""


def trim() -> None:
    """Takes a millisecond or so. Does nothing where the C library has no such call (musl gives pages back by itself)."""
    call = _malloc_trim()
    if call is not None:
        call(0)


def let_code_go() -> None:
    """The libraries' code leaves the resident set: a quarter of it, and most is not needed once the agent has started.

    What is needed after all comes back from the page cache, sixteen pages at a time and in a microsecond. Does nothing without
    `/proc`.
    """
    advise = getattr(ctypes.CDLL(None), "madvise", None)
    if advise is not None:
        for start, size in list(_code()):
            # A refusal (of pages that are locked, say) leaves them where they are.
            advise(ctypes.c_void_p(start), ctypes.c_size_t(size), _DONTNEED)


def _code() -> Iterator[tuple[int, int]]:
    """Where files are mapped to be run as they are, and how many bytes of them. Where something was written (a debugger's
    breakpoint), that would be lost.

    proc(5): `55d0-55f0 r-xp 00001000 fd:00 123 /usr/lib/x.so`, and behind it lines such as `Anonymous: 0 kB`.
    """
    start = end = 0
    with contextlib.suppress(OSError), Path("/proc/self/smaps").open() as lines:
        for line in lines:  # some ten thousand
            fields = line.split(maxsplit=5)
            if fields[1:2] == ["r-xp"] and fields[-1].startswith("/"):
                start, end = (int(place, 16) for place in fields[0].split("-"))
            elif fields[:1] == ["Anonymous:"]:
                if int(fields[1]) == 0 and start < end:
                    yield start, end - start
                start = end = 0


@cache
def _malloc_trim() -> Callable[[int], int] | None:
    found: Callable[[int], int] | None = getattr(ctypes.CDLL(None), "malloc_trim", None)
    return found
