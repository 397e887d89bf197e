"""Finders: which lines of a chunk may hold a secret, and of which kinds. Three of them, one answer.

Hyperscan scans the whole chunk once and reports where matches end; google-re2 scans line by line; the one made of the
stdlib's `re` is in finder_re.py.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.metadata
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import count
from typing import Any, Protocol

import msgspec

from agent.transform.redaction import numbers, places
from agent.transform.redaction.catalogue import Needle
from agent.transform.redaction.engine import Unusable, compiled_in_child, fallback_engine, installed_engine
from agent.transform.redaction.finder_re import ReFinder, is_dense
from agent.transform.redaction.places import Flags, address_ends, by_line, lines_in, split
from agent.transform.redaction.shapes import ADDRESS, RUN_BYTES, RUN_GATE
from agent.transform.redaction.verify import HOPELESS
from agent.transform.redaction.windows import LONG, Places, places_by_piece

_MOST_MATCHES = 15_000
"""In one line. A large chunk of ordinary lines may have more, one in `_BYTES_A_MATCH`."""
_BYTES_A_MATCH = 16
_TRIED = 4
"""Lines behind a gate, until how many there are is judged."""


class TooManyMatches(Exception):
    """A text matches so often that counting on would cost more than it is worth."""


class Finder(Protocol):
    engine: str

    def split(self, data: bytes, /) -> tuple[list[bytes], Flags]:
        """The lines of a chunk, and what of `scans_of` each of them needs."""
        ...

    def scans_of(self, text: bytes) -> frozenset[int]: ...

    def places_of(self, text: bytes) -> Places | None:
        """Where in a long text matches end, and their scans, in any order; None when the text is not worth the time."""
        ...


class Store(Protocol):
    """Where compiled patterns are kept from one start to the next. key: what they were made of."""

    def load(self, key: str, /) -> bytes | None: ...

    def save(self, key: str, data: bytes, /) -> None: ...


@dataclass(frozen=True, slots=True)
class _Gate:
    """What says where in a chunk to look for slow patterns.

    databases:    of the patterns, one for each: of some that shared one Hyperscan 5.4 was seen to lose matches (decision 66).
    next_end:     gives, from where a line begins on, the end of the next place that may hold a match; -1 where there is none.
    shortest:     bytes that such a place has at least.
    bytes_a_line: where there is more than one of them in so many bytes, all the rest is asked as a whole, for that costs less
                  than so many beginnings.
    """

    databases: list[Any]
    next_end: Callable[[bytes, int], int]
    shortest: int
    bytes_a_line: int

    def opened(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """The lines to look at, each with where it begins."""
        if len(data) < self.shortest:
            return
        at = 0
        for number in count():
            end = self.next_end(data, at)
            if end < 0:
                return
            if number > _TRIED and at < number * self.bytes_a_line:
                yield at, data[at:]
                return
            line = data.rfind(b"\n", at, end) + 1 or at
            newline = data.find(b"\n", end)
            if newline < 0:
                yield line, data[line:] if line else data
                return
            yield line, data[line:newline]
            at = newline + 1


class HyperscanFinder:
    """One automaton for nearly all patterns (a few without a literal would double its cost), one for the agent's own secrets,
    and one for each pattern behind a gate, asked about the lines in which that gate finds anything. E-mail addresses are told
    without.

    store: compiled patterns are looked for there first; what is not there is compiled in a child process. Without one, here.
    Raises engine.Unusable when the child dies.
    """

    engine = "hyperscan"

    def __init__(self, needles: Sequence[Needle], store: Store | None = None) -> None:
        shared = [n for n in needles if not n.own]
        main, gated = [n for n in shared if not _gate(n)], [n for n in shared if _gate(n) and not _is_told(n)]
        self._addresses = [n.scan for n in shared if _is_told(n)]
        names = list(dict.fromkeys(map(_gate, gated)))
        runs = [Needle(RUN_GATE, 0)] if "run" in names else []
        groups = [group for group in (runs, main, *([n] for n in gated)) if group]
        made = _kept(groups, store) if store is not None else [_compile(tuple(group)) for group in groups]
        own = tuple(n for n in needles if n.own)
        made += [_compile(own)] if own else []
        self._every = tuple(made)
        self._runs: Any = made.pop(0) if runs else None
        self._databases = [made.pop(0)] if main else []
        behind = [(_gate(n), made.pop(0)) for n in gated]
        self._databases += made
        self._gates = [self._made(name, [database for gate, database in behind if gate == name]) for name in names]
        self._terminated: type[Exception] = _hyperscan().ScanTerminated
        self._local = threading.local()
        self._alone: dict[int, frozenset[int]] = {}

    def _made(self, name: str, databases: list[Any]) -> _Gate:
        if name == "run":
            return _Gate(databases, self._next_run, RUN_BYTES, 16_384)
        if name == "number":
            return _Gate(databases, numbers.next_number, numbers.SHORTEST, 2_048)
        return _Gate(databases, partial(_behind_next, name.encode()), 1, 8_192)

    def split(self, data: bytes, /) -> tuple[list[bytes], Flags]:
        if data.find(b"\n") in (-1, len(data) - 1):
            lines = lines_in(data)
            return lines, self._flag_one(data, lines)
        try:
            found = self._scan(data, max(_MOST_MATCHES, len(data) // _BYTES_A_MATCH))
        except TooManyMatches:
            lines = lines_in(data)
            return lines, self._each_line(lines)
        return split(data, found, self._alone)

    def _flag_one(self, data: bytes, lines: list[bytes]) -> Flags:
        if is_dense(data):
            return {0: frozenset((HOPELESS,))}
        try:
            found = self._scan(data, _MOST_MATCHES)
        except TooManyMatches:
            return {0: frozenset((HOPELESS,))}
        if len(data) > LONG:
            self._local.last = lines[0], found
        return by_line(lines, found, self._alone)

    def _each_line(self, lines: Sequence[bytes]) -> Flags:
        """For a chunk of which some line was made to match everywhere; that line is given up, the others are not."""
        flags: Flags = {}
        for number, line in enumerate(lines):
            try:
                scans = frozenset([scan for _, scan in self._scan(line, _MOST_MATCHES)])
            except TooManyMatches:
                scans = frozenset((HOPELESS,))
            if scans:
                flags[number] = scans
        return flags

    def scans_of(self, text: bytes) -> frozenset[int]:
        if is_dense(text):
            return frozenset((HOPELESS,))
        try:
            return frozenset(scan for _, scan in self._scan(text, _MOST_MATCHES // 2))
        except TooManyMatches:
            return frozenset((HOPELESS,))

    def places_of(self, text: bytes) -> Places | None:
        # Whoever asks where has mostly asked whether just before.
        line, found = getattr(self._local, "last", (b"", []))
        if len(line) == len(text) and line == text:
            self._local.last = b"", []
            return found
        if is_dense(text):
            return None
        try:
            return self._scan(text, _MOST_MATCHES)
        except TooManyMatches:
            return None

    def _scan(self, data: bytes, most: int) -> list[tuple[int, int]]:
        terminated = self._terminated
        found: list[tuple[int, int]] = []
        append = found.append

        def on_match(ident: int, _start: int, end: int, _flags: int, _context: object) -> bool:
            append((end, ident))
            return len(found) > most

        scratches = self._scratches()
        try:
            for database in self._databases:
                # By name they cost half a microsecond more.
                database.scan(data, on_match, 0, None, scratches[database])
            for gate in self._gates:
                for start, piece in gate.opened(data):
                    before = len(found)
                    for database in gate.databases:
                        database.scan(piece, on_match, 0, None, scratches[database])
                    if start:
                        found[before:] = [(start + end, ident) for end, ident in found[before:]]
        except terminated:
            raise TooManyMatches from None
        for scan in self._addresses:
            found += [(end, scan) for end in address_ends(data, most - len(found))]
            if len(found) > most:
                raise TooManyMatches
        return found

    def _next_run(self, data: bytes, start: int) -> int:
        ends: list[int] = []

        def stop(_ident: int, _start: int, end: int, _flags: int, _context: object) -> bool:
            ends.append(end)
            return True

        try:
            self._runs.scan(memoryview(data)[start:], stop, 0, None, self._scratches()[self._runs])
        except self._terminated:
            return start + ends[0]
        return -1

    def _scratches(self) -> dict[Any, Any]:
        """Of each database. Scratch space is for one scan at a time, so each thread has its own."""
        scratches: dict[Any, Any] | None = getattr(self._local, "scratches", None)
        if scratches is None:
            scratch = _hyperscan().Scratch
            scratches = self._local.scratches = {database: scratch(database) for database in self._every}
        return scratches


def _behind_next(character: bytes, data: bytes, at: int) -> int:
    return data.find(character, at) + 1 or -1


def _gate(needle: Needle) -> str:
    """Where numbers cannot be looked for at once, their patterns cost least among the others."""
    return needle.gate if needle.gate != "number" or numbers.IS_COMPILED else ""


def _is_told(needle: Needle) -> bool:
    """Whether an inner loop tells its matches, as it does where it is compiled."""
    return needle.gate == "@" and needle.pattern == ADDRESS and places.IS_COMPILED


def _hyperscan() -> Any:
    """Imported when it is first used: where it does not work, no one asks for it."""
    return importlib.import_module("hyperscan")


@lru_cache(maxsize=4)
def _compile(needles: tuple[Needle, ...]) -> Any:
    """Takes a second; a reload with the same rules takes none."""
    hyperscan = _hyperscan()
    database = hyperscan.Database(mode=hyperscan.HS_MODE_BLOCK)
    database.compile(
        expressions=[n.pattern.encode() for n in needles], ids=[n.scan for n in needles], flags=[0] * len(needles)
    )
    return database


def _kept(groups: Sequence[Sequence[Needle]], store: Store) -> list[Any]:
    """The databases of the groups, out of the store or made for it."""
    plain = [[(needle.pattern, needle.scan) for needle in group] for group in groups]
    # Not imported before a child has tried it, now or when the store was filled.
    version = importlib.metadata.version("hyperscan")
    key = hashlib.blake2b(msgspec.msgpack.encode((version, plain))).hexdigest()
    data = store.load(key)
    loaded = _loaded(data) if data is not None else None
    if loaded is not None and len(loaded) == len(groups):
        return loaded
    data = msgspec.msgpack.encode(compiled_in_child(plain))
    loaded = _loaded(data)
    if loaded is None:
        raise Unusable("what it has compiled cannot be loaded")
    store.save(key, data)
    return loaded


def _loaded(data: bytes) -> list[Any] | None:
    """None for what Hyperscan does not take: of another version, say, or for another processor."""
    hyperscan = _hyperscan()
    try:
        serialized = msgspec.msgpack.decode(data, type=list[bytes])
        return [hyperscan.loadb(one, hyperscan.HS_MODE_BLOCK) for one in serialized]
    except (msgspec.MsgspecError, hyperscan.HyperscanError):
        return None


class Re2Finder:
    """A set of all patterns, asked line by line."""

    engine = "re2"

    def __init__(self, needles: Sequence[Needle]) -> None:
        re2 = importlib.import_module("re2")  # optional, and it has no types
        options = re2.Options()
        options.encoding = re2.Options.Encoding.LATIN1
        options.max_mem = 512 << 20
        options.log_errors = False
        self._set: Any = re2.Set.SearchSet(options)
        self._scans = [n.scan for n in needles]
        for needle in needles:
            self._set.Add(needle.pattern)
        self._set.Compile()

    def split(self, data: bytes, /) -> tuple[list[bytes], Flags]:
        match, scans = self._set.Match, self._scans
        lines = lines_in(data)
        flags: Flags = {}
        for number, line in enumerate(lines):
            found = match(line)
            if found:
                flags[number] = frozenset([scans[i] for i in found])
        if len(lines) == 1 and is_dense(lines[0]):
            flags[0] = frozenset((HOPELESS,))
        return lines, flags

    def scans_of(self, text: bytes) -> frozenset[int]:
        if is_dense(text):
            return frozenset((HOPELESS,))
        return frozenset(self._scans[i] for i in self._set.Match(text) or ())

    def places_of(self, text: bytes) -> Places | None:
        return None if is_dense(text) else places_by_piece(text, self.scans_of)


def make(engine: str, needles: Sequence[Needle], store: Store | None = None) -> Finder:
    """Raises engine.Unusable, only with a store."""
    if engine == "hyperscan":
        return HyperscanFinder(needles, store)
    makers: dict[str, Callable[[Sequence[Needle]], Finder]] = {"re2": Re2Finder, "re": ReFinder}
    return makers[engine](needles)


def best(needles: Sequence[Needle], store: Store) -> Finder:
    """The fastest that works on this machine."""
    try:
        return make(installed_engine(), needles, store)
    except Unusable:
        return make(fallback_engine(), needles)


def refusal(pattern: str) -> str | None:
    """Why Hyperscan cannot compile a pattern; None when it can, or is not installed."""
    try:
        hyperscan = _hyperscan()
    except ImportError:
        return None
    try:
        _compile.__wrapped__((Needle(pattern, 0),))
    except hyperscan.HyperscanError as error:
        return str(error)
    return None
