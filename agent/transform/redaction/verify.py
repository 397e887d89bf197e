"""The verifier: decides on the decoded text of one flagged line what goes, and writes it back in place.

It does no I/O, reads no clock and is the same under every finder, so the three finders give identical output.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Final

import orjson

from agent.transform.redaction import checks, decode, jsonwalk, nearby, windows
from agent.transform.redaction.gate import Gate
from agent.transform.redaction.headers import Headers, whole_header
from agent.transform.redaction.marks import Marks
from agent.transform.redaction.names import Names, Verdict
from agent.transform.redaction.rule import Action, Hit, Work, WorkLimit
from agent.transform.redaction.stems import lowered, word_start
from agent.transform.redaction.survey import FOUND_IN_A_STEP, Survey
from agent.transform.redaction.values import Value, bare, name_before, quoted
from agent.transform.redaction.windows import Places, Reach

if TYPE_CHECKING:
    from agent.transform.redaction.flat import Member
    from agent.transform.redaction.house_rules import Exemption

Scan = Callable[[str, "Verifier"], Iterable[Hit]]
Scans = frozenset[int]

HOPELESS: Final = -1
"""Instead of a scan: so much matches that the line is not worth the time."""

_DEEPEST: Final = 4
_MOST_PIECES: Final = 1_000
_MOST_TIMES_SIZE: Final = 16
_MOST_HITS: Final = 5_000
_MOST_CLEAN: Final = 4_096
_MOST_CLEAN_SETS: Final = 64
_MOST_STEPS: Final = 7_500
_STEMS_A_STEP: Final = 16
_LOOKED_AT_A_STEP: Final = 512
"""Characters of a long text that a procedure of cost one looks at."""
_ESCAPES_A_STEP: Final = 32
_DECODED_A_STEP: Final = 128
_VALUE_A_STEP: Final = 24
_STEPS_A_HIT: Final = 3
_STEPS_TO_ASK: Final = 8
_STEPS_TO_DECODE: Final = 4
_STEPS_A_RUN: Final = 2
_EMBEDDED: Final = re.compile(r"[{\[](?=\s{0,8}[\"{\[])")
_ESCAPE_LEFT: Final = re.compile(r"[nrt]|u[0-9A-Fa-f]{4}")
_NESTED: Final = re.compile(r'\\[\\"]')
"""Quotes or backslashes within a JSON string: of code and JSON in it a part is read otherwise than the whole."""
_MOST_EMBEDDED: Final = 8
_MOST_COVERS: Final = 16
_MOST_PARTS: Final = 8


@dataclass(frozen=True, slots=True)
class Tools:
    """What all lines share.

    scans:    the procedures, by number; the finder's patterns name the ones to run.
    scans_of: which of them a decoded text needs · places_of: and where; None when it is not worth the time.
    actions:  of every rule that is on.
    exemptions: what rules leave alone · by_path: whether one of them goes by the place in the JSON.
    base64: number of the scan that stands for this encoding.
    reach:  how far around a match in a long text a scan looks, where that is not NEAR · cost: what it costs, where not two.
    implied: scans that are asked for together with another.
    built_in: the scans of the rules that come with the agent; an operator's own may concern any value.
    settled: texts with marks in which nothing is left to find.
    members: what the names of members say.
    wordy:  the scans that find nothing in a number, base64 apart, of which a number may be.
    clean: values seen without a finding, by the scans they went through: most values of a log repeat.
    """

    scans: tuple[Scan | None, ...]
    scans_of: Callable[[bytes], Scans]
    places_of: Callable[[bytes], Places | None]
    actions: Mapping[str, Action]
    exemptions: Sequence[Exemption]
    by_path: bool
    names: Names
    gate: Gate
    marks: Marks
    base64: int
    wordy: Scans
    reach: Mapping[int, Reach]
    cost: Mapping[int, int]
    implied: Mapping[int, int]
    clean: dict[Scans, set[str]]
    built_in: Scans
    settled: set[str]
    members: dict[str, Member]


class Verifier:
    """One line's work and its bounds."""

    __slots__ = (
        "_budget",
        "_depth",
        "_headers",
        "_pieces",
        "drop",
        "gate",
        "is_json",
        "names",
        "path",
        "seen",
        "step",
        "survey",
        "tools",
        "work",
    )

    def __init__(self, tools: Tools, size: int, work: Work | None = None) -> None:
        """size: of the line in characters · work: what it may still cost, where it has cost something before."""
        self.tools = tools
        self.work = work or Work(_MOST_STEPS)
        self.step = self.work.step
        self.names = tools.names
        self.gate = tools.gate
        self._headers: Headers | None = None
        self._depth = 0
        self._pieces = 0
        self._budget = _MOST_TIMES_SIZE * size + 4096
        # Set by who has parsed the whole text already.
        self.is_json = False
        self.survey = Survey(tools, self.work)
        # Findings of rules that only count; whether a rule orders the line out; where in the JSON the value stands.
        self.seen: dict[str, int] = {}
        self.drop = False
        self.path = ""

    @property
    def headers(self) -> Headers:
        """Made when they are needed: they refer back, and what refers to itself waits for the garbage collector."""
        if self._headers is None:
            self._headers = Headers(self)
        return self._headers

    def each(self, pattern: re.Pattern[str], text: str, weight: int = 1) -> Iterator[re.Match[str]]:
        """`finditer`, counted."""
        for found in pattern.finditer(text):
            self.step(weight)
            yield found

    def each_at(
        self,
        stems: re.Pattern[str],
        text: str,
        *patterns: re.Pattern[str],
        within_word: bool = False,
        apart: bool = True,
    ) -> Iterator[re.Match[str]]:
        """`each`, for patterns that begin with one of the `stems`, of small letters, whatever their case in the text.

        Looking for these is many times as fast as trying a pattern without regard to case at each character.
        within_word: the patterns begin with the word that the stem is a part of · apart: no match begins within another.
        """
        done = [0] * len(patterns)
        for count, stem in enumerate(stems.finditer(lowered(text)), 1):
            if count % _STEMS_A_STEP == 0:
                self.step()
            at = word_start(text, stem.start()) if within_word else stem.start()
            for number, pattern in enumerate(patterns):
                found = pattern.match(text, at) if at >= done[number] else None
                if found is not None:
                    self.step()
                    done[number] = found.end() if apart else 0
                    yield found

    def value(self, text: str, at: int) -> Value | None:
        """The value that begins at `at`, in quotes or bare."""
        return self.weighed(quoted(text, at) or bare(text, at))

    def weighed(self, value: Value | None) -> Value | None:
        """A value, counted: what is decided of it takes as long as it is."""
        if value is not None and value.end - value.start >= _VALUE_A_STEP:
            self.step((value.end - value.start) // _VALUE_A_STEP)
        return value

    def document(self, text: str, scans: Scans) -> list[Hit]:
        """Hits of a line, or of a text that may be JSON as a whole."""
        if HOPELESS in scans:
            raise WorkLimit("too many matches")
        if len(text) > windows.LONG and self.survey.known is None:
            scans = self.survey.of(text)
        if self.is_json or is_json(text):
            self.is_json = False
            return self.settle(text, jsonwalk.walk(text, self, scans))
        return self.plain(text, scans)

    def plain(self, text: str, scans: Scans) -> list[Hit]:
        """Hits of a decoded text, sorted and apart, each with what to write. In JSON within it only the walk counts."""
        if HOPELESS in scans:
            raise WorkLimit("too many matches")
        inside: list[tuple[int, int]] = []
        found = list(self._embedded(text, inside)) if '"' in text else []
        if not inside or inside[0][1] - inside[0][0] < len(text.strip()):
            for hit in self.undressed(text, scans) if len(text) <= windows.LONG else nearby.hits(text, self):
                if not any(start <= hit.start < end or start < hit.end < end for start, end in inside):
                    found.append(hit)
        return self.settle(text, found)

    def undressed(self, text: str, scans: Scans) -> Iterable[Hit]:
        # Whether there is anything of the kind is told here, for it would cost more to ask.
        is_plain = "\\" not in text and "&" not in text and "\x1b" not in text and text.isascii()
        view = None if is_plain else decode.undressed(text)
        if view is None:
            return self._scan(text, scans)
        return self.through(view)

    def through(self, view: decode.View) -> list[Hit]:
        """Hits of a text as it is meant, in the places of the text as it stands."""
        hits = self.settle(view.text, self._scan(view.text, self.scans_of(view.text)))
        return [view.back(hit) for hit in hits]

    def charge(self, characters: int, *scans: int) -> None:
        """For what `scans` are about to look at."""
        cost = self.tools.cost.get
        self.step(characters * sum([cost(scan, 2) for scan in scans]) // _LOOKED_AT_A_STEP)

    def one(self, number: int) -> Callable[[str], Iterable[Hit]]:
        """A procedure by itself."""
        scan = self.tools.scans[number]
        return (lambda _: ()) if scan is None else (lambda text: scan(text, self))

    def spend(self, characters: int) -> None:
        """Raises WorkLimit when more text was looked at than a line of this size may ask for."""
        self._budget -= characters
        if self._budget < 0:
            raise WorkLimit("too much to look at")

    def string(
        self, content: str, verdict: Verdict | None, scans: Scans, within: tuple[str, int] | None = None
    ) -> list[Hit]:
        """Hits inside a JSON string, in the places of its raw `content`; `verdict` is its key's.

        within: the text that the string stands in, and where.
        """
        escaped = "\\" in content
        if (
            self.survey.changed
            and escaped
            and verdict is None
            and within is not None
            and len(content) > windows.LONG
            and _NESTED.search(content) is None
        ):
            return self._beside_changes(content, within[1])
        if escaped and len(content) > windows.LONG:
            self.step(content.count("\\") // _DECODED_A_STEP)
        text = decode.unescape(content) if escaped else content
        hits = self._valued(text, verdict)
        if not hits and len(text) > windows.LONG:
            hits = self._long_string(text, content, within)
        elif not hits:
            hits = self.plain(text, scans | self.asked_by(text) if escaped else scans)
        if not hits or not escaped:
            return hits
        if len(content) > windows.LONG:
            self.step(content.count("\\") // _ESCAPES_A_STEP)
        view = decode.JsonView(content)
        return [view.back(h)._replace(text=_escaped(h.text or "")) for h in hits]

    def string_again(self, content: str, verdict: Verdict | None, before: Places, hits: Sequence[Hit]) -> list[Hit]:
        """The same for a long string in which `hits` were replaced, when `before` says where the finder matched until then."""
        known = self.survey.known
        self.survey.again(content, before, hits)
        found = self.string(content, verdict, frozenset(), (content, 0))
        self.survey.turn_back((known, []))
        return found

    def _beside_changes(self, content: str, at: int) -> list[Hit]:
        """Hits of a long string that stands `at` in the line, near to what was changed there: elsewhere are none, as is known."""
        found: list[Hit] = []
        for start, end in self.survey.changed:
            if start < at + len(content) and at < end:
                low, high = windows.apart_from_escapes(content, max(0, start - at), min(len(content), end - at))
                part = content[low:high]
                found += [hit.moved(low) for hit in self.string(part, None, self.asked_by(part))]
        return found

    def _long_string(self, text: str, content: str, within: tuple[str, int] | None) -> list[Hit]:
        """Hits of a string that is long."""
        line = self.survey.turn_to(text, self.survey.of_string(text, content, within))
        hits = self.plain(text, frozenset())
        self.survey.turn_back(line)
        return hits

    def scans_of(self, text: str) -> Scans:
        """What a decoded text needs. Patterns know a line break only in its escaped form, as lines have it."""
        return self.asked_by(windows.with_breaks_escaped(text) if "\n" in text else text)

    def asked_by(self, text: str) -> Scans:
        """The scans that the finder's matches in `text` ask for."""
        data = _bytes(text)
        if self.survey.known is not None:
            self.step(_STEPS_TO_ASK + len(data) // FOUND_IN_A_STEP)
        return self.tools.scans_of(data)

    def clean(self, scans: Scans) -> set[str]:
        """Short strings known to hold nothing for `scans`. A bounded memory of a pure decision."""
        known = self.tools.clean.get(scans)
        if known is None or len(known) > _MOST_CLEAN:
            if len(self.tools.clean) > _MOST_CLEAN_SETS:
                self.tools.clean.clear()
            known = self.tools.clean[scans] = set()
        return known

    def number(self, content: str, verdict: Verdict) -> str | None:
        """What to write instead of a JSON number, quotes included."""
        if self.gate.leaves_number(content, verdict) or not self._wanted(verdict.rule, content):
            return None
        return f'"{self._mark(verdict.rule, content)}"'

    def _valued(self, text: str, verdict: Verdict | None) -> list[Hit]:
        if verdict is None or verdict.kind == "dsn" or self.gate.leaves(text, verdict):
            return []
        if verdict.kind in ("authorization", "auth", "cookie"):
            return self.settle(text, whole_header(text, verdict, self))
        return self.settle(text, (Hit(0, len(text), verdict.rule),))

    def _scan(self, text: str, scans: Scans) -> Iterator[Hit]:
        """What all asked-for procedures find."""
        tools = self.tools
        if self.survey.known is not None:
            self.charge(len(text), *scans)
        found: list[Hit] = []
        for number in sorted(scans | {tools.implied[scan] for scan in scans if scan in tools.implied}):
            scan = tools.scans[number]
            if scan is not None:
                found += scan(text, self)
        yield from found
        if scans and "%" in text:
            yield from self.percent(text)
        if tools.base64 in scans:
            for run in decode.base64_runs(text):
                if not any(hit.start <= run.start() and run.end() <= hit.end for hit in found[:_MOST_COVERS]):
                    yield from self.wrapped(text, run.start(), run.end())

    def _embedded(self, text: str, inside: list[tuple[int, int]]) -> Iterator[Hit]:
        """JSON in the text: all of it, or behind a few words such as `body: `. Its places go to `inside`."""
        tried, position = 0, 0
        for opening in _EMBEDDED.finditer(text):
            if opening.start() < position:
                continue
            tried += 1
            if tried > _MOST_EMBEDDED:
                return
            end = json_end(text, opening.start())
            if end is None:
                continue
            position = end
            if not self._is_named(text, opening.start()):
                inside.append((opening.start(), end))
            piece = text[opening.start() : end]
            with self._deeper(piece):
                for hit in self.settle(piece, self._walked(piece, (text, opening.start()))):
                    yield hit.moved(opening.start())

    def _walked(self, piece: str, within: tuple[str, int]) -> list[Hit]:
        """The hits of JSON that stands within a text. Where the finder has looked at that, it need not look again."""
        text, at = within
        places = self.survey.places_within(text, at, at + len(piece))
        if places is None:
            return jsonwalk.walk(piece, self, self.scans_of(piece))
        around = self.survey.turn_to(piece, places)
        hits = jsonwalk.walk(piece, self, frozenset([scan for _, scan in places]))
        self.survey.turn_back(around)
        return hits

    def _is_named(self, text: str, at: int) -> bool:
        """Whether JSON at `at` is the value of a sensitive name, as in `"token": {"value": …}`: then the name counts too."""
        if text[max(0, at - 12) : at].lower() == "parameters: ":
            return True  # what is bound to the statement before it
        before = text[max(0, at - 3) : at].rstrip()
        if not before.endswith((":", "=")):
            return False
        name, _ = name_before(text, at - (len(text[max(0, at - 3) : at]) - len(before)) - 1)
        return bool(name) and self.names.verdict(name) is not None

    def percent(self, text: str) -> Iterator[Hit]:
        view = decode.unpercented(text)
        if view is None:
            return
        with self._deeper(view.text):
            is_long = len(view.text) > windows.LONG  # then the finder is asked where, not whether
            for hit in self.plain(view.text, frozenset() if is_long else self.scans_of(view.text)):
                yield view.back(hit)._replace(text=(hit.text or "").replace('"', "%22"))

    def wrapped(self, text: str, start: int, end: int) -> Iterator[Hit]:
        """The base64 run `start`..`end`, gone as a whole when there is a secret inside."""
        if start > 0 and text[start - 1] == "\\":
            escape = _ESCAPE_LEFT.match(text, start, end)  # these letters belong to the escape before them
            start = escape.end() if escape else start
        if self.survey.known is not None:
            self.step(_STEPS_A_RUN)
        run = text[start:end]
        inner = _text_in(run)
        if inner is None:
            if "/" in run:
                for part in islice(decode.parts(run), _MOST_PARTS):
                    if part.end() - part.start() < len(run) and "/" not in part[0]:
                        yield from self.wrapped(text, start + part.start(), start + part.end())
            return
        with self._deeper(inner):
            hits = self.document(inner, self.scans_of(inner))
            if hits:
                yield Hit(start, end, hits[0].rule)

    def _deeper(self, piece: str) -> _Deeper:
        self._pieces += 1
        self.step(_STEPS_TO_DECODE)
        self.spend(len(piece))
        if self._pieces > _MOST_PIECES or self._depth >= _DEEPEST:
            raise WorkLimit("too much to decode")
        return _Deeper(self)

    def enter(self) -> None:
        self._depth += 1

    def leave(self) -> None:
        self._depth -= 1

    def _wanted(self, rule: str, secret: str) -> bool:
        """Whether the rule changes this secret. What a rule only counts is counted here."""
        action = self.tools.actions.get(rule)
        if action is None or any(e.covers(rule, secret, self.path) for e in self.tools.exemptions):
            return False
        if action == "tag_only":
            self.seen[rule] = self.seen.get(rule, 0) + 1
            return False
        if action == "drop_line":
            self.drop = True
        return True

    def _mark(self, rule: str, secret: str) -> str:
        return self.tools.marks.write(rule, self.tools.actions[rule], secret)

    def _kept(self, hit: Hit, text: str, marked: list[tuple[int, int]]) -> Hit | None:
        """A hit that is wanted and no mark. What begins inside a mark of ours was found by the mark's own words."""
        if marked:
            if any(start < hit.start < end for start, end in marked):
                return None
            hit = _around(hit, marked)
        secret = text[hit.start : hit.end]
        return hit if secret and self._wanted(hit.rule, secret) and not self.gate.masked(secret) else None

    def settle(self, text: str, hits: Iterable[Hit]) -> list[Hit]:
        """Wanted hits, sorted; where two overlap one takes the place of both, named after the longer."""
        marked = self.tools.marks.spans(text)
        found: list[Hit] = []
        for hit in hits:
            kept = hit if hit.text is not None else self._kept(hit, text, marked)
            if kept is not None:
                found.append(kept)
                if len(found) > _MOST_HITS:
                    raise WorkLimit("too many findings")
        if not found:
            return found
        if self.survey.known is not None:
            self.step(_STEPS_A_HIT * sum(hit.text is None for hit in found))
        if len(found) > 1:
            found.sort(key=lambda h: (h.start, -h.end))
        out: list[Hit] = []
        for hit in found:
            if out and hit.start < out[-1].end:
                out[-1] = _union(out[-1], hit)
            else:
                out.append(hit)
        return [
            h if h.text is not None else Hit(h.start, h.end, h.rule, self._mark(h.rule, text[h.start : h.end]))
            for h in out
        ]


def _escaped(mark: str) -> str:
    """A mark inside a JSON string. The mark of a number has quotes, and deeper inside these are escaped already."""
    return mark.replace("\\", "\\\\").replace('"', '\\"')


def _text_in(run: str) -> str | None:
    """What a base64 run says, if that is text; its last characters may be cut."""
    data = checks.unbase64(run) or checks.unbase64(run[: len(run.rstrip("=")) // 4 * 4])
    return checks.printable(data) if data else None


class _Deeper:
    """One level of decoding more, for the time of a `with`."""

    __slots__ = ("_verifier",)

    def __init__(self, verifier: Verifier) -> None:
        self._verifier = verifier

    def __enter__(self) -> None:
        self._verifier.enter()

    def __exit__(self, *_: object) -> None:
        self._verifier.leave()


def _around(hit: Hit, marked: list[tuple[int, int]]) -> Hit:
    """A hit that reaches into a mark takes the whole of it, so that a mark is never matched in part."""
    for start, end in marked:
        if start < hit.end and hit.start < end:
            hit = hit._replace(start=min(start, hit.start), end=max(end, hit.end))
    return hit


def _union(first: Hit, second: Hit) -> Hit:
    """Two overlapping hits as one. A hit inside another changes nothing, so its text stays."""
    if second.start == first.start and second.end == first.end:
        return first if first.text is not None else second
    if second.end <= first.end:
        return first
    longer = first if first.end - first.start >= second.end - second.start else second
    return Hit(first.start, second.end, longer.rule)


def is_json(text: str) -> bool:
    """An object or array; NaN and infinities pass, as Python writes them."""
    if text.lstrip(" \t\r\n")[:1] not in ("{", "["):
        return False
    try:
        orjson.loads(text)
    except (orjson.JSONDecodeError, UnicodeEncodeError):
        return _is_lenient_json(text)
    return True


def _is_lenient_json(text: str) -> bool:
    if text.rstrip()[-1] not in "}]":
        return False
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


_DECODER: Final = json.JSONDecoder()


def json_end(text: str, at: int) -> int | None:
    """Where the JSON object or array that begins at `at` ends."""
    try:
        return _DECODER.raw_decode(text, at)[1]
    except (ValueError, RecursionError):
        return None


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
