"""All rules and procedures in one place, and what the finder must look for."""

from __future__ import annotations

import base64
import importlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import chain
from types import ModuleType

from agent.transform.redaction import (
    headers,
    named,
    pem,
    pii,
    prose,
    rules_ai,
    rules_cloud,
    rules_code,
    rules_infra,
    rules_keys,
    rules_more,
    rules_pii,
    rules_services,
    rules_text,
)
from agent.transform.redaction.rule import GateName, Hit, Rule
from agent.transform.redaction.shapes import LEFT, LEFT_SHORT
from agent.transform.redaction.verify import Scan, Verifier
from agent.transform.redaction.windows import CLOSE, FAR, NEAR, Reach

RULES: tuple[Rule, ...] = (
    *rules_cloud.RULES,
    *rules_infra.RULES,
    *rules_code.RULES,
    *rules_services.OBSERVABILITY,
    *rules_services.MESSAGING,
    *rules_services.PAYMENT,
    *rules_services.SAAS,
    *rules_ai.RULES,
    *rules_text.URLS,
    *rules_keys.KEYS,
    *rules_keys.MATERIAL,
    *rules_text.TOKENS,
    *rules_text.PROSE,
    *rules_text.HASHES,
    *rules_text.ENCODINGS,
    *rules_pii.RULES,
    *rules_more.RULES,
)

_LATE = ("command", "layout", "pairs", "personal", "phrases", "sql", "urls")
"""Modules that few lines need, and no start: their patterns take a tenth of it to compile."""


def _later(module: str, name: str) -> Scan:
    """A procedure of such a module, which is loaded when a line first asks for it."""

    @cache
    def procedure() -> Scan:
        found: Scan = getattr(_load(module), name)
        return found

    def scan(text: str, verifier: Verifier) -> Iterable[Hit]:
        return procedure()(text, verifier)

    return scan


def _load(module: str) -> ModuleType:
    return importlib.import_module(f"agent.transform.redaction.{module}")


def load_late() -> None:
    """Loads what is still missing of these modules: when there is time for it, but before an upgrade replaces their files, or there is no
    descriptor left to read them."""
    for module in _LATE:
        _load(module)


# A name of another language is rare enough for everything that goes by names to look at its line.
_FOREIGN = (
    named.scan,
    prose.scan_foreign,
    _later("pairs", "scan_pairs"),
    _later("pairs", "scan_flags"),
    _later("pairs", "scan_markup"),
    _later("layout", "scan_columns"),
    _later("layout", "scan_frames"),
)
SHARED: dict[str, Scan | None] = {
    "shape": None,  # flags the line; walking its JSON does the work
    "percent": None,
    "base64": None,
    "names": named.scan,
    "pairs": _later("pairs", "scan_pairs"),
    "flags": _later("pairs", "scan_flags"),
    "markup": _later("pairs", "scan_markup"),
    "columns": _later("layout", "scan_columns"),
    "frames": _later("layout", "scan_frames"),
    "userinfo": _later("urls", "scan_userinfo"),
    "query": _later("urls", "scan_query"),
    "otpauth": _later("urls", "scan_otpauth"),
    "pem": pem.scan,
    "jwk": pem.scan_jwk,
    "bearer": headers.scan_bearer,
    "basic": headers.scan_basic,
    "jwt": headers.scan_jwt,
    "pair": prose.scan_pair,
    "prose": prose.scan_prose,
    "changed": _later("phrases", "scan_changed"),
    "with": _later("phrases", "scan_with"),
    "of-user": _later("phrases", "scan_of_user"),
    "got": _later("phrases", "scan_got"),
    "key-of": _later("phrases", "scan_key_of"),
    "told": _later("phrases", "scan_told"),
    "code": _later("phrases", "scan_code"),
    "as": _later("phrases", "scan_as"),
    "foreign": lambda text, verifier: chain.from_iterable(scan(text, verifier) for scan in _FOREIGN),
    "user": _later("command", "scan_user"),
    "added-user": _later("command", "scan_added_user"),
    "tool": _later("command", "scan_tool"),
    "arguments": _later("command", "scan_arguments"),
    "env": _later("command", "scan_env"),
    "client": _later("command", "scan_client"),
    "directive": _later("command", "scan_directive"),
    "oracle": _later("command", "scan_oracle"),
    "piped": _later("command", "scan_piped"),
    "sql": _later("sql", "scan_sql"),
    "pydantic": _later("sql", "scan_pydantic"),
    "email": pii.scan_email,
    "card": pii.scan_card,
    "iban": pii.scan_iban,
    "phone": _later("personal", "scan_phone"),
    "address": _later("personal", "scan_address"),
    "national-id": _later("personal", "scan_national_id"),
    "entropy": _later("personal", "scan_entropy"),
}
"""Procedures shared by rules; None stands for one the verifier itself performs."""

