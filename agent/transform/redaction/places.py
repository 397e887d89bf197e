"""Places in a chunk → the lines they are in. Compiled, this is an inner loop."""

from __future__ import annotations

from collections.abc import Sequence

Flags = dict[int, frozenset[int]]
"""Line number → the scans it needs, in the lines' order."""


def by_line(lines: Sequence[bytes], found: list[tuple[int, int]], alone: dict[int, frozenset[int]]) -> Flags:
    """Where matches end in a chunk of `lines`, each with its scan → the lines they end in.

    Adding up lengths costs a third of a look at each byte for newlines. alone: a set for each scan by itself, made when it is
    first needed: most lines need one scan.
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
        scans = flags.get(number)
        if scans is None:
            one = alone.get(scan)
            if one is None:
                one = alone[scan] = frozenset((scan,))
            flags[number] = one
        elif scan not in scans:
            flags[number] = scans | {scan}
    return flags
