"""A chunk → its lines, and those in which something was found. Compiled, this is an inner loop."""

from __future__ import annotations

from io import BytesIO
from typing import Final

from mypy_extensions import i64

Flags = dict[int, frozenset[int]]
"""Line number → the scans it needs, in the lines' order."""

Alone = dict[int, frozenset[int]]
"""A set for each scan by itself, made when it is first needed: most lines need one scan."""


def lines_in(data: bytes) -> list[bytes]:
    """Without their newlines; behind the last of these is no line."""
    return [line.removesuffix(b"\n") for line in BytesIO(data)]  # it looks for newlines by `memchr`; `split` does not


def split(data: bytes, found: list[tuple[int, int]], alone: Alone) -> tuple[list[bytes], Flags]:
    """`lines_in`, and which of them matches end in. found: where in `data` they end, each with its scan."""
    if not IS_COMPILED:
        lines = lines_in(data)
        return lines, by_line(lines, found, alone)
    lines = []
    flags: Flags = {}
    found.sort()
    taken, count = 0, len(found)
    never = len(data) + 1
    next_end = found[0][0] if count else never
    behind = 0
    for line in BytesIO(data):
        behind += len(line)
        # While the line is at hand: later it would have to be fetched from memory again.
        while next_end <= behind:
            _flag(flags, len(lines), found[taken][1], alone)
            taken += 1
            next_end = found[taken][0] if taken < count else never
        lines.append(line[:-1])
    if lines and not data.endswith(b"\n"):
        lines[-1] = line
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


def address_ends(data: bytes, most: int) -> list[int]:
    """Where matches of `shapes.ADDRESS` end, at most one more than `most`. An automaton takes four times as long for each."""
    ends: list[int] = []
    last: i64 = len(data) - 1
    at: i64 = data.find(b"@", 1)
    while 0 < at < last:
        if _may_end_local_part(data[at - 1]) and _is_letter_or_digit(data[at + 1]):
            ends.append(at + 2)
            if len(ends) > most:
                break
        at = data.find(b"@", at + 1)
    return ends


def _may_end_local_part(byte: i64) -> bool:
    return byte >= 0x80 or _is_letter_or_digit(byte) or byte in (0x2B, 0x2D, 0x2E, 0x5F)  # + - . _


def _is_letter_or_digit(byte: i64) -> bool:
    return 0x30 <= byte <= 0x39 or 0x41 <= byte <= 0x5A or 0x61 <= byte <= 0x7A


IS_COMPILED: Final = not hasattr(by_line, "__code__")
