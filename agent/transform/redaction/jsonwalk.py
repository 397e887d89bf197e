"""Walks the tokens of valid JSON where they stand: no parsing into objects, so duplicate keys and spelling survive."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING

from agent.transform.redaction import traces
from agent.transform.redaction.checks import is_a_name, lower_word
from agent.transform.redaction.decode import unescape
from agent.transform.redaction.names import Verdict
from agent.transform.redaction.prose import strong
from agent.transform.redaction.rule import Hit, WorkLimit
from agent.transform.redaction.values import DESCRIPTIVE
from agent.transform.redaction.windows import within

if TYPE_CHECKING:
    from agent.transform.redaction.verify import Scans, Verifier

_TOKEN = re.compile(r'"((?:[^"\\]++|\\.)*+)"(?:\s*+(:))?|([\[{])|([\]}])|([^\s"\[\]{},:]++)', re.DOTALL)
_KEY, _STRING, _OPEN, _CLOSE = 2, 1, 3, 4

NAME_KEYS = frozenset({"name", "key", "field", "header", "param", "parameter", "variable", "property", "Name", "Key"})
VALUE_KEYS = frozenset(
    {
        *("value", "val", "content", "input", "default", "Value"),
        *("old", "new", "before", "after", "oldValue", "newValue", "old_value", "new_value"),
    }
)
_JWK_PRIVATE = frozenset({"k", "d", "p", "q", "dp", "dq", "qi"})
_SPECIAL = _JWK_PRIVATE | {"kty", "loc"}
_NAME_ENDS = ("Key", "Name", "_key", "_name")
_VALUE_ENDS = ("Value", "_value")
# A dict under these names is a structure to walk by its own keys; under the others every leaf is the secret.
_BY_KEYS = frozenset({"auth", "dsn", "digits", "vendor", "pass", "pwd", "session", "pin"})
_TOP = "(top)"
_BY_PARENT = frozenset({"key", "Key", "phrase", "answer"})
"""Names that say nothing without the one above them: `"encryption": {"key": …}`."""
_PAIRS = frozenset({"", _TOP, "auth", "basic_auth", "basicAuth", "http_auth", "proxy_auth"})
_NOT_IN_LISTS = frozenset({"auth", "dsn"})

MOST_TOKENS = 20_000
LONGEST_CLEAN = 64
_SHORTEST_BASE64 = 24
_NAME = re.compile(r"[\w .\-\[\]/]{1,128}")


@lru_cache(maxsize=4096)
def part_of(key: str) -> str | None:
    """What a member may be of an object that spells a name and its value out: `{"ParameterKey": …, "ParameterValue": …}`."""
    if key in NAME_KEYS or key == "loc" or key.endswith(_NAME_ENDS):
        return "name"
    if key in VALUE_KEYS or key.endswith(_VALUE_ENDS):
        return "value"
    return "other" if key in _SPECIAL else None


Leaf = tuple[int, int, str | None]
"""Start, end and content of a value; a string's without its quotes, a number's content is None."""


class _Frame:
    """An open object or array."""

    __slots__ = ("count", "first", "forced", "key", "last", "special")

    def __init__(self, key: str, forced: Verdict | None) -> None:
        self.key = key
        self.forced = forced
        self.special: dict[str, Leaf] | None = None
        self.first = self.last = ""
        self.count = 0


def walk(text: str, verifier: Verifier, scans: Scans) -> list[Hit]:  # noqa: C901 - one loop, for speed
    """Hits in the places of `text`, which is valid JSON."""
    hits: list[Hit] = []
    stack: list[_Frame] = []
    frame = _Frame("", None)
    key, verdict = _TOP, None
    verdict_of, in_array = verifier.names.verdict, False
    clean = verifier.clean(scans)
    places = verifier.survey.places_in(text)
    for number, token in enumerate(_TOKEN.finditer(text)):
        if number > MOST_TOKENS:
            raise WorkLimit("too many members")
        kind = token.lastindex
        if kind == _KEY:
            key = token[1] if "\\" not in token[1] else unescape(token[1])
            verdict = frame.forced
            if verdict is None or key in DESCRIPTIVE:
                verdict = verdict_of(key)
            elif verdict.kind == "card":
                verdict = verdict_of(key) or verdict  # a card has a number, and a code under a name of its own
            if verdict is None and key in _BY_PARENT and frame.key:
                verdict = verdict_of(f"{frame.key} {key}")
            in_array = False
        elif kind == _OPEN:
            stack.append(frame)
            own_keys = _BY_KEYS if token[3] == "{" else _NOT_IN_LISTS
            forced = verdict if verdict is not None and verdict.kind not in own_keys else None
            if forced is not None and forced.kind == "loose":
                forced = Verdict(forced.rule, "any")
            frame = _Frame("" if in_array else key, forced)
            verdict, in_array, key = forced, token[3] == "[", ""
        elif kind == _CLOSE:
            _close(frame, stack[-1] if stack else frame, hits, verifier)
            frame = stack.pop() if stack else frame
            verdict, in_array, key = frame.forced, True, ""
        else:
            content = token[1] if kind == _STRING else None
            start, end = (token.start(1), token.end(1)) if content is not None else token.span()
            if in_array:
                frame.count += 1
                if content is not None:
                    if verdict is None and frame.last.startswith("--"):  # `["tool", "--password", "x"]`
                        forced = verdict_of(frame.last)
                        if forced is not None:
                            _secret((start, end, content), forced, hits, verifier)
                    frame.last = content
                    if frame.count == 1:
                        frame.first = content
                    elif frame.count == 2 and verdict is None and frame.key in _PAIRS:
                        _remember(frame, "second", (start, end, content))
            elif part_of(key) is not None:
                _remember(frame, key, (start, end, content))
            # What is clean under a name need not be that in a list, where `NAME=value` is a variable.
            is_variable = in_array and content is not None and "=" in content
            is_known = content in clean and not is_variable
            if verdict is None and is_known:
                continue
            asked = scans if places is None else frozenset([scan for _, scan in within(places, start, end)])
            if verdict is None and not asked and places is not None:
                continue
            if (
                verdict is None
                and traces.is_name(key)
                and asked <= verifier.tools.built_in
                and traces.is_id(text, start, end)
            ):
                continue
            if verifier.tools.by_path:
                verifier.path = ".".join(
                    name for name in (*(f.key for f in stack), frame.key, key) if name not in ("", _TOP)
                )
            before = len(hits) + len(verifier.seen)
            if is_variable and verdict is None and content:
                verdict = _variable(content, verifier)
                if verdict is not None:
                    equals = start + content.index("=") + 1
                    _secret((equals, end, text[equals:end]), verdict, hits, verifier)
                    verdict = None
                    continue
            _leaf((start, end, content), text, verdict, asked, hits, verifier)
            if (
                verdict is None
                and content
                and len(content) <= LONGEST_CLEAN
                and len(hits) + len(verifier.seen) == before
            ):
                clean.add(content)
    return hits


_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_.\-]{1,80}(?==)")


def _variable(content: str, verifier: Verifier) -> Verdict | None:
    """`NAME=value` as an element of a list, the form of environments: all behind the `=` is the value."""
    name = _VARIABLE.match(content)
    return verifier.names.verdict(name[0]) if name else None


def _leaf(leaf: Leaf, text: str, verdict: Verdict | None, scans: Scans, hits: list[Hit], verifier: Verifier) -> None:
    start, end, content = leaf
    verifier.step(2)
    if content is None:
        if verdict is not None:
            mark = verifier.number(text[start:end], verdict)
            if mark is not None:
                hits.append(Hit(start, end, verdict.rule, mark))
        elif end - start >= 12:
            hits += long_number(leaf, text, scans, verifier)
    elif content and (verdict is not None or len(content) > 4):
        hits += [hit.moved(start) for hit in verifier.string(content, verdict, scans, (text, start))]


def long_number(leaf: Leaf, text: str, scans: Scans, verifier: Verifier) -> list[Hit]:
    """A card number may be written as a JSON number; its mark is a string."""
    start, end, _ = leaf
    if scans <= verifier.tools.wordy and end - start < _SHORTEST_BASE64:
        return []
    whole = (hit for hit in verifier.plain(text[start:end], scans) if hit.end - hit.start == end - start)
    return [Hit(start, end, hit.rule, f'"{hit.text}"') for hit in whole]


def _remember(frame: _Frame, key: str, leaf: Leaf) -> None:
    if frame.special is None:
        frame.special = {}
    frame.special[key] = leaf


def _close(frame: _Frame, parent: _Frame, hits: list[Hit], verifier: Verifier) -> None:
    """What only the whole object or array tells: name and value, loc and input, a JWK, a pair."""
    if frame.key == "loc" and frame.last:
        _remember(parent, "loc", (0, 0, frame.last))
    special = frame.special
    if special is None:
        return
    if "kty" in special:
        for member in _JWK_PRIVATE & special.keys():
            _secret(special[member], Verdict("jwk-private", "any"), hits, verifier)
    if "second" in special:
        if frame.key.endswith(("auth", "Auth")):
            _login(frame, special["second"], hits, verifier)
            return
        verdict = verifier.names.verdict(frame.first) if frame.count == 2 else None
        # By itself such a list may be one of field names.
        if verdict is not None and not (frame.key == _TOP and lower_word(special["second"][2] or "")):
            _secret(special["second"], verdict, hits, verifier)
        return
    _spelled_out(special, hits, verifier)


def _login(frame: _Frame, second: Leaf, hits: list[Hit], verifier: Verifier) -> None:
    """`"auth": ["bob", "x"]`, as libraries take it: a name and what goes with it."""
    content = second[2] or ""
    if (
        frame.count == 2
        and " " not in frame.first
        and strong(content, 7)
        and (frame.key != "auth" or not is_a_name(content))
    ):
        _secret(second, Verdict("password", "any"), hits, verifier)


def _spelled_out(special: dict[str, Leaf], hits: list[Hit], verifier: Verifier) -> None:
    """`{"name": "password", "value": "x"}`: the first member that gives a sensitive name makes the values beside it secret."""
    for member, (_, _, name) in special.items():
        if part_of(member) != "name" or not name or not _NAME.fullmatch(name):
            continue
        verdict = verifier.names.verdict(name)
        if verdict is not None:
            stem = member.removesuffix(next((end for end in _NAME_ENDS if member.endswith(end)), member))
            for value in (VALUE_KEYS | {stem + end for end in _VALUE_ENDS}) & special.keys():
                _secret(special[value], verdict, hits, verifier)
            return


def _secret(leaf: Leaf, verdict: Verdict, hits: list[Hit], verifier: Verifier) -> None:
    start, _, content = leaf
    if content is None:
        return
    found = verifier.string(content, verdict, frozenset())
    hits += [hit.moved(start) for hit in found]
