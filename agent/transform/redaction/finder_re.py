"""The finder without any package: the standard library's `re`, tens of times slower than the others.

A pattern runs only on lines that hold a literal it cannot do without; the few that need none run over the chunk. What
secrets look like in base64 is known by the four characters it begins with, looked up in a set.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import product

from agent.transform.redaction import literals
from agent.transform.redaction.catalogue import BASE64_ANCHOR_LENGTH, Needle
from agent.transform.redaction.places import Flags, lines_in
from agent.transform.redaction.verify import HOPELESS
from agent.transform.redaction.windows import Places, places_by_piece

_RUN = re.compile(rb"[A-Za-z0-9+/_\-]{12,}+")
_LONGEST = 256 * 1024
"""This engine backtracks: a longer line could take it seconds, so such a line is given up."""
_CLASSES = {"[+-]": "+-", "[/_]": "/_"}
_PART = re.compile(r"\[\+-\]|\[/_\]|[A-Za-z0-9]")


_STEMS = (
    *(b"pass", b"token", b"secret", b"login", b"key", b"session", b"pin", b"otp"),
    *(b"pw", b"jwt", b"csrf", b"iban", b"cred", b"cookie", b"psk", b"auth"),
)
_MOST_STEMS = 12_000
_LONG = 64 * 1024
_SAMPLES, _SAMPLE_BYTES = 256, 256


def is_dense(text: bytes) -> bool:
    """A long text of little but the words that patterns begin with: no automaton is quick where each word is a beginning.

    Judged by samples from all over it.
    """
    if len(text) < _LONG:
        return False
    sample = b"".join([text[at : at + _SAMPLE_BYTES] for at in range(0, len(text), len(text) // _SAMPLES)]).lower()
    return sum(map(sample.count, _STEMS)) * len(text) > _MOST_STEMS * len(sample)


class ReFinder:
    """Patterns one by one, each only where it has a chance."""

    engine = "re"

    def __init__(self, needles: Sequence[Needle]) -> None:
        self._everywhere: list[tuple[re.Pattern[bytes], int]] = []
        self._by_literal: dict[bytes, list[tuple[re.Pattern[bytes], int]]] = defaultdict(list)
        self._by_start: dict[bytes, list[tuple[re.Pattern[bytes], int]]] = defaultdict(list)
        for needle in needles:
            entry = (re.compile(needle.pattern.encode()), needle.scan)
            if needle.base64:
                for start in _starts(needle.pattern):
                    self._by_start[start].append(entry)
                continue
            needed = literals.required(needle.pattern)
            if not needed:
                self._everywhere.append(entry)
            for literal in needed:
                self._by_literal[literal].append(entry)

    def split(self, data: bytes, /) -> tuple[list[bytes], Flags]:
        lines = lines_in(data)
        if any(len(line) > _LONG for line in lines):
            each = ((number, self.scans_of(line)) for number, line in enumerate(lines))
            return lines, {number: scans for number, scans in each if scans}
        flags: dict[int, set[int]] = {}
        ends: list[int] = []
        total = -1
        for line in lines:
            total += len(line) + 1
            ends.append(total)
        starts = {0: 0} | {end + 1: number + 1 for number, end in enumerate(ends)}
        for start, scan in self._matches(data):
            flags.setdefault(starts[start], set()).add(scan)
        return lines, {number: frozenset(scans) for number, scans in sorted(flags.items())}

    def scans_of(self, text: bytes) -> frozenset[int]:
        if len(text) > _LONGEST or is_dense(text):
            return frozenset((HOPELESS,))
        return frozenset(scan for _, scan in self._matches(text))

    def places_of(self, text: bytes) -> Places | None:
        return None if len(text) > _LONGEST or is_dense(text) else places_by_piece(text, self.scans_of)

    def _matches(self, data: bytes) -> Iterator[tuple[int, int]]:
        """Start of the line, scan."""
        for pattern, scan in self._everywhere:
            for found in pattern.finditer(data):
                yield data.rfind(b"\n", 0, found.end() - 1) + 1, scan
        done: set[tuple[int, int]] = set()
        lowered = data.lower()
        for literal, entries in self._by_literal.items():
            at = lowered.find(literal)
            while at >= 0:
                start = data.rfind(b"\n", 0, at) + 1
                end = data.find(b"\n", at)
                end = len(data) if end < 0 else end
                for entry in entries:
                    pattern, scan = entry
                    if (start, id(entry)) not in done:
                        done.add((start, id(entry)))
                        if pattern.search(data, start, end):
                            yield start, scan
                at = lowered.find(literal, end)
        yield from self._base64(data)

    def _base64(self, data: bytes) -> Iterator[tuple[int, int]]:
        starts = self._by_start
        if not starts:
            return
        width = BASE64_ANCHOR_LENGTH
        for run in _RUN.finditer(data):
            text = run[0]
            for place in range(len(text) - width + 1):
                for pattern, scan in starts.get(text[place : place + width], ()):
                    if pattern.match(text, place):
                        yield data.rfind(b"\n", 0, run.start()) + 1, scan


def _starts(pattern: str) -> list[bytes]:
    """The first characters of a base64 pattern, with `+` and `/` in both alphabets."""
    parts = _PART.findall(pattern)[:BASE64_ANCHOR_LENGTH]
    return ["".join(choice).encode() for choice in product(*(_CLASSES.get(part, part) for part in parts))]
