"""Values beside a sensitive name in text: `password=…`, `"token": "…"`, headers, query strings, flags, XML, tuples."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from agent.transform.redaction.checks import lower_word
from agent.transform.redaction.names import Verdict
from agent.transform.redaction.rule import Hit
from agent.transform.redaction.values import Value, bare, items, quoted

if TYPE_CHECKING:
    from agent.transform.redaction.verify import Verifier

_SEPARATOR = re.compile(r"=>|->|:=|==?|:(?!//)|：|＝")
_NAME_CHARACTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-[]$%"
_CLOSERS = " \t\"'`\\])>"
_SPACE = re.compile(r"[ \t]{0,8}")
_LINE_BREAK = re.compile(r"\s{0,40}")
_TYPE = re.compile(
    r"[ \t]{0,3}(?:Optional\[)?(?:str|bytes|SecretStr|int)\]?(?:[ \t]?\|[ \t]?None)?[ \t]{0,3}=[ \t]{0,3}"
)
_COOKIE_FORM = re.compile(r"\\*[\"']?[^\s=;,\"'\\]{1,128}=")
_CONTAINER = re.compile(r"[\[{(]\s{0,8}(?:[brBR]?\\*[\"']|[\[{(]|\s)")
_WRAPPER = re.compile(r"(?:SecretStr|SecretBytes|Secret|str|bytes|quote|repr)\(")
_TWO_WORD_ENDS = frozenset(
    [
        "key",
        "keys",
        "secret",
        "token",
        "id",
        "string",
        "code",
        "codes",
        "answer",
        "number",
        "phrase",
        "header",
        "value",
        "password",
        "cookie",
        "uri",
        "url",
        "hash",
        "confirm",
        "confirmation",
        "again",
    ]
)
_LONGEST_NAME = 160
_MARK = "[REDACTED:"


def scan(text: str, verifier: Verifier) -> Iterator[Hit]:
    """Every separator with a sensitive name before it and a value behind it."""
    done = -1
    for separator in verifier.each(_SEPARATOR, text):
        if separator.start() < done:
            continue
        name, start = name_before(text, separator.start())
        if not name or text.startswith(_MARK, start - len(_MARK)):
            continue
        verdict = verifier.names.verdict(name)
        if verdict is None:
            verdict = _longer_name(text, name, start, verifier)
        if verdict is None:
            continue
        query = start > 0 and text[start - 1] in "?&"
        for hit in _values(text, separator.end(), name, verdict, query, verifier):
            done = max(done, hit.end)
            yield hit


def name_before(text: str, at: int) -> tuple[str, int]:
    """The name that ends at `at`, quotes, brackets and spaces between left out."""
    low = max(0, at - _LONGEST_NAME)
    left = text[low:at]
    closed = left.rstrip(_CLOSERS)
    if not closed or len(left) - len(closed) > 24:
        return "", at
    if "]" in left[len(closed) :] and "[" in closed:
        closed = left[: len(closed)]
    name = closed[len(closed.rstrip(_NAME_CHARACTERS)) :]
    return name, low + len(closed) - len(name)


def _longer_name(text: str, name: str, start: int, verifier: Verifier) -> Verdict | None:
    """`api key:` and `social security number =` are names of several words."""
    if name.lower() not in _TWO_WORD_ENDS:
        return None
    for _ in range(2):
        if start < 2 or text[start - 1] != " ":
            return None
        word, start = name_before(text, start - 1)
        if not word:
            return None
        name = f"{word} {name}"
        verdict = verifier.names.verdict(name)
        if verdict is not None:
            return verdict
    return None


def _values(text: str, at: int, name: str, verdict: Verdict, query: bool, verifier: Verifier) -> Iterator[Hit]:
    """The value, or the values of the list, that begin at `at`."""
    space = _SPACE.match(text, at)
    begin = space.end() if space else at
    spaced = begin > at
    typed = _TYPE.match(text, at)
    if typed is not None:
        begin, spaced = typed.end(), False
    if verdict.kind == "authorization" and text[begin : begin + 1] not in "[{(":
        yield from verifier.headers.authorization(text, begin, verdict)
        return
    if verdict.kind == "cookie" and text[begin : begin + 1] not in "[{(":
        if not query and _COOKIE_FORM.match(text, begin):
            yield from verifier.headers.cookies(text, begin)
            return
        verdict = Verdict(verdict.rule, "session")
    if text[begin : begin + 1] in ("\n", "\r"):
        return
    wrapper = _WRAPPER.match(text, begin)
    begin = wrapper.end() if wrapper else begin
    found = quoted(text, begin)
    if found is None and _CONTAINER.match(text, begin):
        for item in items(text, begin, verifier.step):
            yield from _hit(text, item, name, verdict, spaced, verifier)
        return
    value = found or bare(text, begin, query)
    if value is not None:
        yield from _hit(text, value, name, verdict, spaced, verifier)


def _hit(text: str, value: Value, name: str, verdict: Verdict, spaced: bool, verifier: Verifier) -> Iterator[Hit]:
    secret = text[value.start : value.end]
    if verdict.kind == "dsn":
        return
    if verdict.kind == "authorization":
        yield from verifier.headers.authorization(text, value.start, verdict)
        return
    if verdict.kind == "cookie" and "=" in secret:
        yield from verifier.headers.cookies(text, value.start)
        return
    if not verifier.gate.leaves_in_text(name, secret, verdict, spaced, value.quoted):
        yield Hit(value.start, value.end, verdict.rule)


_FLAG = re.compile(r"(?<![\w-])--([A-Za-z][A-Za-z0-9_\-]{1,60})(?: {1,3}|=)(?![ -])")
_XML = re.compile(r"<([A-Za-z][\w.:\-]{0,80})(?:\s[^<>]{0,200})?>(?=[^<>\s])")
_ELEMENT_END = re.compile(r"[^<]{1,65536}+(?=</)")
_PAIR = re.compile(r"[\"']\\{0,8}[\"']?[ ]{0,2},[ ]{0,2}(?=[brBR]?\\{0,8}[\"'])")
_VALUE_KEY = re.compile(r"b?\\{0,8}[\"']?(?:value|val|content|default)\\{0,8}[\"']?[ ]{0,2}[:=][ ]{0,2}")
_ATTRIBUTE_PAIR = re.compile(
    r"\b(?:key|name|id)=\\{0,8}[\"']([\w.:\-]{1,80})\\{0,8}[\"'][ ]{1,3}value=(?=\\{0,8}[\"'])"
)


def scan_flags(text: str, verifier: Verifier) -> Iterator[Hit]:
    """`--password x` on a command line; `--password-stdin` and `--token-file` have other heads."""
    for flag in verifier.each(_FLAG, text):
        verdict = verifier.names.verdict(flag[1])
        value = (quoted(text, flag.end()) or bare(text, flag.end())) if verdict else None
        if verdict and value and not verifier.gate.leaves(text[value.start : value.end], verdict):
            yield Hit(value.start, value.end, verdict.rule)


def scan_markup(text: str, verifier: Verifier) -> Iterator[Hit]:
    """`<password>x</password>` and `<add key="password" value="x"/>`."""
    for tag in verifier.each(_XML, text):
        verdict = verifier.names.verdict(tag[1])
        inside = _ELEMENT_END.match(text, tag.end()) if verdict else None
        if verdict and inside and not verifier.gate.leaves(inside[0], verdict):
            yield Hit(inside.start(), inside.end(), verdict.rule)
    for pair in verifier.each(_ATTRIBUTE_PAIR, text):
        verdict = verifier.names.verdict(pair[1])
        value = quoted(text, pair.end()) if verdict else None
        if verdict and value and not verifier.gate.leaves(text[value.start : value.end], verdict):
            yield Hit(value.start, value.end, verdict.rule)


def scan_pairs(text: str, verifier: Verifier) -> Iterator[Hit]:
    """`('authorization', 'x')`, `(b'cookie', b'x')`, `"name": "password", "value": "x"`."""
    for comma in verifier.each(_PAIR, text):
        name, _ = name_before(text, comma.start() + 1)
        verdict = verifier.names.verdict(name) if name else None
        if verdict is None:
            continue
        key = _VALUE_KEY.match(text, comma.end())
        second = quoted(text, key.end() if key else comma.end())
        if second is None or (key is None and not _in_tuple(text, comma.start())):
            continue
        if key is None and lower_word(text[second.start : second.end]):
            continue
        yield from _hit(text, second, name, verdict, False, verifier)


_TUPLE = re.compile(r"[\[(][brBR]?\\{0,8}[\"'][^\"'\\]{1,80}\Z")


def _in_tuple(text: str, at: int) -> bool:
    """The name is the first thing after a bracket: `("authorization", …`, not one of many in a list of field names."""
    return _TUPLE.search(text[max(0, at - 100) : at]) is not None