PHRASES = ("changed", "with", "of-user", "got", "key-of", "told", "code", "as")
"""Procedures for one form of a sentence; where one is asked for, so is that for all: what is none of the form may be one of others."""
COMMANDS = ("user", "added-user", "tool", "arguments", "env", "client", "directive", "oracle", "piped")
REACH = {
    **dict.fromkeys(("columns", "frames", "markup", "pem", "jwk", "foreign", "sql", "pydantic"), FAR),
    "names": Reach(CLOSE.before, NEAR.after),
    **dict.fromkeys(("prose", *PHRASES, "pair", "userinfo", *COMMANDS), CLOSE),
}
"""Of procedures that look farther in a long text than others do, or less far."""
COST = {
    **dict.fromkeys(("prose", *PHRASES, "pair"), 1),
    "names": 3,
    "address": 4,
    "sql": 4,
    "card": 4,
    "directive": 4,
    "oracle": 4,
    "entropy": 5,
    "iban": 5,
    "pairs": 5,
    "foreign": 9,
    "national-id": 14,
}
"""What a procedure costs for as much text as takes the fastest seven microseconds; two where nothing is said."""


@dataclass(frozen=True, slots=True)
class Needle:
    """A finder pattern and the number of the scan it asks for.

    base64: it begins with what a literal looks like there. own: it is made of a secret of the agent's, so it is never kept.
    gate: it needs no literal, so it is slow, and in one automaton with the others it would slow the whole; what this names is
    quick, is found wherever it is, and says whether to look.
    """

    pattern: str
    scan: int
    base64: bool = False
    own: bool = False
    gate: GateName = ""


_WORD = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_")
_HEX = frozenset("0123456789abcdefABCDEF")


def _begins(text: str, at: int, short: bool) -> bool:
    """What LEFT and LEFT_SHORT say: no word character before; the end of a percent or backslash escape is none."""
    if at == 0:
        return True
    before = text[at - 1]
    if before not in _WORD and not (short and before in ".-"):
        return True
    if at >= 2 and before in "nrt" and text[at - 2] == "\\":
        return True
    if at >= 6 and text.startswith("\\u", at - 6) and _HEX.issuperset(text[at - 4 : at]):
        return True
    return at >= 3 and text[at - 3] == "%" and before in _HEX and text[at - 2] in _HEX


_NO_WORD = re.compile(r"[^A-Za-z0-9_]")


def _next_beginning(text: str, at: int) -> int:
    """Where after `at`, which is within a word, something may begin again; in a run of a million letters nowhere."""
    if "%" in text[max(0, at - 2) : at] or "\\u" in text[max(0, at - 6) : at]:
        return at + 1
    end = _NO_WORD.search(text, at)
    return end.start() if end else len(text)


def pattern_cost(rule: Rule) -> int:
    """Like those of COST. What does not begin with its literal is tried at each character."""
    return 2 if rule.pattern.startswith((LEFT, LEFT_SHORT)) else 4


def pattern_scan(rule: Rule) -> Scan:
    """The procedure of a rule that one pattern expresses. The pattern is compiled when the rule is first suspected: most never
    are, and compiling all takes a twentieth of a start."""
    left = next((left for left in (LEFT, LEFT_SHORT) if rule.pattern.startswith(left)), "")
    check = rule.check

    @cache
    def compiled() -> re.Pattern[str]:
        return re.compile(rule.pattern.removeprefix(left))

    def places(text: str, verifier: Verifier) -> Iterator[re.Match[str]]:
        """A pattern that begins with its literal is found by the engine's fast search; what stands before comes after."""
        pattern = compiled()
        found = pattern.search(text)
        while found is not None:
            verifier.step()
            start = found.start()
            if _begins(text, start, left == LEFT_SHORT):
                yield found
                start = found.end()
            else:
                start = _next_beginning(text, start)
            found = pattern.search(text, start)

    def scan(text: str, verifier: Verifier) -> Iterator[Hit]:
        for found in places(text, verifier) if left else verifier.each(compiled(), text):
            start, end = found.span("secret")
            end = start + len(found["secret"].rstrip(".-"))
            if check is None or check(text[start:end]):
                yield Hit(start, end, rule.id)

    return scan


def _text_in_base64() -> str:
    """Eighteen characters of printable ASCII and line breaks in base64, and what follows to behind the end of the run, so that a
    run is told once. Chance makes one in two million characters.

    They may stand anywhere in it: an automaton that counts from where the run begins takes ten times as long to scan.
    """
    groups = (
        [i for i in range(64) if 8 <= i < 32 or i == 2],
        [i for i in range(64) if 2 <= i % 16 < 8 or i % 16 == 0],
        [i for i in range(64) if i % 4 < 2],
    )
    group = "".join("[" + re.escape("".join(_BASE64[i] for i in group)) + "]" for group in groups) + "[A-Za-z0-9+/]"
    return f"(?:{group}){{6}}[A-Za-z0-9+/]*(?:[^A-Za-z0-9+/]|$)"


_BASE64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
TEXT_IN_BASE64 = _text_in_base64()
_LONGEST_ANCHOR = 12
BASE64_ANCHOR_LENGTH = 4


def base64_needles(literals: Iterable[str]) -> Iterator[str]:
    """What a literal looks like in base64, in each of its three alignments."""
    for literal in literals:
        for shift in range(3):
            encoded = base64.b64encode(b"\0" * shift + literal.encode()).decode().rstrip("=")
            sure = encoded[(shift * 8 + 5) // 6 : (shift + len(literal)) * 8 // 6][:_LONGEST_ANCHOR]
            if len(sure) >= BASE64_ANCHOR_LENGTH:
                yield re.escape(sure).replace(r"\+", "[+-]").replace("/", "[/_]") + "[A-Za-z0-9+/_-]{8}"
