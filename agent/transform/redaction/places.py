"""A chunk → its lines, and those in which something was found. Compiled, this is an inner loop."""

from __future__ import annotations

from typing import Final

Flags = dict[int, frozenset[int]]
"""Line number → the scans it needs, in the lines' order."""

Alone = dict[int, frozenset[int]]
"""A set for each scan by itself, made when it is first needed: most lines need one scan."""


def lines_in(data: bytes) -> list[bytes]:
    """Without their newlines; behind the last of these is no line."""
    lines = data.split(b"\n")
    if not lines[-1]:
        lines.pop()
    return lines


def split(data: bytes, found: list[tuple[int, int]], alone: Alone) -> tuple[list[bytes], Flags]:
    """`lines_in`, and which of them matches end in. found: where in `data` they end, each with its scan."""
    if not _IS_COMPILED:
        lines = lines_in(data)
        return lines, by_line(lines, found, alone)
    lines = []
    flags: Flags = {}
    found.sort()
    taken, count = 0, len(found)
    next_end = found[0][0] if count else len(data) + 2
    start, size = 0, len(data)
    while start < size:
        newline = data.find(b"\n", start)
        if newline < 0:
            newline = size
        # While the line is at hand: later it would have to be fetched from memory again.
        while next_end <= newline + 1:
            _flag(flags, len(lines), found[taken][1], alone)
            taken += 1
            next_end = found[taken][0] if taken < count else size + 2
        lines.append(data[start:newline])
        start = newline + 1
    return lines, flags


def by_line(lines: list[bytes], found: list[tuple[int, int]], alone: Alone) -> Flags:
    """Where matches end in a chunk of `lines`, each with its scan → the lines they end in.

    Adding up lengths costs a third of a look at each byte for newlines.
    """
    flags: Flags = {}
    if not found:
        return flags
    found.sort()
    number = 0
    newline = len(lines[0])
    for end, scan in found:
        while newline < end - 1:
            number += 1
            newline += len(lines[number]) + 1
        _flag(flags, number, scan, alone)
    return flags


def _flag(flags: Flags, number: int, scan: int, alone: Alone) -> None:
    scans = flags.get(number)
    if scans is None:
        one = alone.get(scan)
        if one is None:
            one = alone[scan] = frozenset((scan,))
        flags[number] = one
    elif scan not in scans:
        flags[number] = scans | {scan}


_IS_COMPILED: Final = not hasattr(by_line, "__code__")
