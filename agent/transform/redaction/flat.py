"""The short road for the common line: one flat JSON object, of which one or two values hold a secret.

The object is decoded once by C; only the few values that a rule may concern are looked for in the raw text. Whatever is
not plainly so (nested, a name twice, names and values as members, an unusual escape) gives None and takes the whole walk.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import orjson

from agent.transform.redaction import traces
from agent.transform.redaction.jsonwalk import LONGEST_CLEAN, long_number, part_of
from agent.transform.redaction.rule import Hit
from agent.transform.redaction.windows import LONG

if TYPE_CHECKING:
    from agent.transform.redaction.names import Verdict
    from agent.transform.redaction.verify import Scans, Tools, Verifier

_MEMBER: Final = re.compile(r'\s*:\s*(?:"|([^\s,}"]++))')
_CLOSING_QUOTE: Final = re.compile(r'"(?<!\\")')
"""There is no escaped backslash in the text, and it is valid JSON."""
_HARMLESS: Final = re.compile(
    r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3}"
    r"|\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d{1,9})?(?:Z|[+-]\d\d:?\d\d)?"
    r"|[a-z]{1,12}\d{0,6}\.(?:xml|json|csv|txt|pdf|eds)"
)
"""Ids, addresses, times and names of files as they stand in every line: no built-in rule concerns them."""
_MOST_WANTED: Final = 16
_MOST_MEMBERS, _LONGEST_NAME = 4_096, 128
_JUDGED: Final = frozenset({str, int, float})
_ODD: Final = frozenset({"loc", "kty"})
_SHORTEST_LONG_NUMBER: Final = 10**11


def hits(text: str, verifier: Verifier, scans: Scans) -> list[Hit] | None:
    """What goes and what to write instead, for good; None when the line is not of this form."""
    if verifier.tools.by_path or not text.startswith("{") or "\\u" in text or "\\\\" in text:
        return None
    try:
        record = orjson.loads(text)
    except (orjson.JSONDecodeError, UnicodeEncodeError):
        return None
    strings, wanted = _wanted(record, verifier, scans)
    once = wanted is not None and _each_name_once(text, len(record) + strings)
    found = _found(text, wanted, scans, verifier) if wanted is not None and once else None
    if found is None:
        verifier.seen.clear()
        verifier.is_json = True  # so that the long road need not parse it again
    return found


def _found(text: str, wanted: list[tuple[str, Verdict | None]], scans: Scans, verifier: Verifier) -> list[Hit] | None:
    found: list[Hit] = []
    for key, verdict in wanted:
        at = text.find(f'"{key}"')
        member = _MEMBER.match(text, at + len(key) + 2) if at >= 0 else None
        if member is None:
            return None
        if member[1] is not None:
            found += _number(text, member.span(1), verdict, scans, verifier)
            continue
        end = _CLOSING_QUOTE.search(text, member.end())
        changed = _string(text, member.end(), end.start(), verdict, scans, verifier) if end else None
        if changed is None:
            return None
        found += changed
    found.sort()
    return found


@dataclass(frozen=True, slots=True)
class Member:
    """What a member's name says by itself.

    is_odd: its value wants the whole walk · is_name, is_value: of a pair of members · is_trace: it may be the id of one.
    """

    verdict: Verdict | None
    is_odd: bool
    is_name: bool
    is_value: bool
    is_trace: bool


_PLAIN: Final = Member(None, False, False, False, False)


def _member(key: str, tools: Tools) -> Member:
    """Most names of a log repeat, so what they say is remembered."""
    part = part_of(key)
    said = Member(tools.names.verdict(key), key in _ODD, part == "name", part == "value", traces.is_name(key))
    said = _PLAIN if said == _PLAIN else said
    if len(key) <= _LONGEST_NAME:
        if len(tools.members) >= _MOST_MEMBERS:
            tools.members.clear()
        tools.members[key] = said
    return said


def _wanted(
    record: dict[str, Any], verifier: Verifier, scans: Scans
) -> tuple[int, list[tuple[str, Verdict | None]] | None]:
    """How many values are strings, and the members to look at, with what their names say."""
    tools, clean = verifier.tools, verifier.clean(scans)
    known = tools.members.get
    harmless = _HARMLESS.fullmatch if scans <= tools.built_in else _never
    wanted: list[tuple[str, Verdict | None]] = []
    strings = 0
    names = values = False
    for key, value in record.items():
        said = known(key) or _member(key, tools)
        kind = type(value)
        strings += kind is str
        if said is _PLAIN and (kind is float or (kind is str and value in clean)):
            continue
        if kind is dict or kind is list or said.is_odd:
            return 0, None
        names = names or said.is_name
        values = values or said.is_value
        if kind not in _JUDGED or (said.verdict is None and _is_harmless(kind, value, clean, harmless)):
            continue
        if said.is_trace and said.verdict is None and harmless is not _never and _is_trace_id(str(value)):
            continue
        wanted.append((key, said.verdict))
        if len(wanted) > _MOST_WANTED:
            return 0, None
    return strings, None if names and values else wanted


def _never(_: str) -> None:
    return None


def _is_harmless(kind: type, value: Any, clean: set[str], harmless: Callable[[str], object]) -> bool:
    """A value under a harmless name that no rule could concern."""
    if kind is str:
        return value in clean or len(value) <= 4 or bool(harmless(value))
    return kind is float or -_SHORTEST_LONG_NUMBER < value < _SHORTEST_LONG_NUMBER


def _is_trace_id(value: str) -> bool:
    return traces.is_id(value, 0, len(value))


def _each_name_once(text: str, strings: int) -> bool:
    """The quotes in the text are those of the decoded names and values: so no name stands there twice.

    There is no escaped backslash in the text, so a backslash before a quote escapes it.
    """
    return text.count('"') - text.count('\\"') == 2 * strings


def _number(text: str, span: tuple[int, int], verdict: Verdict | None, scans: Scans, verifier: Verifier) -> list[Hit]:
    start, end = span
    if verdict is None:
        return long_number((start, end, None), text, scans, verifier)
    mark = verifier.number(text[start:end], verdict)
    return [] if mark is None else [Hit(start, end, verdict.rule, mark)]


def _string(
    text: str, start: int, end: int, verdict: Verdict | None, scans: Scans, verifier: Verifier
) -> list[Hit] | None:
    content = text[start:end]
    if not content:
        return []
    verifier.step()
    seen = len(verifier.seen)
    found = verifier.string(content, verdict, scans, (text, start))
    if not found:
        if verdict is None and len(verifier.seen) == seen and len(content) <= LONGEST_CLEAN and "\\" not in content:
            verifier.clean(scans).add(content)
        return found
    if not _final(content, found, verdict, verifier, (text, start)):
        return None
    return [Hit(h.start + start, h.end + start, h.rule, h.text) for h in found]


def _final(
    content: str, found: list[Hit], verdict: Verdict | None, verifier: Verifier, within: tuple[str, int]
) -> bool:
    """Whether nothing is left to find once the hits are replaced. within: the text that `content` stands in, and where."""
    if len(found) == 1 and found[0].start == 0 and found[0].end == len(content):
        return True
    parts: list[str] = []
    done = 0
    for hit in found:
        parts += (content[done : hit.start], hit.text or "")
        done = hit.end
    parts.append(content[done:])
    after = "".join(parts)
    if len(after) > LONG:
        places = verifier.survey.places_within(within[0], within[1], within[1] + len(content))
        if places is None:
            return not verifier.string(after, verdict, frozenset())
        return not verifier.string_again(after, verdict, places, found)
    settled = verifier.tools.settled
    if verdict is None and after in settled:
        return True
    rest = verifier.tools.marks.emptied(after)
    scans = verifier.tools.scans_of(rest.encode("utf-8", "surrogatepass"))
    if (verdict is not None or scans) and verifier.string(after, verdict, scans):
        return False
    if verdict is None and len(after) <= _LONGEST_SETTLED:
        if len(settled) >= _MOST_SETTLED:
            settled.clear()
        settled.add(after)
    return True


_LONGEST_SETTLED: Final = 256
_MOST_SETTLED: Final = 4_096
