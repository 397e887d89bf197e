"""Secrets in SQL statements and in the errors of the libraries around them: literals, bound parameters, validation input."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from agent.transform.redaction.checks import lower_word
from agent.transform.redaction.prose import ANY
from agent.transform.redaction.rule import Hit
from agent.transform.redaction.values import Value, items, quoted

if TYPE_CHECKING:
    from agent.transform.redaction.verify import Verifier

_SQL = re.compile(
    r"(?i:\bIDENTIFIED[ \t]{1,3}(?:WITH[ \t]{1,3}[a-z0-9_'\"]{1,40}[ \t]{1,3})?(?:BY|AS)(?:[ \t]{1,3}PASSWORD)?[ \t]|\bPASSWORD[ \t(]"
    r"|\bSET[ \t]{1,3}PASSWORD(?:[ \t]{1,3}FOR[ \t]{1,3}[^\s=]{1,80})?[ \t]{0,3}=|\bcrypt\(|\bdigest\()(?:[ \t]{0,3}PASSWORD\()?[ \t(]{0,3}(?=\\*['\"])"
)
_INSERT = re.compile(
    r"(?i:\b(?:INSERT|REPLACE)[ \t]{1,3}INTO[ \t]{1,3}[^\s(]{1,80}[ \t]{0,3})\((?P<columns>[^()]{1,4000})\)\s{0,5}(?i:VALUES)\s{0,5}(?=\()"
)
_PARAMETERS = re.compile(r"(?:\[parameters: |-- PARAMETERS: )(?=[\[(])")
_DUPLICATE = re.compile(r"Duplicate entry (?=\\*')")
_FOR_KEY = re.compile(r"\\*' for key \\*'(?P<name>[\w.]{1,100})")
_COLUMN = re.compile(
    r"(?P<name>[A-Za-z_][A-Za-z0-9_.]{0,80})[\"`\]]?[ \t]{0,2}=[ \t]{0,2}(?:\?|%s|\$\d{1,3}|:\d{1,3}|%\(\w{1,60}\)s)"
)
_LONGEST_STATEMENT = 16_384


def scan_sql(text: str, verifier: Verifier) -> Iterator[Hit]:
    """`IDENTIFIED BY 'x'`; all literals of an INSERT that names a sensitive column, also as bound parameters."""
    for found in verifier.each(_SQL, text):
        value = quoted(text, found.end())
        secret = text[value.start : value.end] if value else ""
        if found[0][:8].lower() == "password" and lower_word(secret) and verifier.names.verdict(secret) is not None:
            continue  # `invalid password 'access_token'`: no statement, and a name
        if value and not verifier.gate.leaves(secret, ANY):
            yield Hit(value.start, value.end, "sql-password")
    for found in verifier.each(_INSERT, text, 8):
        if _names_a_secret(found["columns"], verifier):
            yield from _literals(text, found.end(), verifier)
    for found in verifier.each(_DUPLICATE, text):
        value = quoted(text, found.end())
        key = _FOR_KEY.match(text, value.end) if value else None
        verdict = verifier.names.verdict(key["name"]) if key else None
        if value and verdict and not verifier.gate.leaves(text[value.start : value.end], verdict):
            yield Hit(value.start, value.end, verdict.rule)
    for found in verifier.each(_PARAMETERS, text):
        statement = text[max(0, found.start() - _LONGEST_STATEMENT) : found.start()]
        inserts = any(_names_a_secret(m["columns"], verifier) for m in verifier.each(_INSERT, statement))
        if inserts or any(verifier.names.verdict(m["name"]) for m in verifier.each(_COLUMN, statement)):
            yield from _literals(text, found.end(), verifier)


def _names_a_secret(columns: str, verifier: Verifier) -> bool:
    return any(verifier.names.verdict(column.strip(" \t\n\"'`[]\\")) for column in columns.split(","))


def _literals(text: str, at: int, verifier: Verifier) -> Iterator[Hit]:
    for value in items(text, at, verifier.step):
        if not verifier.gate.leaves(text[value.start : value.end], ANY):
            yield Hit(value.start, value.end, "sql-password")


_INPUT = re.compile(r"(?P<open>\binput_value=)(?=[\"'{\[0-9])")
_FIELD = re.compile(
    r"(?:(?<![\w\\.\-])|(?<=\\[nrt]))(?P<name>[\w.\-]{1,200})(?:\s|\\+n){1,8}(?:Field|Value|Unable|Unexpected|Missing|Extra|Assertion|[A-Z][A-Za-z]{1,20} (?:should|must|is|has|cannot|may|error))\b[^\[\]\n]{0,300}(?:\[[^\[\]]{0,60}\][^\[\]\n]{0,60}){0,4}\[type=[a-z_.]{1,80}, \Z"
)
_LOC = re.compile(r"[\"']loc\\{0,8}[\"'] ?: ?[\[(](?P<names>[^\])]{1,300})[\])]")
_INPUT_MEMBER = re.compile(r"[\"']input\\{0,8}[\"'] ?: ?(?=\\{0,8}[\"'])")
_NEAR = 1_000


def _line_before(text: str, at: int) -> str:
    """The line above the one that `at` is in, if it may be a name."""
    line = text.rfind("\n", 0, at)
    above = text[max(0, text.rfind("\n", 0, max(line, 0)) + 1) : max(line, 0)].strip()
    return above if len(above) < 200 else ""


_DIGITS = re.compile(r"\d{4,32}(?=[,\]])")


def _digits(text: str, at: int) -> Value | None:
    """A number where a string was wanted."""
    found = _DIGITS.match(text, at)
    return Value(*found.span(), False) if found else None


def scan_pydantic(text: str, verifier: Verifier) -> Iterator[Hit]:
    """pydantic's text form: the field's name, a sentence, `[type=…, input_value='…'`; and its dicts as Python prints them."""
    for found in verifier.each(_INPUT, text):
        joined = _FIELD.search(text, max(0, found.start() - _NEAR), found.start())
        field = joined["name"] if joined else _line_before(text, found.start())
        verdict = verifier.names.verdict(field) if field else None
        value = (quoted(text, found.end()) or _digits(text, found.end())) if verdict else None
        if verdict and value and not verifier.gate.leaves(text[value.start : value.end], verdict):
            yield Hit(value.start, value.end, verdict.rule)
    for loc in verifier.each(_LOC, text):
        verdict = verifier.names.verdict(loc["names"].rstrip(" ,").rpartition(",")[2].strip(" \"'\\"))
        member = _INPUT_MEMBER.search(text, loc.end(), loc.end() + _NEAR) if verdict else None
        value = quoted(text, member.end()) if member else None
        if verdict and value and not verifier.gate.leaves(text[value.start : value.end], verdict):
            yield Hit(value.start, value.end, verdict.rule)
