"""Credentials in set phrases: `generated password for root: x`, `rotated token from x to y`, `user admin/x`.

Each procedure is asked for by patterns of its own, so that a line pays for the phrases that it has.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from agent.transform.redaction import checks
from agent.transform.redaction.prose import ANY, certain, dense, strong
from agent.transform.redaction.rule import Hit
from agent.transform.redaction.stems import is_behind, lowered, stems
from agent.transform.redaction.values import quoted

if TYPE_CHECKING:
    from agent.transform.redaction.verify import Verifier

_CHANGED = stems(
    "pass", "secret", "token", "credential", "api", "access", "private", "signing", "encryption", "device", "account"
)
_OLD_NEW = re.compile(
    r"(?i:\b(?:pass(?:word|phrase|code)|secret|token|credentials?|(?:api|access|secret|private|signing|encryption|device|account) ?key)s?\b[^\n=:\"']{0,48} (?:old|new|from|to|previous|next|current)(?:[=:] ?| ))\\*[\"'`]?(?P<secret>[^\s\"'`\\,;&)]{8,256})"
)
_NEXT = re.compile(
    r"\\*[\"'`]?,? (?i:old|new|from|to|previous|next|current)(?:[=:] ?| )\\*[\"'`]?(?P<secret>[^\s\"'`\\,;&)]{8,256})"
)
_FROM_TO = re.compile(
    r"(?i:pass(?:word|phrase|code)?|secret|token) from (?=[^\s])\\*[\"'`]?(?P<secret>[^\s\"'`\\]{6,200})\\*[\"'`]? to "
)


def scan_changed(text: str, verifier: Verifier) -> Iterator[Hit]:
    """`rotated credential old=x new=y`; `changed the password from x to y`, of which prose.py finds y."""
    for found in verifier.each_at(_CHANGED, text, _FROM_TO, _OLD_NEW):
        if found.re is _FROM_TO:
            if strong(found["secret"], 7) and not verifier.gate.leaves(found["secret"], ANY):
                yield Hit(*found.span("secret"), "prose-password")
            continue
        member: re.Match[str] | None = found
        while member is not None:
            if (
                strong(member["secret"], 12)
                and (text[member.start("secret") - 1] != " " or checks.mixed(member["secret"]))
                and not checks.is_a_name(member["secret"])
                and not checks.UUID.fullmatch(member["secret"])
            ):
                yield Hit(*member.span("secret"), "prose-password")
            member = _NEXT.match(text, member.end())


_PASS = stems("pass")
_METHOD = re.compile(
    r"(?i:\bpass(?:word|phrase|code)[ -](?:auth(?:entication)?|log_?in|attempt)[a-z ]{0,20}? (?:with|using|as|of):? )(?=\\*[\"'`])"
)
_WITH = re.compile(r"(?i:pass(?:word|phrase|code)? )(?P<secret>[^\s\"'`\\:,;]{7,128})(?=[:,;](?:\s|$))")
_WITH_BEFORE = tuple(f"{word} {article}" for word in ("with", "using") for article in ("", "the ", "a "))
_KEY = stems("key")
_SERIAL = re.compile(
    r"(?i:\bkey[ :=]{1,3})\\*[\"'`]?(?P<secret>[A-Z0-9]{4,8}(?:-[A-Z0-9]{4,8}){3,7})(?![\w-])",
)
_SERIAL_BEFORE = re.compile(r"(?i:\b(?:licen[cs]e|activat|product|serial|registration|volume)[^\n]{0,40})\Z")


def scan_with(text: str, verifier: Verifier) -> Iterator[Hit]:
    """`password auth with 'x'`, `with password x: failed`, `license activated: key ABCDE-12345-…`."""
    for found in verifier.each_at(_PASS, text, _METHOD, _WITH):
        if found.re is _WITH:
            if dense(found["secret"]) and is_behind(_WITH_BEFORE, text, found.start()):
                yield Hit(*found.span("secret"), "prose-password")
            continue
        value = quoted(text, found.end())
        if value and strong(text[value.start : value.end], 6):
            yield Hit(value.start, value.end, "prose-password")
    for found in verifier.each_at(_KEY, text, _SERIAL):
        if checks.has_digit(found["secret"]) and _follows(_SERIAL_BEFORE, found, text):
            yield Hit(*found.span("secret"), "secret-key")


_FARTHEST = 64


def _follows(before: re.Pattern[str], found: re.Match[str], text: str) -> bool:
    """Whether right before the phrase stands what `before` says, which ends with the end of the text."""
    return before.search(text, max(0, found.start() - _FARTHEST), found.start()) is not None


_USERS = stems("user ", "account ", "login ", "as ", "accepted ", "basic ", "digest ", "ntlm ", "password:")
_OF_USER = re.compile(
    r"(?i:\b(?:user|account|login|as|accepted) )[\w.\-]{1,40}/(?P<secret>[^\s\"'`\\/,;]{8,128})|(?i:\b(?:basic|digest|ntlm) )[\w.@+\-]{1,64}:(?P<beside>[^\s\"'`\\/,;]{8,128})"
    r"|(?i:password:)\\*[\"'] (?:send |then )?\\*[\"']?(?P<sent>[^\s\"'`\\,;]{7,128})|\blogin (?P<token>[A-Za-z0-9_\-]{24,512})(?![\w.@/:-])"
)


def scan_of_user(text: str, verifier: Verifier) -> Iterator[Hit]:
    """`user admin/x`, `basic bob:x`, `expect "Password:" send x`, `login TOKEN`."""
    for found in verifier.each_at(_USERS, text, _OF_USER):
        part = found.lastgroup or ""
        secret = found[part].rstrip(".)]}")
        if dense(secret) and not checks.UUID.fullmatch(secret) and (part != "token" or checks.mixed(secret)):
            yield Hit(found.start(part), found.start(part) + len(secret), "prose-password")


_GIVEN = stems("pass", "secret", "token", "api")
_GOT = re.compile(
    r"(?i:(?P<what>(?:\b|(?<=_))pass(?:word|phrase|code)|\bsecret|\btoken|api[ _-]?key)s?(?![\w-])[ ,:;a-z]{0,40}?\b(?:got|received|expected|provided|supplied|entered|tried|actual|given)[ :=]{1,2})"
    r"(?=\\{0,8}[\"'`])"
)
_ABOUT_IT = re.compile(r"\b(?:type|name|ids?|length|version|kind|policy|count|format|prefix|algorithm|header|field)\b")
"""What is not the secret itself but said about it."""
_CVV = stems("cv")
_CARD_CODE = re.compile(r"(?i:\bcv[vcn]2?(?: code)?(?: is| was)?(?: ?[:=] ?| ))(?P<secret>\d{3,4})(?![\w.%/:-])")


def scan_got(text: str, verifier: Verifier) -> Iterator[Hit]:
    """`password mismatch: got 'x'`; `cvv 123`."""
    for found in verifier.each_at(_GIVEN, text, _GOT):
        value = quoted(text, found.end())
        secret = text[value.start : value.end] if value else ""
        if value and _ABOUT_IT.search(found[0].lower()) is None and certain(found["what"].lower(), secret):
            yield Hit(value.start, value.end, "prose-password")
    if "card-data" in verifier.tools.actions:
        for found in verifier.each_at(_CVV, text, _CARD_CODE):
            yield Hit(*found.span("secret"), "card-data")


_API = stems("api ")
_API_KEY = re.compile(r"(?i:\bapi (?:[a-z]{2,12} ){0,3}key ?[=:] ?)(?P<secret>[A-Za-z0-9_\-]{20,512}+)(?![.:/])")
_CREDENTIAL = stems("credential")
_CREDENTIALS_FOR = re.compile(
    r"(?i:\bcredentials? for (?:(?:user|account) )?)(?!user\b|account\b)[\w.@\-]{1,64}: (?P<secret>[A-Za-z0-9_!#$%&*+.\-]{8,128}+)(?![/:(=@])"
)


def scan_key_of(text: str, verifier: Verifier) -> Iterator[Hit]:
    """`calling the API with key=x`, `invalid credentials for bob: x`."""
    for words, pattern in ((_API, _API_KEY), (_CREDENTIAL, _CREDENTIALS_FOR)):
        for found in verifier.each_at(words, text, pattern):
            if checks.mixed(found["secret"]) and strong(found["secret"], 8):
                yield Hit(*found.span("secret"), "prose-password")


_FRESH = re.compile(
    r"(?i:pass(?:word|phrase|code)\b(?P<between>[^\n:=]{0,80})[:=])(?:\s|\\+[rn]){0,8}(?P<secret>[^\s\"'`\\]{7,128})"
)
_FRESH_BEFORE = re.compile(
    r"(?i:\b(?:following|generated|temporary|initial|default|random|one-time|new|admin|root|superuser)[ -](?:[a-z]{2,12} ){0,2})\Z"
)
_MADE = re.compile(r"(?i)(?:following|generated|temporary|initial|random|one-time)[ -]")
_PASSWORDS = stems("password ", "passwd ", "pwd ")
_FOR_WHOM = re.compile(r"(?i:password|passwd|pwd) (?P<whom>[a-z][\w.@\-]{1,40}) ?= ?(?P<secret>[^\s\"'`\\]{8,128})")


def scan_told(text: str, verifier: Verifier) -> Iterator[Hit]:
    """What an installer tells: `generated password for root: x`, `PASSWORD elastic = x`."""
    for found in verifier.each_at(_PASS, text, _FRESH, apart=False):
        before = _FRESH_BEFORE.search(text, max(0, found.start() - _FARTHEST), found.start())
        if before is None:
            continue
        secret = found["secret"].rstrip(".,;)")
        whose = found["between"].lower().rstrip().endswith(("user", "account", "name", "host", "path", "file"))
        if (
            not whose
            and not _ABOUT_IT.search(found["between"].lower())
            and strong(secret, 7)
            and (_MADE.search(before[0] + found[0]) or not checks.is_a_name(secret))
            and not verifier.gate.leaves(secret, ANY)
        ):
            yield Hit(found.start("secret"), found.start("secret") + len(secret), "prose-password")
    for found in verifier.each_at(_PASSWORDS, text, _FOR_WHOM):
        if strong(found["secret"], 12) and checks.mixed(found["secret"]):
            yield Hit(*found.span("secret"), "prose-password")


_CODES = stems("code", "pin", "tan", "passkey")
_LOCK_CODE = re.compile(
    r"(?i:(?P<what>code|pin|tan|passkey)(?: (?:is|was|set to|changed to)|:)? )(?P<secret>\d{4,8})(?![\w.%/:-])"
)
_LOCK_BEFORE = re.compile(
    r"(?i:\b(?:(?:master|access|door|alarm|unlock|security|entry|gate|disarm|installer|engineer|service|pairing|setup|one-time|bypass) |your (?:[a-z\-]{2,16} ){0,2}))\Z"
)
"""What opens a door, or a bank account."""
_NO_LETTER = re.compile(r"(?<!\w)\Z")
_SENT_CODE = re.compile(r"(?i:\bcode(?: is)?[ :]{1,3})(?P<secret>\d{6,8})(?![\w.-])")
_SENT = stems("sms", "otp", "2fa", "mfa", "one-time", "verif", "expires in", "valid for")
_IS_SENT = re.compile(r"(?i:\bsms\b|\botp\b|2fa|\bmfa\b|\bone-time\b|\bverif|expires in|valid for)")
_OTHER_CODE = (
    *(
        "error ",
        "exit ",
        "status ",
        "return ",
        "country ",
        "zip ",
        "postal ",
        "reason ",
        "response ",
        "event ",
        "fault ",
    ),
    *("product ", "article ", "bar ", "area "),
)


def scan_code(text: str, verifier: Verifier) -> Iterator[Hit]:
    """`your access code is 123456`, `tan 123456`, `SMS sent: code 123456`."""
    for found in verifier.each_at(_CODES, text, _LOCK_CODE, _SENT_CODE):
        if found.re is _SENT_CODE:
            near = text[max(0, found.start() - _NEAR) : found.end() + _NEAR // 2]
            is_one = (
                _SENT.search(lowered(near))
                and _IS_SENT.search(near)
                and not is_behind(_OTHER_CODE, text, found.start(), joined=True)
            )
        else:
            is_one = _follows(_NO_LETTER if found["what"].lower() in ("tan", "passkey") else _LOCK_BEFORE, found, text)
        if is_one:
            yield Hit(*found.span("secret"), "one-time-code")


_NEAR = 80
_AS_PASS = stems(" as ")
_AS = re.compile(r" as (?:the |a |your |my |new |initial ){0,2}(?P<what>pass(?:word|phrase|code)|login)\b")
_LONGEST_USED = 200


def scan_as(text: str, verifier: Verifier) -> Iterator[Hit]:
    """`… hunter2 as password`, `bob:hunter2 as login`."""
    for found in verifier.each_at(_AS_PASS, text, _AS):
        low = max(0, found.start() - _LONGEST_USED)
        token = re.split(r"[\s\"'`]", text[low : found.start()])[-1]
        name, _, secret = token.rpartition(":")
        if strong(secret, 7) and (name or found["what"] != "login") and not verifier.gate.leaves(secret, ANY):
            yield Hit(found.start() - len(secret), found.start(), "prose-password")
