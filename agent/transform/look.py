"""What the lines of a chunk say: when, how severe, and the fields that are asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import msgspec
from mypy_extensions import i64

from agent import config
from agent.model import Chunk
from agent.transform import glance, level, timestamp
from agent.transform.metadata import MetadataEncoder, detected
from agent.transform.parse import LineDecoder, Values, View
from agent.transform.placing import UNTIMED

_CACHE_LIMIT: Final = 8192
_NO_JSON: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


@dataclass(slots=True)
class Seen:
    """What the lines of a chunk say, as parallel lists, and how they said it.

    values: of the fields that labels are made of, if any; None for a line that is no JSON.
    last_ns: for a line without a time of its own (a traceback, a torn line): it keeps its place behind the line before it.
    odd_times: whether there is any that Loki would refuse, or none.  empty: lines without a byte.
    lenient, text, clamped: lines that are JSON but for a NaN, that are no JSON, whose time was out of range.
    failed, failure: lines that met a bug of ours, and where the last one did.
    """

    times: list[int]
    metadata: list[bytes]
    values: list[Values | None]
    last_ns: int
    odd_times: bool = False
    empty: int = 0
    lenient: int = 0
    text: int = 0
    clamped: int = 0
    failed: int = 0
    failure: str = ""


class Looker:
    """Looks at redacted lines: most are common ones, which a glance is enough for.

    parse, metadata: their configuration sections.
    labelled: the fields that labels are made of. One list of fields serves them, levels and metadata.
    """

    def __init__(self, parse: config.Parse, metadata: config.Metadata, labelled: tuple[str, ...]) -> None:
        # A field asked for twice is decoded once.
        fields = tuple(dict.fromkeys((*parse.level_fields, *metadata.fields, *labelled)))
        self._metadata = MetadataEncoder(parse, metadata, fields)
        # At a glance: the first level there may be, and all but the other levels.
        first = parse.level_fields[:1]
        chosen = {*first, *metadata.fields, *labelled}
        glanced = tuple(name for name in fields if name in chosen)
        self._glanced_metadata = MetadataEncoder(parse, metadata, glanced)
        self._wants_level = bool(first)
        self._decoder = LineDecoder(parse.timestamp_fields, fields, glanced)
        self._glancer = glance.Glancer(glanced) if glance.IS_COMPILED else None
        # The first member of a common line is its time, which the clock has read, and which is asked for only by name.
        self._skips_time = parse.timestamp_fields[:1] != () and parse.timestamp_fields[0] not in glanced
        self._clock = timestamp.Clock(self._decoder.head)
        self._label_slots = tuple(fields.index(name) for name in labelled)
        self._glanced_slots = tuple(glanced.index(name) for name in labelled)
        self._glance_cache: dict[Any, bytes] = {}
        self._metadata_cache: dict[Values, bytes] = {}

    def look(self, lines: list[bytes], chunk: Chunk, oldest_ns: int, newest_ns: int, *, look_inside: bool) -> Seen:
        """What the lines of a chunk say. Raises nothing.

        oldest_ns, newest_ns: what Loki takes.  look_inside: whether a line may be JSON, or is text whatever it looks like.
        """
        try:
            return self._look_at_all(lines, chunk, oldest_ns, newest_ns, look_inside)
        except Exception as error:  # noqa: BLE001 - a bug that ends the agent would meet the same line after each start
            return self._look_at_each(lines, chunk, oldest_ns, newest_ns, look_inside, _place_of(error))

    def _look_at_all(self, lines: list[bytes], chunk: Chunk, oldest_ns: int, newest_ns: int, look_inside: bool) -> Seen:
        seen = Seen([], [], [], last_ns=UNTIMED)
        if len(self._glance_cache) > _CACHE_LIMIT:
            self._glance_cache.clear()
        if look_inside:
            at = self._skim(lines, 0, chunk, seen, oldest_ns, newest_ns)
            while at < len(lines):
                self._look_closer(lines[at], chunk, seen, look_inside, oldest_ns, newest_ns)
                at = self._skim(lines, at + 1, chunk, seen, oldest_ns, newest_ns)
        else:
            for line in lines:
                self._look_closer(line, chunk, seen, look_inside, oldest_ns, newest_ns)
        return seen

    def _look_at_each(
        self, lines: list[bytes], chunk: Chunk, oldest_ns: int, newest_ns: int, look_inside: bool, failure: str
    ) -> Seen:
        """The same line by line. One that meets a bug is sent as it is, in its place, and nothing is said of it."""
        seen = Seen([], [], [], last_ns=UNTIMED, failure=failure)
        for index, line in enumerate(lines):
            counted = seen.lenient, seen.text, seen.empty
            try:
                self._look_closer(line, chunk, seen, look_inside, oldest_ns, newest_ns)
            except Exception as error:  # noqa: BLE001 - see above
                for half_done in (seen.times, seen.metadata, seen.values):
                    del half_done[index:]
                seen.lenient, seen.text, empty = counted
                seen.empty = empty + (not line)  # or it would be sent
                seen.failed += 1
                seen.failure = _place_of(error)
                ns = seen.last_ns if chunk.times_ns is None else chunk.times_ns[index]
                seen.odd_times = seen.odd_times or not oldest_ns <= ns <= newest_ns
                seen.times.append(ns)
                seen.metadata.append(b"")
                if self._label_slots:
                    seen.values.append(None)
        return seen

    def _skim(self, lines: list[bytes], start: int, chunk: Chunk, seen: Seen, oldest_ns: int, newest_ns: int) -> int:
        """Takes in common lines from `start` on, which a glance is enough for; gives where the first is that is none.

        The agent's inner loop, together with `wire.encode_protobuf`. A common line begins with its time (where no container
        runtime gives one) and has the first of the level fields. So its metadata is all there is to know.
        """
        given, clock = chunk.times_ns, self._clock
        known, skips_time = self._glance_cache, given is None and self._skips_time
        times, metadata, slots = seen.times, seen.metadata, self._glanced_slots
        last_ns, odd_times = seen.last_ns, False
        # Lines of one request say the same mostly, and to see that costs a third of finding it.
        last_view: Any = None
        last_encoded = b""
        at, end = start, len(lines)
        try:
            while at < end:
                line = lines[at]
                if given is not None and not line.startswith(b"{"):
                    break
                ns = clock.read(line) if given is None else given[at]
                if ns < 0:
                    break
                view = self._view(line, clock.behind if skips_time else 0)
                if view is last_view or view == last_view:
                    encoded = last_encoded
                else:
                    found = known.get(view)
                    if found is not None:
                        last_view, last_encoded = view, found  # of texts only, or it would not be known
                    else:
                        found = self._glanced(view)
                        if found is None:
                            break
                    encoded = found
                times.append(ns)
                metadata.append(encoded)
                if slots:
                    values = self._values(view)
                    seen.values.append(tuple([values[slot] for slot in slots]))
                if oldest_ns <= ns <= newest_ns:
                    last_ns = ns
                else:
                    odd_times = True
                at += 1
        except (*_NO_JSON, IndexError):  # or no more of it than the head
            pass
        seen.last_ns = last_ns
        seen.odd_times = seen.odd_times or odd_times
        return at

    def _view(self, line: bytes, begin: i64) -> Any:
        """What a glance shows: hashable, and the same for lines that say the same. begin: of what is to be looked at."""
        if self._glancer is not None:
            view = self._glancer.look(line, begin)
            if view is not None:
                return view
        return self._decoder.glance(line)

    def _values(self, view: Any) -> Values:
        """The fields of what a glance showed."""
        return glance.values_of(view) if isinstance(view, bytes) else self._decoder.glanced(view)

    def _glanced(self, view: Any) -> bytes | None:
        """The metadata of what the last glance showed; None when that is not enough to tell."""
        if isinstance(view, bytes):
            assert self._glancer is not None
            texts = self._glancer.texts  # those of the view, which it has just shown
            if self._wants_level and texts[0] is glance.NOTHING:
                return None
            encoded = self._glance_cache[view] = self._glanced_metadata.encode_texts(texts)
            return encoded
        values = self._values(view)
        if self._wants_level and values[0] is None:
            return None
        encoded = self._glanced_metadata.encode(values)
        if _are_texts(values):
            self._glance_cache[view] = encoded
        return encoded

    def _look_closer(
        self,
        line: bytes,
        chunk: Chunk,
        seen: Seen,
        look_inside: bool,
        oldest_ns: int,
        newest_ns: int,
    ) -> None:
        """Whatever a line is."""
        ns: int | None
        found: Values | None
        try:
            view = self._decoder.decode(line) if look_inside else _refuse(line)
        except _NO_JSON:
            second_chance = self._decoder.lenient(line) if look_inside else None
            if second_chance is None:
                seen.text += 1
                ns, found = timestamp.from_torn(line), None
            else:
                seen.lenient += 1
                ns, found = timestamp.from_json(second_chance[0]), second_chance[1]
        else:
            ns, found = timestamp.from_json(self._decoder.time_of(view)), self._decoder.values_of(view)
        if ns is None:
            ns = seen.last_ns
        elif oldest_ns <= ns <= newest_ns:
            seen.last_ns = ns
        if chunk.times_ns is not None:
            ns = chunk.times_ns[len(seen.times)]
        seen.empty += not line
        seen.odd_times = seen.odd_times or not oldest_ns <= ns <= newest_ns
        seen.times.append(ns)
        seen.metadata.append(detected(level.of_text(line)) if found is None else self._known_metadata(found))
        if self._label_slots:
            seen.values.append(None if found is None else tuple([found[slot] for slot in self._label_slots]))

    def _known_metadata(self, values: Values) -> bytes:
        """The encoded metadata of these values. Lines of one request share theirs, so it is made once."""
        if not _are_texts(values):
            return self._metadata.encode(values)
        cache = self._metadata_cache
        encoded = cache.get(values)
        if encoded is None:
            if len(cache) > _CACHE_LIMIT:
                cache.clear()
            encoded = cache[values] = self._metadata.encode(values)
        return encoded


def _are_texts(values: Values) -> bool:
    """Only such values are keys of a cache: 1, 1.0 and true are equal, and not the same text."""
    for value in values:  # noqa: SIM110 - a generator for each line costs more than the loop
        if value is not None and not isinstance(value, str):
            return False
    return True


def _refuse(_: bytes) -> View:
    """Decodes nothing: every line of a text source is text."""
    raise msgspec.DecodeError


def _place_of(error: Exception) -> str:
    """Of a bug: what it is, and where. Nothing of what the line says."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    name = type(error).__name__
    return (
        name if trace is None else f"{name} in {trace.tb_frame.f_code.co_filename.rpartition('/')[2]}:{trace.tb_lineno}"
    )
