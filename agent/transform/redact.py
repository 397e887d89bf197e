"""Takes secrets and personal data out of lines: one scan a chunk, care for the few lines it flags.

An unflagged line stays byte for byte. A line that cannot be judged (a bug, too much work) is replaced by a stub:
nothing leaves this host unredacted. Rules, finders and the verifier are in `redaction/`.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from agent import config
from agent.transform.redaction import build as building
from agent.transform.redaction import flat, nearly, own, pem
from agent.transform.redaction.catalogue import RULES
from agent.transform.redaction.engine import Engine
from agent.transform.redaction.finder import Store
from agent.transform.redaction.nearly import Miss
from agent.transform.redaction.pii import DOMAIN_BYTES, LOCAL_CHARACTERS, domain_is_real
from agent.transform.redaction.places import Flags, lines_in
from agent.transform.redaction.rule import Action, BadRule, Hit, WorkLimit
from agent.transform.redaction.verify import HOPELESS, Verifier
from agent.transform.redaction.windows import LONG

__all__ = ["BadRule", "Finding", "Redacted", "Redactor", "RuleInfo"]

FAILED: Final = "redaction-failed"
_TIMESTAMP: Final = re.compile(
    rb'"(?:timestamp|time|ts|@timestamp)"\s{0,3}:\s{0,3}("[0-9TZ:.+ \-]{1,40}"|[0-9]{1,20}(?:\.[0-9]{1,12})?)'
)
_LEVEL: Final = re.compile(rb'"(?:level|levelname|severity)"\s{0,3}:\s{0,3}"([A-Za-z]{1,12})"')
_LOCAL_BYTES: Final = LOCAL_CHARACTERS.encode()
_EDGES: Final = b".!#$&*+?^{|}~-"
_KEY_FOLLOWS: Final = re.compile(rb"[\"'\\]{1,16}\s{0,4}:")
_PERCENT, _SLASH, _AT, _BRACKET, _BACKSLASH = b"%/@[\\"
_FULL_WIDTH: Final = b"\xef"[0]
"""The first byte of full-width letters and signs, which may be of an address too."""
_MEMBER_ENDS: Final = (b",", b"}")
_STUB_SEARCH_BYTES: Final = 4096
_MOST_EMAILS: Final = 65_536
_MOST_ROUNDS: Final = 4
_MOST_ADDRESSES: Final = 6_000


@dataclass(frozen=True, slots=True)
class Finding:
    """Where a rule changed a line: bytes of the input. Never what stood there."""

    rule: str
    start: int
    end: int
    action: str


class Judged(NamedTuple):
    """What a line holds: hits that change it, counts of what is only seen, whether it is to be left out."""

    hits: list[Hit]
    seen: dict[str, int]
    drop: bool


@dataclass(frozen=True, slots=True)
class RuleInfo:
    id: str
    group: str
    description: str
    action: Action
    on: bool
    traps: str = ""


@dataclass(slots=True)
class Redacted:
    """What happened to a chunk.

    flagged: lines the verifier looked at · changed, dropped: line numbers · hits: secrets by rule · seen: findings of
    rules that only count · tags: rules by line number, for those who asked · failed: lines replaced by a stub ·
    open_key: the chunk ends inside a private key.
    """

    flagged: int = 0
    changed: list[int] = field(default_factory=list)
    dropped: list[int] = field(default_factory=list)
    hits: dict[str, int] = field(default_factory=dict)
    seen: dict[str, int] = field(default_factory=dict)
    tags: dict[int, str] = field(default_factory=dict)
    failed: int = 0
    open_key: bool = False


class Redactor:
    """Made once from the configuration; `chunk`, `line` and `text` may be called from several threads."""

    def __init__(self, parts: building.Parts | None, infos: Sequence[RuleInfo], warnings: Sequence[str] = ()) -> None:
        self._parts = parts
        self._infos = tuple(infos)
        self.warnings = tuple(warnings)
        self._email_marks: dict[bytes, bytes] = {}
        self.engine: str = parts.finder.engine if parts else "off"

    @classmethod
    def build(
        cls,
        settings: config.Redact,
        *,
        pseudonym_key: bytes,
        own_secrets: Sequence[str] = (),
        values: Sequence[str] = (),
        engine: Engine | None = None,
        store: Store | None = None,
        today: dt.date | None = None,
    ) -> Redactor:
        """Raises BadRule for a rule that cannot be used.

        own_secrets: the agent's own · values: those of `redact.values_file` · engine: the finder to use; by default the best
        that is installed · store: keeps compiled patterns; with one, the best finder is tried before it is used · today: for
        exemptions that end. `warnings` of what is made says what an operator should know.
        """
        plan = building.plan(settings, today or dt.datetime.now(dt.UTC).date())
        infos = [
            RuleInfo(
                r.id, r.group, r.about, plan.actions.get(r.id, r.action), settings.enabled and r.id in plan.on, r.traps
            )
            for r in plan.rules
        ]
        if not settings.enabled:
            return cls(None, infos)
        warnings = list(plan.warnings)
        for name, exact in (("own secrets", own_secrets), ("values of redact.values_file", values)):
            if count := own.too_common(exact):
                warnings.append(f"{count} of the {name} are too short or too common to be looked for")
        parts = building.assemble(settings, plan, pseudonym_key, own_secrets, values, engine, store)
        return cls(parts, infos, warnings)

    def rules(self) -> list[RuleInfo]:
        return list(self._infos)

    def split(self, data: bytes) -> tuple[list[bytes], Flags]:
        """The lines of a chunk, and which of them the verifier has to look at."""
        return (lines_in(data), {}) if self._parts is None else self._parts.finder.split(data)

    def chunk(self, data: bytes, lines: list[bytes], flags: Flags | None = None, *, open_key: bool = False) -> Redacted:
        """Replaces changed lines in `lines`, which are the lines of `data`.

        flags: what `split` said of them; without, it is asked · open_key: the chunk before of the same file ended inside a
        private key.
        """
        facts = Redacted()
        parts = self._parts
        if parts is None:
            return facts
        flags = parts.finder.split(data)[1] if flags is None else flags
        if flags or open_key:
            facts.flagged = len(flags)
            email_only = parts.email_only
            emails = 0
            for number, scans in flags.items():
                line = lines[number]
                fast = None
                if scans == email_only:
                    fast = self._splice_known(line) or self._splice_emails(line)
                if fast is None:
                    self._slow(number, lines, scans, facts)
                elif fast[1]:
                    lines[number] = fast[0]
                    facts.changed.append(number)
                    emails += fast[1]
            if emails:
                facts.hits["email"] = facts.hits.get("email", 0) + emails
            if open_key or any(parts.pem in scans for scans in flags.values()):
                self._key_lines(data, lines, facts, open_key)
        return facts

    def _slow(self, number: int, lines: list[bytes], scans: frozenset[int], facts: Redacted) -> None:
        line = lines[number]
        redacted, judged = self._verified(line, scans)
        if judged is None:
            facts.failed += 1
        else:
            self._count(number, judged, facts)
        if redacted != line:
            lines[number] = redacted
            facts.changed.append(number)

    def _count(self, number: int, judged: Judged, facts: Redacted) -> None:
        assert self._parts is not None
        for hit in judged.hits:
            facts.hits[hit.rule] = facts.hits.get(hit.rule, 0) + 1
        if judged.drop:
            facts.dropped.append(number)
        if judged.seen or self._parts.tag:
            for rule, count in judged.seen.items():
                facts.seen[rule] = facts.seen.get(rule, 0) + count
            rules = dict.fromkeys([*(hit.rule for hit in judged.hits if self._parts.tag), *judged.seen])
            if rules:
                facts.tags[number] = ",".join(rules)

    def _verified(self, line: bytes, scans: frozenset[int]) -> tuple[bytes, Judged | None]:
        """The line without its secrets; a stub and None when that cannot be promised."""
        try:
            return self._judged(line, scans)
        except Exception:  # noqa: BLE001 - fail closed: whatever went wrong, the line as it is must not leave
            return stub(line), None

    def _judged(self, line: bytes, scans: frozenset[int]) -> tuple[bytes, Judged]:
        assert self._parts is not None
        if len(line) > LONG and line.count(b"@") > _MOST_ADDRESSES:
            raise WorkLimit("too many addresses")
        text = line.decode("utf-8", "surrogateescape")
        if len(text) <= LONG and b"[" in line and (rest := self._parts.tools.marks.emptied(text)) != text:
            scans = self._parts.finder.scans_of(rest.encode("utf-8", "surrogateescape"))
            if not scans:
                return line, Judged([], {}, False)
        verifier = Verifier(self._parts.tools, len(text))
        if len(text) > LONG and HOPELESS not in scans:
            scans = verifier.survey.of(text)
            if not scans:
                return line, Judged([], {}, False)
        hits = None if HOPELESS in scans else flat.hits(text, verifier, scans)
        if hits is not None:
            redacted = _without(text, hits).encode("utf-8", "surrogateescape") if hits else line
        else:
            hits = verifier.document(text, scans)
            redacted = self._settled(text, hits, verifier) if hits else line
        return redacted, Judged(hits, verifier.seen, verifier.drop)

    def _settled(self, text: str, hits: list[Hit], before: Verifier) -> bytes:
        """The text without `hits`, which `before` has found, looked at again: a mark may give its neighbours another meaning.

        So what comes out has nothing left to find, and redacting it once more changes nothing.
        """
        assert self._parts is not None
        places = before.survey.places_in(text)
        work = before.work if len(text) > LONG else None
        for _ in range(_MOST_ROUNDS):
            replaced, text = hits, _without(text, hits)
            if len(text) > LONG:
                verifier = Verifier(self._parts.tools, len(text), work)
                scans = verifier.survey.of(text) if places is None else verifier.survey.again(text, places, replaced)
                hits = verifier.document(text, scans)
                if not hits:
                    return text.encode("utf-8", "surrogateescape")
                places = verifier.survey.places_in(text)
                continue
            rest = self._parts.tools.marks.emptied(text)
            scans = self._parts.finder.scans_of(rest.encode("utf-8", "surrogateescape"))
            hits = Verifier(self._parts.tools, len(text), work).document(text, scans) if scans else []
            if not hits:
                return text.encode("utf-8", "surrogateescape")
        raise WorkLimit("no end to it")

    def line(self, line: bytes) -> tuple[bytes, list[Finding]]:
        """One line, and where it was changed. A value of a label may have several lines."""
        parts = self._parts
        if parts is None:
            return line, []
        scans = frozenset[int]().union(*parts.finder.split(line + b"\n")[1].values())
        if not scans:
            return line, []
        redacted, judged = self._verified(line, scans)
        if judged is None:
            return redacted, [Finding(FAILED, 0, len(line), "stub")]
        text = line.decode("utf-8", "surrogateescape")
        offset = _byte_offsets(text)
        return redacted, [Finding(h.rule, offset(h.start), offset(h.end), parts.action_of(h.rule)) for h in judged.hits]

    def near_misses(self, line: bytes) -> list[Miss]:
        """Why rules did not fire where one might expect it; places are bytes of the line."""
        if self._parts is None:
            return []
        text = line.decode("utf-8", "surrogateescape")
        offset = _byte_offsets(text)
        changed = [(f.start, f.end) for f in self.line(line)[1]]
        tools = self._parts.tools
        found = nearly.misses(text, changed if text.isascii() else [], RULES, tools.names, tools.gate)
        moved = (miss._replace(start=offset(miss.start), end=offset(miss.end)) for miss in found)
        return [m for m in moved if not any(start < m.end and m.start < end for start, end in changed)]

    def text(self, value: str) -> str:
        """A label or metadata value."""
        return self.line(value.encode("utf-8", "surrogatepass"))[0].decode("utf-8", "replace")

    def _splice_known(self, line: bytes) -> tuple[bytes, int] | None:
        """The fastest road, for a line with one address that was seen before and is the whole value of a JSON member.

        None for any other. The quote before ends what could be the local part or a URL, the quote and comma behind the domain
        show that it is no key; so what `_splice_emails` would see there is the same address.
        """
        left, _, right = line.partition(b"@")
        # A byte that is given as a number is looked for four times as fast as one that is given as bytes.
        if _AT in right or _PERCENT in line or _BACKSLASH in line or _FULL_WIDTH in line:
            return None
        before, opening, local = left.rpartition(b'"')
        domain, closing, behind = right.partition(b'"')
        address = local + b"@" + domain
        mark = self._email_marks.get(address)
        if mark is None or not opening or behind[:1] not in _MEMBER_ENDS:
            return None
        return (b"".join((before, opening, mark, closing, behind)), 1) if mark != address else (line, 0)

    def _splice_emails(self, line: bytes) -> tuple[bytes, int] | None:
        """The fast road for a line with nothing but addresses; None sends it down the careful one."""
        assert self._parts is not None
        # Percent and JSON escapes of @, URLs, terminal colours: these need the text as it is meant.
        if len(line) > LONG and line.count(b"@") > _MOST_ADDRESSES:
            return None
        # One byte is looked for before two: that is ten times as fast.
        if (
            (_SLASH in line and b"//" in line)
            or (_PERCENT in line and b"%40" in line)
            or (_BACKSLASH in line and b"u0040" in line)
            or _FULL_WIDTH in line
        ):
            return None
        if _BRACKET in line and (
            b"\x1b[" in line or b"b[" in line or b"B[" in line or b"033[" in line or b"\\e[" in line
        ):
            return None
        out: list[bytes] = []
        done = count = 0
        at = line.find(b"@")
        while at >= 0:
            domain = DOMAIN_BYTES.match(line, at + 1)
            if domain is not None:
                left = line[max(done, at - 64) : at]
                local = left[len(left.rstrip(_LOCAL_BYTES)) :]
                before = line[at - len(local) - 1] if at > len(local) else 32
                if before == 0x5C or before > 0x7F or _KEY_FOLLOWS.match(line, domain.end()):
                    return None
                local = local.lstrip(_EDGES)
                address = local + b"@" + domain[0]
                mark = self._email_marks.get(address) or self._email_mark(address)
                if mark != address:
                    out += (line[done : at - len(local)], mark)
                    done = domain.end()
                    count += 1
            at = line.find(b"@", at + 1)
        if not count:
            return line, 0
        out.append(line[done:])
        return b"".join(out), count

    def _email_mark(self, address: bytes) -> bytes:
        """What to write for an address; the address itself when it is none or allow-listed."""
        assert self._parts is not None
        text = address.decode()
        local, _, host = text.partition("@")
        exempt = any(exemption.covers("email", text, "") for exemption in self._parts.tools.exemptions)
        real = bool(local) and local != "git" and domain_is_real(host) and not exempt
        mark = self._parts.email_mark(text) if real else address
        if len(self._email_marks) >= _MOST_EMAILS:
            self._email_marks.clear()
        self._email_marks[address] = mark
        return mark

    def _key_lines(self, data: bytes, lines: list[bytes], facts: Redacted, inside: bool) -> None:
        """Private keys over several text lines: from BEGIN, or the chunk's start, to END."""
        assert self._parts is not None
        for number in pem.key_lines(data.split(b"\n")[: len(lines)], inside):
            if lines[number] != self._parts.key_mark:
                lines[number] = self._parts.key_mark
                facts.changed.append(number)
                facts.hits["pem-lines"] = facts.hits.get("pem-lines", 0) + 1
        facts.open_key = pem.ends_inside(data, inside)


def _without(text: str, hits: Sequence[Hit]) -> str:
    if len(hits) == 1 and text.strip().isdecimal():  # the whole line is a number, and JSON as that
        hits = [hits[0]._replace(text=f'"{hits[0].text}"')]
    out: list[str] = []
    done = 0
    for hit in hits:
        out += (text[done : hit.start], hit.text or "")
        done = hit.end
    out.append(text[done:])
    return "".join(out)


def _byte_offsets(text: str) -> Callable[[int], int]:
    if text.isascii():
        return lambda place: place
    return lambda place: len(text[:place].encode("utf-8", "surrogateescape"))


def stub(line: bytes) -> bytes:
    """What is sent instead of a line that could not be judged: when, how bad, how long; none of its words."""
    head = line[:_STUB_SEARCH_BYTES]
    timestamp, level = _TIMESTAMP.search(head), _LEVEL.search(head)
    members = [b'"redaction":"failed"']
    if timestamp:
        members.append(b'"timestamp":' + timestamp[1])
    if level:
        members.append(b'"level":"' + level[1] + b'"')
    members.append(b'"bytes":%d' % len(line))
    return b"{" + b",".join(members) + b"}"
