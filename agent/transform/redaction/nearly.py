"""Why a rule did not fire where somebody might have expected it: gate, boundary, length, checksum. For `explain`.

Says places and reasons, never the text that stands there: it may be a secret all the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from agent.transform.redaction import checks
from agent.transform.redaction.gate import Gate
from agent.transform.redaction.names import Names, Verdict
from agent.transform.redaction.rule import Rule
from agent.transform.redaction.values import bare, name_before, quoted

_SEPARATOR = re.compile(r"=>|->|:=|==?|:(?!//)")
_DIGITS = re.compile(r"\d(?:[ -]?\d){11,18}")
_ADDRESS = re.compile(r"[\w.+-]{1,64}@[\w.-]{1,255}")
_SSN = re.compile(r"\d{3}-\d{2}-\d{4}")
_IBAN = re.compile(r"\b[A-Z]{2}\d{2}[ A-Z0-9]{11,34}\b")
_MOST = 20


class Miss(NamedTuple):
    """A place in the text where `rule` did not fire, and why."""

    rule: str
    start: int
    end: int
    why: str


def misses(
    text: str, changed: Sequence[tuple[int, int]], rules: Sequence[Rule], names: Names, gate: Gate
) -> list[Miss]:
    """At most twenty, in the text's order, none of them where something was changed."""
    found: list[Miss] = []
    for make in (_names(text, names, gate), _tokens(text, rules), _numbers(text)):
        found += [m for m in make if not any(start < m.end and m.start < end for start, end in changed)]
    return sorted(set(found), key=lambda miss: (miss.start, miss.rule))[:_MOST]


def _names(text: str, names: Names, gate: Gate) -> Iterator[Miss]:
    """A sensitive name whose value was left."""
    for separator in _SEPARATOR.finditer(text):
        name, _ = name_before(text, separator.start())
        verdict = names.verdict(name) if name else None
        if verdict is None:
            continue
        at = (
            separator.end()
            + len(text[separator.end() : separator.end() + 8])
            - len(text[separator.end() : separator.end() + 8].lstrip(" "))
        )
        value = quoted(text, at) or bare(text, at)
        if value is None or value.end <= value.start:
            yield Miss(verdict.rule, separator.start(), separator.end(), f"{name}: there is no value")
            continue
        why = _gate(name, text[value.start : value.end], verdict, at > separator.end(), value.quoted, gate)
        yield Miss(verdict.rule, value.start, value.end, f"{name}: {why}")


def _gate(name: str, value: str, verdict: Verdict, spaced: bool, is_quoted: bool, gate: Gate) -> str:
    if gate.masked(value):
        return "masked already"
    if gate.leaves(value, verdict):
        return f"gate: empty, a placeholder, a description or too little for the kind {verdict.kind!r}"
    if gate.leaves_in_text(name, value, verdict, spaced, is_quoted):
        return "gate: in text this is a plain word, code or a count"
    return "another reading of the line explains it, or the rule is off or exempt"


def _tokens(text: str, rules: Sequence[Rule]) -> Iterator[Miss]:
    """The literal beginning of a token without a token."""
    for rule in rules:
        literal = next(
            (must.replace("«", "").partition("{")[0] for must in rule.must if rule.pattern and rule.shortest), ""
        )
        if len(literal) < 3 or not rule.must[0].startswith(literal):
            continue
        at = text.find(literal)
        while at >= 0:
            yield _token(text, at, literal, rule)
            at = text.find(literal, at + 1)


def _token(text: str, at: int, literal: str, rule: Rule) -> Miss:
    run = re.compile(r"[A-Za-z0-9_.+/=-]*").match(text, at)
    end = run.end() if run else at + len(literal)
    if at and (text[at - 1].isalnum() or text[at - 1] == "_"):
        why = "boundary: a letter, digit or _ stands before it"
    elif end - at - len(literal) < rule.shortest:
        why = f"length: {end - at - len(literal)} characters behind the prefix, at least {rule.shortest} wanted"
    elif rule.check is not None and not rule.check(text[at:end]):
        why = "check: checksum, alphabet or mixture of characters is not that of a token, or it is a stand-in"
    else:
        why = "the rule is off or exempt, or its characters are others"
    return Miss(rule.id, at, end, why)


def _numbers(text: str) -> Iterator[Miss]:
    for found in _DIGITS.finditer(text):
        digits = re.sub(r"\D", "", found[0])
        before, after = text[max(0, found.start() - 1) : found.start()], text[found.end() : found.end() + 1]
        if before.isalnum() or before == "." or after.isalnum():
            why = "boundary: a letter, digit or dot beside it"
        elif checks.unionpay(digits) and not checks.issuer(digits):
            why = "context: a number of UnionPay counts behind a word for a card or under such a name"
        elif not checks.issuer(digits):
            why = "issuer: no network gives out this prefix with this length"
        else:
            why = "checksum: the Luhn digit is wrong" if not checks.luhn(digits) else "its grouping is none of a card"
        yield Miss("card", *found.span(), why)
    for found in _ADDRESS.finditer(text):
        yield Miss(
            "email", *found.span(), "domain: it ends like a file, a unit or a version, or the rule is off or exempt"
        )
    for found in _SSN.finditer(text):
        if not checks.ssn(found[0]):
            yield Miss("us-ssn", *found.span(), "checksum: no such area, group or serial number")
    for found in _IBAN.finditer(text):
        yield Miss("iban", *found.span(), "checksum: length or check digits are not those of the country")
