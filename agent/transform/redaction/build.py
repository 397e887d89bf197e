"""From the configuration to the parts of a redactor; says by name what is wrong with a rule."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from agent import config
from agent.transform.redaction import catalogue, house_rules, own, rules_keys
from agent.transform.redaction import finder as finders
from agent.transform.redaction.catalogue import RULES, SHARED, Needle
from agent.transform.redaction.engine import Engine, installed_engine
from agent.transform.redaction.finder import Finder, Store
from agent.transform.redaction.gate import Gate
from agent.transform.redaction.house_rules import Exemption
from agent.transform.redaction.marks import Marks
from agent.transform.redaction.names import PERSONAL_STEMS, Names
from agent.transform.redaction.rule import Action, BadRule, Rule
from agent.transform.redaction.verify import Scan, Tools, Verifier
from agent.transform.redaction.windows import CLOSE, FAR

_NEVER_IN_PART = frozenset(
    [
        "password",
        "prose-password",
        "credentials-pair",
        "cli-password",
        "sql-password",
        "url-userinfo",
        "one-time-code",
        "security-answer",
        "card-data",
        "us-ssn",
        "pem-private-key",
        "pem-lines",
        "otpauth",
    ]
)
"""What remains of these would still help to guess them."""


@dataclass(frozen=True, slots=True)
class Plan:
    """All rules, those of the operator among them; which are on and what each does."""

    rules: tuple[Rule, ...]
    actions: dict[str, Action]
    presets: frozenset[str]
    exemptions: tuple[Exemption, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def on(self) -> frozenset[str]:
        return frozenset(self.actions)


@dataclass(frozen=True, slots=True)
class Parts:
    """What a redactor works with.

    email_only: the scans of a line in which only addresses were seen, where these take the fast road ·
    pem: number of the scan for private keys · key_mark: a whole line of a private key · drops, tags: rules with that action.
    """

    finder: Finder
    tools: Tools
    email_only: frozenset[int]
    email_mark: Callable[[str], bytes]
    pem: int
    key_mark: bytes
    drops: frozenset[str] = field(default=frozenset())
    tag: bool = False

    def action_of(self, rule: str) -> str:
        return self.tools.actions[rule]


def plan(settings: config.Redact, today: dt.date) -> Plan:
    rules = (*RULES, *house_rules.rules(settings))
    known: set[str] = set()
    for rule in rules:
        if rule.id in known:
            raise BadRule(f"redact.rule {rule.id!r}: there is a rule of this name already; choose another id")
        known.add(rule.id)
    groups = {rule.group for rule in rules}

    def ids_of(name: str, where: str) -> Iterable[str]:
        """The rules that an id or the name of a group stands for."""
        if name in known:
            return (name,)
        if name in groups:
            return tuple(rule.id for rule in rules if rule.group == name)
        import difflib  # noqa: PLC0415 - only a mistake needs it

        near = difflib.get_close_matches(name, (*known, *groups), n=1, cutoff=0.5)
        hint = f"; did you mean {near[0]!r}?" if near else "; `greenstack-agent redact rules` lists them"
        raise BadRule(f"{where}: no rule is called {name!r}{hint}")

    disabled = {ident for name in settings.disable for ident in ids_of(name, "redact.disable")}
    enabled = {ident for name in settings.enable for ident in ids_of(name, "redact.enable")}
    chosen: dict[str, str] = {}
    for name, asked in sorted(settings.actions.items(), key=lambda item: item[0] in known):
        ids = ids_of(name, "redact.actions")
        chosen |= dict.fromkeys(ids, asked)
        enabled |= {ident for ident in ids if name in known}
    actions: dict[str, Action] = {}
    action: str
    for rule in rules:
        wanted = rule.id in enabled or (
            rule.default and (rule.group == house_rules.GROUP or rule.preset in settings.presets)
        )
        action = chosen.get(rule.id, rule.action)
        if wanted and rule.id not in disabled and action != "off":
            actions[rule.id] = _checked(rule, action)
    exemptions, warnings = house_rules.exemptions(settings, ids_of, today)
    return Plan(rules, actions, frozenset(settings.presets), tuple(exemptions), tuple(warnings))


def _checked(rule: Rule, action: str) -> Action:
    if action == "partial" and rule.id in _NEVER_IN_PART:
        raise BadRule(f"redact.actions: {rule.id!r} cannot be partial, its last characters help to guess it; use mask")
    if action in ("mask", "partial", "pseudonym", "drop_line", "tag_only"):
        return action  # type: ignore[return-value] # the configuration admits no others
    raise BadRule(f"redact.actions: {action!r} is no action")


def assemble(
    settings: config.Redact,
    planned: Plan,
    pseudonym_key: bytes,
    own_secrets: Sequence[str],
    values: Sequence[str],
    engine: Engine | None,
    store: Store | None,
) -> Parts:
    marks = Marks(pseudonym_key, settings.mode == "hash", house_rules.replacements(settings))
    marks.know(planned.on)
    names = Names(settings.keys, pii="pii" in settings.presets, more_rules=planned.on)
    scans: list[Scan | None] = []
    numbers: dict[str, int] = {}
    for name, scan in SHARED.items():
        numbers[name] = len(scans)
        scans.append(scan)
    costs = {numbers[name]: cost for name, cost in catalogue.COST.items()}
    needles = _needles(settings, planned, scans, numbers, costs)
    users = sum(user.id in planned.on for user in settings.rule)
    reach = {numbers[name]: reach for name, reach in catalogue.REACH.items()}
    reach |= dict.fromkeys(range(len(SHARED), len(scans) - users), CLOSE)
    # Ids, addresses and times may stand unread in the common line, unless a rule asks for them.
    built_in = frozenset(range(len(scans) - users))
    if "ip-address" in planned.on:
        built_in -= {numbers["address"]}
    for rule, exact in (("own-secret", own_secrets), ("value-list", values)):
        if rule in planned.on and exact:
            needles += own.needles(exact, len(scans))
            reach[len(scans)] = FAR
            scans.append(own.scan_for(exact, rule))
    finder = (
        finders.best(needles, store)
        if store is not None and engine is None
        else finders.make(engine or installed_engine(), needles)
    )
    tools = Tools(
        scans=tuple(scans),
        scans_of=finder.scans_of,
        places_of=finder.places_of,
        actions=planned.actions,
        exemptions=planned.exemptions,
        by_path=any(exemption.path for exemption in planned.exemptions),
        names=names,
        gate=Gate(marks),
        marks=marks,
        base64=numbers["base64"],
        wordy=frozenset(numbers.values()) - {numbers["card"]},
        reach=reach,
        cost=costs,
        implied={numbers[name]: numbers["prose"] for name in catalogue.PHRASES},
        clean={},
        built_in=built_in,
        settled=set(),
        members={},
    )
    for user in settings.rule:
        if user.id in planned.on:
            house_rules.check_samples(user, house_rules.scan_of(user), lambda text: Verifier(tools, len(text)))
    fast = planned.actions.get("email") in ("mask", "pseudonym") and not tools.by_path and not settings.tag
    return Parts(
        finder=finder,
        tools=tools,
        email_only=frozenset({numbers["email"]} if fast else ()),
        email_mark=lambda address: marks.write("email", planned.actions["email"], address).encode(),
        pem=numbers["pem"],
        key_mark=b"[REDACTED:pem-private-key]",
        drops=frozenset(rule for rule, action in planned.actions.items() if action == "drop_line"),
        tag=settings.tag,
    )


def _needles(
    settings: config.Redact, planned: Plan, scans: list[Scan | None], numbers: dict[str, int], costs: dict[int, int]
) -> list[Needle]:
    needles: list[Needle] = []
    wrapped: list[str] = []
    for rule in planned.rules:
        if rule.group == house_rules.GROUP or not _looked_for(rule, planned):
            continue
        if rule.scanner:
            number = numbers[rule.scanner]
        else:
            number = len(scans)
            scans.append(catalogue.pattern_scan(rule))
            costs[number] = catalogue.pattern_cost(rule)
        needles += [Needle(pattern, number) for pattern in rule.find]
        needles += [Needle(pattern, number, gate=rule.gate) for pattern in rule.gated]
        needles += [Needle(pattern, numbers[name]) for name, patterns in rule.also for pattern in patterns]
        wrapped += rule.anchors
    if "base64-wrapped" in planned.on:
        needles.append(Needle(catalogue.TEXT_IN_BASE64, numbers["base64"], gate="run"))
        needles += [
            Needle(p, numbers["base64"], base64=True)
            for p in dict.fromkeys(catalogue.base64_needles([*wrapped, *rules_keys.BASE64_WORDS]))
        ]
    if settings.keys:
        needles += _key_needles(rules_keys.key_stems(settings.keys), numbers)
    for rule_id, stems in PERSONAL_STEMS.items():
        if rule_id in planned.on:
            needles += _key_needles(stems, numbers)
    for user in settings.rule:
        if user.id in planned.on:
            needles += house_rules.needles(user, len(scans))
            scans.append(house_rules.scan_of(user))
    return needles


def _looked_for(rule: Rule, planned: Plan) -> bool:
    """The patterns for sensitive names stand in one rule, and serve all rules that go by a name."""
    return bool(rule.find or rule.gated) and (
        rule.id in planned.on or (rule.id == "password" and "secrets" in planned.presets)
    )


def _key_needles(stems: str, numbers: dict[str, int]) -> list[Needle]:
    forms = (
        ("names", rules_keys.name_needles),
        ("pairs", rules_keys.pair_needles),
        ("flags", rules_keys.flag_needles),
        ("markup", rules_keys.markup_needles),
        ("columns", rules_keys.column_needles),
    )
    return [Needle(p, numbers[name]) for name, make in forms for p in make(stems)]
