"""What the operator adds: rules of their own and exemptions, checked at start and refused by name with the remedy."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from agent import config
from agent.transform.redaction import catalogue, checks, literals
from agent.transform.redaction import finder as finders
from agent.transform.redaction.catalogue import Needle
from agent.transform.redaction.rule import BadRule, Hit, Rule
from agent.transform.redaction.verify import Scan, Verifier

GROUP = "operator"
_CHECKS: dict[str, Callable[[str], bool]] = {
    "luhn": lambda text: checks.luhn("".join(filter(str.isdigit, text)) or "1"),
    "iban": checks.iban,
    "digit": checks.has_digit,
    "mixed": checks.mixed,
}
_PROBES = ("hunter2", "aB3dE6gH9jK2mN5pQ8", "john.doe@example.org", "4929123456789014", "correct horse battery", "x9")
"""An exemption that covers all of these covers everything."""


def rules(settings: config.Redact) -> tuple[Rule, ...]:
    return tuple(
        Rule(
            rule.id,
            GROUP,
            f"rule of the configuration: {rule.id}",
            find=(rule.pattern,),
            pattern=rule.pattern,
            action=rule.action if rule.enforce else "tag_only",
        )
        for rule in settings.rule
    )


def needles(user: config.RedactRule, number: int) -> list[Needle]:
    check_pattern(f"redact.rule {user.id!r}", user.pattern)
    if user.keywords:
        return [Needle("(?i)" + re.escape(word), number) for word in user.keywords]
    return [Needle(user.pattern, number)]


def scan_of(user: config.RedactRule) -> Scan:
    pattern = user.pattern if "(?P<secret>" in user.pattern else f"(?P<secret>{user.pattern})"
    re.compile(pattern)  # now: one that is wrong ends the start, not a line
    plain = catalogue.pattern_scan(Rule(user.id, GROUP, "", pattern=pattern, check=_CHECKS.get(user.check)))
    if not (user.within and user.keywords):
        return plain
    words = tuple(word.lower() for word in user.keywords)

    def scan(text: str, verifier: Verifier) -> Iterator[Hit]:
        for hit in plain(text, verifier):
            before = text[max(0, hit.start - user.within) : hit.start].lower()
            if any(word in before for word in words):
                yield hit

    return scan


def check_samples(user: config.RedactRule, scan: Scan, verifier: Callable[[str], Verifier]) -> None:
    """Raises BadRule when a sample of the rule says that the rule is wrong."""
    for samples, wanted in ((user.must_match, True), (user.must_not_match, False)):
        for number, sample in enumerate(samples):
            if any(scan(sample, verifier(sample))) is not wanted:
                name = "must_match" if wanted else "must_not_match"
                said = "matches nothing in" if wanted else "matches in"
                raise BadRule(f"redact.rule {user.id!r}: the pattern {said} {name}[{number}], {sample!r}")


def replacements(settings: config.Redact) -> dict[str, str]:
    out: dict[str, str] = {}
    for rule in settings.rule:
        if rule.replacement is not None:
            if any(c in '"\\' or ord(c) < 0x20 for c in rule.replacement):
                raise BadRule(
                    f"redact.rule {rule.id!r}: the replacement must not hold quotes, backslashes or control characters"
                )
            out[rule.id] = rule.replacement
    return out


def check_pattern(where: str, pattern: str) -> None:
    """Linear time is checked twice: by its form, for engines that backtrack, and by Hyperscan's compiler."""
    try:
        compiled = re.compile(pattern)
        problem = literals.not_linear(pattern)
    except (re.error, RecursionError) as error:
        raise BadRule(f"{where}: {pattern!r} is no regular expression: {error}") from None
    if problem:
        raise BadRule(
            f"{where}: {pattern!r} may take more than linear time: {problem}; write it with plain groups and bounded repeats"
        )
    if compiled.match(""):
        raise BadRule(
            f"{where}: {pattern!r} matches the empty text, so it would match everywhere; make a part of it required"
        )
    problem = finders.refusal(pattern)
    if problem:
        raise BadRule(f"{where}: {pattern!r} cannot be compiled for scanning: {problem}; simplify it")


@dataclass(frozen=True, slots=True)
class Exemption:
    """rules: ids, or none for all · path, value: what must hold besides."""

    rules: frozenset[str]
    path: str
    value: re.Pattern[str] | None

    def covers(self, rule: str, secret: str, path: str) -> bool:
        return (
            (not self.rules or rule in self.rules)
            and (not self.path or self.path == path)
            and (self.value is None or self.value.fullmatch(secret) is not None)
        )


def exemptions(
    settings: config.Redact, ids_of: Callable[[str, str], Iterable[str]], today: dt.date
) -> tuple[list[Exemption], list[str]]:
    """Those that hold today, and warnings for people."""
    found: list[Exemption] = []
    warnings: list[str] = []
    for pattern in settings.allow:
        check_pattern("redact.allow", pattern)
        found.append(Exemption(frozenset(), "", re.compile(pattern)))
        warnings += _too_wide(f"redact.allow {pattern!r}", found[-1])
    for number, entry in enumerate(settings.exempt):
        where = f"redact.exempt[{number}]"
        if entry.value:
            check_pattern(where, entry.value)
        ids = frozenset(ids_of(entry.rule, f"{where}.rule")) if entry.rule else frozenset[str]()
        if entry.until is not None and today > entry.until:
            warnings.append(f"{where} held until {entry.until} and counts no more; take it out")
            continue
        found.append(Exemption(ids, entry.path, re.compile(entry.value) if entry.value else None))
        warnings += _too_wide(where, found[-1])
    return found, warnings


def _too_wide(where: str, exemption: Exemption) -> Sequence[str]:
    value = exemption.value
    if value is None or exemption.path or not all(value.fullmatch(probe) for probe in _PROBES):
        return ()
    what = "every rule" if not exemption.rules else "its rules"
    return (f"{where} matches everything: it switches {what} off",)
