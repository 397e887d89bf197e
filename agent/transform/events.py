"""Lines that are one event become one entry. Pure.

Redaction has seen them one by one, so that a rule means the same in an event as alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def gather(
    lines: list[bytes], counts: Sequence[int], ordered_out: Sequence[int], tags: Mapping[int, str]
) -> tuple[list[bytes], list[int], dict[int, str]]:
    """(events, numbers of those of which a rule ordered out every line, their tags). Of the others only the line goes."""
    out = frozenset(ordered_out)
    gathered: list[bytes] = []
    gone: list[int] = []
    tagged: dict[int, str] = {}
    at = 0
    for count in counts:
        end = at + count
        kept = lines[at:end] if not out else [lines[number] for number in range(at, end) if number not in out]
        if not kept:
            gone.append(len(gathered))
        if tags and (rules := [tags[number] for number in range(at, end) if number in tags]):
            tagged[len(gathered)] = ",".join(dict.fromkeys(",".join(rules).split(",")))
        gathered.append(b"\n".join(kept))
        at = end
    return gathered, gone, tagged
