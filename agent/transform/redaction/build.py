"""From the configuration to the parts of a redactor; says by name what is wrong with a rule."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from agent import config
from agent.transform.redaction import catalogue, literals, own, pem, rules_keys
from agent.transform.redaction import finder as finders
from agent.transform.redaction.catalogue import RULES, SHARED, Needle
from agent.transform.redaction.engine import Engine, installed_engine
from agent.transform.redaction.finder import Finder, Store
from agent.transform.redaction.gate import Gate
from agent.transform.redaction.marks import Marks
from agent.transform.redaction.names import Names
from agent.transform.redaction.rule import Action, BadRule, Rule
from agent.transform.redaction.verify import Scan, Tools

_OPERATOR = "operator"


@dataclass(frozen=True, slots=True)
class Plan:
    """All rules, those of the operator among them, and which are on."""

    rules: tuple[Rule, ...]
    on: frozenset[str]
    presets: frozenset[str]


@dataclass(frozen=True, slots=True)
class Parts:
    """What a redactor works with.

    email_only: the scans of a line in which only addresses were seen · pem: number of the scan for private keys ·
    key_mark: a whole line of a private key.
    """

    finder: Finder
    tools: Tools
    email_only: set[int]
    email_mark: Callable[[str], bytes]
    pem: int
    key_mark: bytes

    def action_of(self, rule: str) -> str:
        return self.tools.actions[rule]


def plan(settings: config.Redact) -> Plan:
    users = tuple(
        Rule(r.id, _OPERATOR, f"rule of the configuration: {r.id}", find=(r.pattern,), pattern=r.pattern)
        for r in settings.rule
    )
    rules = (*RULES, *users)
    known: set[str] = set()
    for rule in rules:
        if rule.id in known:
            raise BadRule(f"redact.rule {rule.id!r}: there is a rule of this name already; choose another id")
        known.add(rule.id)
    for ident in settings.disable:
        if ident not in known:
            near = difflib.get_close_matches(ident, known, n=1, cutoff=0.5)
            hint = f"; did you mean {near[0]!r}?" if near else "; docs/redaction.md lists them"
            raise BadRule(f"redact.disable: no rule is called {ident!r}{hint}")
    on = frozenset(
        r.id for r in rules if r.id not in settings.disable and (r.group == _OPERATOR or r.preset in settings.presets)
    )
    return Plan(rules, on, frozenset(settings.presets))


def assemble(
    settings: config.Redact,
    planned: Plan,
    pseudonym_key: bytes,
    own_secrets: Sequence[str],
    engine: Engine | None,
    store: Store | None,
) -> Parts:
    marks = Marks(pseudonym_key, settings.mode == "hash", _replacements(settings))
    marks.know(planned.on)
    names = Names(settings.keys, pii="pii" in settings.presets)
    scans: list[Scan | None] = []
    numbers: dict[str, int] = {}
    for name, scan in SHARED.items():
        numbers[name] = len(scans)
        scans.append(scan)
    needles = _needles(settings, planned, scans, numbers)
    users = sum(user.id in planned.on for user in settings.rule)
    built_in = frozenset(range(len(scans) - users))
    if "own-secret" in planned.on and own_secrets:
        needles += own.needles(own_secrets, len(scans))
        scans.append(own.scan_for(own_secrets))
    finder = (
        finders.best(needles, store)
        if store is not None and engine is None
        else finders.make(engine or installed_engine(), needles)
    )
    actions: dict[str, Action] = {r.id: r.action for r in planned.rules if r.id in planned.on}
    tools = Tools(
        scans=tuple(scans),
        scans_of=finder.scans_of,
        actions=actions,
        allowed=_allowed(settings.allow),
        names=names,
        gate=Gate(marks),
        marks=marks,
        base64=numbers["base64"],
        clean={},
        built_in=built_in,
        settled=set(),
    )
    return Parts(
        finder=finder,
        tools=tools,
        email_only={numbers["email"]},
        email_mark=lambda address: marks.write("email", actions["email"], address).encode(),
        pem=numbers["pem"],
        key_mark=b"[REDACTED:pem-private-key]",
    )


def _needles(settings: config.Redact, planned: Plan, scans: list[Scan | None], numbers: dict[str, int]) -> list[Needle]:
    needles: list[Needle] = []
    wrapped: list[str] = []
    for rule in planned.rules:
        if rule.group == _OPERATOR or not _looked_for(rule, planned):
            continue
        if rule.scanner:
            number = numbers[rule.scanner]
        else:
            number = len(scans)
            scans.append(catalogue.pattern_scan(rule))
        needles += [Needle(pattern, number, rule.preset == "pii") for pattern in rule.find]
        wrapped += rule.anchors
    if "base64-wrapped" in planned.on:
        needles.append(Needle(catalogue.TEXT_IN_BASE64, numbers["base64"], pii=False))
        needles += [
            Needle(p, numbers["base64"], pii=False, base64=True)
            for p in dict.fromkeys(catalogue.base64_needles([*wrapped, *rules_keys.BASE64_WORDS]))
        ]
    if settings.keys:
        needles += _key_needles(settings.keys, numbers)
    for user in settings.rule:
        if user.id in planned.on:
            needles += _user_needles(user, len(scans))
            scans.append(_user_scan(user))
    return needles


def _looked_for(rule: Rule, planned: Plan) -> bool:
    """The patterns for sensitive names stand in one rule, and serve all rules that go by a name."""
    return bool(rule.find) and (rule.id in planned.on or (rule.scanner == "names" and "secrets" in planned.presets))


def _key_needles(keys: Sequence[str], numbers: dict[str, int]) -> list[Needle]:
    stems = rules_keys.key_stems(keys)
    forms = (
        ("names", rules_keys.name_needles),
        ("pairs", rules_keys.pair_needles),
        ("flags", rules_keys.flag_needles),
        ("markup", rules_keys.markup_needles),
    )
    return [Needle(p, numbers[name], pii=False) for name, make in forms for p in make(stems)]


def _replacements(settings: config.Redact) -> dict[str, str]:
    out: dict[str, str] = {}
    for rule in settings.rule:
        if rule.replacement is not None:
            if any(c in '"\\' or ord(c) < 0x20 for c in rule.replacement):
                raise BadRule(
                    f"redact.rule {rule.id!r}: the replacement must not hold quotes, backslashes or control characters"
                )
            out[rule.id] = rule.replacement
    return out


def _user_needles(user: config.RedactRule, number: int) -> list[Needle]:
    _check_pattern(f"redact.rule {user.id!r}", user.pattern)
    if user.keywords:
        return [Needle("(?i)" + re.escape(word), number, pii=False) for word in user.keywords]
    return [Needle(user.pattern, number, pii=False)]


def _check_pattern(where: str, pattern: str) -> None:
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


def _user_scan(user: config.RedactRule) -> Scan:
    rule = Rule(
        user.id, _OPERATOR, "", pattern=user.pattern if "(?P<secret>" in user.pattern else f"(?P<secret>{user.pattern})"
    )
    return catalogue.pattern_scan(rule)


def _allowed(patterns: Sequence[str]) -> Callable[[str], bool] | None:
    if not patterns:
        return None
    for pattern in patterns:
        _check_pattern("redact.allow", pattern)
    compiled = [re.compile(pattern) for pattern in patterns]
    return lambda value: any(c.fullmatch(value) for c in compiled)


def key_lines(lines: Sequence[bytes], inside: bool) -> list[int]:
    """Numbers of the lines that belong to a private key, its BEGIN and END among them, where the key takes several."""
    found: list[int] = []
    block: list[int] | None = [] if inside else None
    for number, line in enumerate(lines):
        if len(line) > pem.LONGEST_LINE:
            block = None
        elif pem.BEGIN_LINE.search(line):
            block = [number]
        elif pem.END_LINE.search(line) and block is None and pem.END_LINE.match(line.strip()):
            found += _body_before(lines, number)
        elif block is not None:
            if len(block) > pem.MOST_BODY_LINES or not (pem.BODY_LINE.fullmatch(line) or pem.END_LINE.search(line)):
                found += block
                block = None
                continue
            block.append(number)
            if pem.END_LINE.search(line):
                found += block
                block = None
    return found + (block or [])


def _body_before(lines: Sequence[bytes], end: int) -> list[int]:
    """An END without BEGIN: the key began in the chunk before."""
    start = end
    while start > 0 and end - start < pem.MOST_BODY_LINES and pem.BODY_LINE.fullmatch(lines[start - 1]):
        start -= 1
    return list(range(start, end + 1))


def ends_inside(data: bytes, inside: bool) -> bool:
    """Whether the chunk ends within a key: its last lines are a BEGIN and body lines."""
    for back, line in enumerate(reversed(data.splitlines()[-pem.MOST_BODY_LINES - 1 :])):
        if len(line) <= pem.LONGEST_LINE and pem.BEGIN_LINE.search(line):
            return True
        if (
            len(line) > pem.LONGEST_LINE
            or pem.END_LINE.search(line)
            or not pem.BODY_LINE.fullmatch(line)
            or back > pem.MOST_BODY_LINES
        ):
            return False
    return inside
