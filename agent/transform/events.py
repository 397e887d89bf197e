"""Lines that are one event become one entry. Pure.

Redaction has seen them one by one, so that a rule means the same in an event as alone.
"""

from __future__ import annotations

from collections.abc import Sequence


def gather(lines: list[bytes], counts: Sequence[int], ordered_out: Sequence[int]) -> tuple[list[bytes], list[int]]:
    """The events, and the numbers of those of which a rule ordered out every line. Of the others only the line goes."""
    out = frozenset(ordered_out)
    gathered: list[bytes] = []
    gone: list[int] = []
    at = 0
    for count in counts:
        end = at + count
        kept = lines[at:end] if not out else [lines[number] for number in range(at, end) if number not in out]
        if not kept:
            gone.append(len(gathered))
        gathered.append(b"\n".join(kept))
        at = end
    return gathered, gone
