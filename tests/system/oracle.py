"""What was written against what Loki has: nothing lost, nothing twice, nothing out of order."""

from __future__ import annotations

import itertools
import operator
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from agent import wire
from agent.demo.loki import LokiStandIn


def numbered(name: str, count: int, size: int = 900, first: int = 0) -> list[bytes]:
    """Lines that differ and hardly compress, of `size` random bytes in hex; the same each time."""
    dice = random.Random(f"{name} {first}")
    return [f"{name} {number} {dice.randbytes(size).hex()}".encode() for number in range(first, first + count)]


def append(path: Path, lines: Sequence[bytes]) -> None:
    with path.open("ab") as file:
        file.write(b"".join(line + b"\n" for line in lines))


def stored(loki: LokiStandIn) -> dict[str, list[bytes]]:
    """Lines by file name label, in the order in which Loki first took them."""
    found: dict[str, list[bytes]] = {}
    for labels, entries in itertools.groupby(loki.entries(), key=operator.attrgetter("labels")):
        found.setdefault(wire.parse_labels(labels)["filename"], []).extend(entry.line for entry in entries)
    return found


def difference(expected: Mapping[str, Sequence[bytes]], found: Mapping[str, Sequence[bytes]]) -> str:
    """Empty when each file's lines are there once and in order; else how many are not, and the first of them."""
    if {name: list(lines) for name, lines in expected.items()} == found:
        return ""
    told = [f"{name} was never written" for name in found.keys() - expected.keys()]
    for name, wanted in expected.items():
        had = found.get(name, [])
        counts, known = Counter(had), set(wanted)
        lost = [line for line in wanted if line not in counts]
        twice = sum(count - 1 for count in counts.values())
        kept = [line for line in had if line in known]
        order = list(dict.fromkeys(kept)) == [line for line in wanted if line in counts]
        told.append(
            f"{Path(name).name}: {len(wanted)} written, {len(lost)} lost, {twice} twice, {len(had) - len(kept)} foreign, "
            f"order {'kept' if order else 'broken'}{f', first lost {lost[0][:60]!r}' if lost else ''}"
        )
    return "; ".join(told)
