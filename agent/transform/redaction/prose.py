"""Credentials in sentences and command lines: `User credentials: bob:hunter2`, `password is hunter2`, `curl -u a:b`, SQL."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from agent.transform.redaction import checks
from agent.transform.redaction.names import Verdict
from agent.transform.redaction.rule import Hit
from agent.transform.redaction.values import bare, items, quoted

if TYPE_CHECKING:
    from agent.transform.redaction.verify import Verifier

_ANY = Verdict("password", "any")

_PAIR = re.compile(
    r"(?i:\b(?:credentials?|creds?|logins?|logged in|auth(?:enticat(?:ing|ed|e|ion))?|sign(?:ed|ing)?[ -]?in))"
    r"(?:[ \t](?:used|with|as|for|are|is|details?|pair|data|info|by|user|credentials?|using|of|the|attempt|failed|attempted)){0,4}"
    r"[ \t\"'`\\]{0,4}[:=]?(?:[ \t]{0,3})[\"'`(\\\[<]{0,3}(?P<name>[^\s:;,\"'`()<>\[\]{}=\\/]{1,64}):(?P<secret>[^\s\"'`<>\\]{2,256})"
)
_SCOPE_WORDS = frozenset(
    [
        "read",
        "write",
        "admin",
        "delete",
        "update",
        "create",
        "all",
        "list",
        "view",
        "edit",
        "execute",
        "manage",
        "none",
        "full",
        "openid",
        "user",
    ]
)
_TIME_OR_PORT = re.compile(r"\d{1,5}(?:[/,.:].{0,80})?")


def scan_pair(text: str, verifier: Verifier) -> Iterator[Hit]:
    """A heading such as `credentials` and then `name:secret`: what stands behind the colon."""
    for found in verifier.each(_PAIR, text):
        secret = found["secret"].rstrip(".,;:!)]}") if found["secret"][-1] in ".,;:)]}" else found["secret"]
        if not secret or found["name"].isdigit() or secret.startswith("//") or _TIME_OR_PORT.fullmatch(secret):
            continue
        if re.split(r"[,\s]", secret, maxsplit=1)[0].lower() in _SCOPE_WORDS or verifier.gate.leaves(secret, _ANY):
            continue
        if found["name"].lower() in ("http", "https", "urn", "arn", "sha256", "file"):
            continue
        yield Hit(found.start("secret"), found.start("secret") + len(secret), "credentials-pair")


_PROSE = re.compile(
    r"(?i:\b(?P<what>password|passwd|passphrase|passcode|pwd|pin|pass|api[ _-]?key|secret|access[ _-]?token|auth[ _-]?token|token|otp|code))"
    r"(?:[ \t](?i:for|of|to|by|from)[ \t](?:(?i:the|user|account|database|db)[ \t]){0,2}[^\s]{1,64})?"
    r"[ \t]{1,3}(?:(?i:is|was|are|set[ \t]to|changed[ \t]to|reset[ \t]to|updated[ \t]to|now|will[ \t]be|should[ \t]be|equals)"
    r"(?:[ \t](?i:now|set[ \t]to|changed[ \t]to|reset[ \t]to|still))?[ \t]{0,2}:?[ \t]{1,3}(?=[^\s])|(?=\\*[\"'`]))"
)
_NOT_SECRET_CODE = re.compile(r"[0-9]{1,3}|[1-5][0-9]{2}|v?\d+(?:\.\d+)+[.,]?")


def scan_prose(text: str, verifier: Verifier) -> Iterator[Hit]:
    """`password for bob is hunter2`: a token with a digit or symbol, or in quotes; a plain word is a sentence."""
    for found in verifier.each(_PROSE, text):
        value = quoted(text, found.end())
        what = found["what"].lower()
        if value is None:
            value = bare(text, found.end())
            if value is None or not _looks_secret(what, text[value.start : value.end]):
                continue
        elif what in ("code", "pin", "token", "secret") and checks.lower_word(text[value.start : value.end]):
            continue
        secret = text[value.start : value.end]
        if " " in secret and what not in ("passphrase", "password"):
            continue
        if value.quoted and (
            len(secret) < 4
            or verifier.names.verdict(secret) is not None
            or (what == "code" and not (secret.isdigit() and len(secret) >= 6))
        ):
            continue
        if not verifier.gate.leaves(secret, _ANY) and not text[value.end : value.end + 3].lstrip("\"'`").startswith(
            ("=", ":")
        ):
            yield Hit(value.start, value.end, "prose-password")


def _looks_secret(what: str, token: str) -> bool:
    if what in ("code", "pin", "otp"):
        return token.isdigit() and 4 <= len(token) <= 8 and what != "code"
    if _NOT_SECRET_CODE.fullmatch(token) or checks.lower_word(token.rstrip("!,?")) or "/" in token[:1]:
        return False
    if re.fullmatch(
        r"[A-Z]?[a-z]+(?:[-'’][a-z]+)*[.,!?:;)]*|[A-Z]+|\(.*|[a-z_]+(?:\.[a-z_]+)*\(?.*\)?", token
    ) and not checks.has_digit(token):
        return False
    least = 12 if what.endswith("key") or "token" in what or what == "secret" else 4
    return len(token) >= least and (checks.has_digit(token) or not token.isalpha())


_USER_FLAG = re.compile(
    r"(?<!\S)(?:-u|--user|--proxy-user|-U)[ =]{0,2}[\"']?(?P<user>[^\s:\"'/]{1,64}):(?P<secret>[^\s\"']{1,256})"
)
_MYSQL = re.compile(
    r"\b(?:mysql|mysqldump|mysqladmin|mariadb|sshpass|redis-cli)\b[^|;\n]{0,200}?[ ](?P<flag>(?<=sshpass )-p ?|-p|-a )(?P<secret>[^\s\"'`;|]{2,128})"
)


def scan_cli(text: str, verifier: Verifier) -> Iterator[Hit]:
    """`curl -u user:pass`, `mysql -ppass`."""
    for found in verifier.each(_USER_FLAG, text):
        if not found["secret"].isdigit() and not verifier.gate.leaves(found["secret"], _ANY):
            yield Hit(*found.span("secret"), "cli-password")
    for found in verifier.each(_MYSQL, text):
        if not verifier.gate.leaves(found["secret"], _ANY) and not re.fullmatch(r"\d{2,5}", found["secret"]):
            yield Hit(*found.span("secret"), "cli-password")


_SQL = re.compile(
    r"(?i:\bIDENTIFIED[ \t]{1,3}(?:WITH[ \t]{1,3}[a-z0-9_'\"]{1,40}[ \t]{1,3})?(?:BY|AS)(?:[ \t]{1,3}PASSWORD)?|\bPASSWORD)[ \t]{1,3}(?=\\*['\"])"
)
_INSERT = re.compile(
    r"(?i:\b(?:INSERT|REPLACE)[ \t]{1,3}INTO[ \t]{1,3}[^\s(]{1,80}[ \t]{0,3})\((?P<columns>[^()]{1,4000})\)\s{0,5}(?i:VALUES)\s{0,5}(?=\()"
)


def scan_sql(text: str, verifier: Verifier) -> Iterator[Hit]:
    """`IDENTIFIED BY 'x'`; all literals of an INSERT that names a sensitive column."""
    for found in verifier.each(_SQL, text):
        value = quoted(text, found.end())
        if value and not verifier.gate.leaves(text[value.start : value.end], _ANY):
            yield Hit(value.start, value.end, "sql-password")
    for found in verifier.each(_INSERT, text):
        columns = found["columns"].split(",")
        if any(verifier.names.verdict(column.strip(" \t\n\"'`[]\\")) for column in columns):
            for value in items(text, found.end(), verifier.step):
                if not verifier.gate.leaves(text[value.start : value.end], _ANY):
                    yield Hit(value.start, value.end, "sql-password")


_INPUT = re.compile(r"(?P<open>\binput_value=)(?=[\"'{\[])")


_LOC = re.compile(r"[\"']loc\\{0,8}[\"'] ?: ?[\[(](?P<names>[^\])]{1,300})[\])]")
_INPUT_MEMBER = re.compile(r"[\"']input\\{0,8}[\"'] ?: ?(?=\\{0,8}[\"'])")
_NEAR = 1_000


def scan_pydantic(text: str, verifier: Verifier) -> Iterator[Hit]:
    """pydantic's text form: the field's name on one line, `input_value='…'` on the next; and its dicts as Python prints them."""
    for found in verifier.each(_INPUT, text):
        line = text.rfind("\n", 0, found.start())
        field = text[max(0, text.rfind("\n", 0, max(line, 0)) + 1) : max(line, 0)].strip() if line > 0 else ""
        verdict = verifier.names.verdict(field) if field and len(field) < 200 else None
        value = quoted(text, found.end()) if verdict else None
        if verdict and value and not verifier.gate.leaves(text[value.start : value.end], verdict):
            yield Hit(value.start, value.end, verdict.rule)
    for loc in verifier.each(_LOC, text):
        verdict = verifier.names.verdict(loc["names"].rstrip(" ,").rpartition(",")[2].strip(" \"'\\"))
        member = _INPUT_MEMBER.search(text, loc.end(), loc.end() + _NEAR) if verdict else None
        value = quoted(text, member.end()) if member else None
        if verdict and value and not verifier.gate.leaves(text[value.start : value.end], verdict):
            yield Hit(value.start, value.end, verdict.rule)
