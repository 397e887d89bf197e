"""URLs: passwords and tokens before the host, secret parameters, signatures. Scheme, host and path stay."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import chain
from typing import TYPE_CHECKING

from agent.transform.redaction import checks
from agent.transform.redaction.names import Verdict
from agent.transform.redaction.rule import Hit
from agent.transform.redaction.stems import stems

if TYPE_CHECKING:
    from agent.transform.redaction.verify import Verifier

_AUTHORITY = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.\-]{0,20}):(?:\\{0,4}/){2}(?P<rest>[^\s\"'`<>]{1,2048}+)")
_SCHEMES = stems("postgres", "mysql", "mariadb", "mongodb", "redis", "amqp", "http", "ldap", "mqtt", "ftp", "sftp")
_SLOPPY_AUTHORITY = re.compile(
    r"\b(?P<scheme>(?i:postgres(?:ql)?|mysql|mariadb|mongodb|rediss?|amqps?|https?|ldaps?|mqtts?|s?ftps?)(?:\+[a-z]{1,12})?)(?:;?//|:/(?!/)|//:)(?P<rest>[^\s\"'`<>:@]{0,128}:[^\s\"'`<>]{1,2048}+)"
)
"""`postgres//u:p@h`: what somebody typed, and so the library's error says it."""
_INNER = re.compile(r"[=,;&](?P<scheme>[A-Za-z][A-Za-z0-9+.\-]{1,20}+)://(?P<rest>[^&]{1,2048})")
_QUERY = re.compile(r"[?&;](?P<name>[A-Za-z0-9_.~%\-\[\]]{1,64})=(?P<secret>[^&;#?\s\"'`<>\\)\]}]{1,8192})")
_SIGNED = {
    "sig": "azure-sas",
    "x-amz-signature": "aws-presigned",
    "x-amz-credential": "aws-presigned",
    "x-amz-security-token": "aws-presigned",
    "x-goog-signature": "gcp-signed-url",
    "x-goog-credential": "gcp-signed-url",
    "signature": "signed-url",
    "hmac": "signed-url",
}
_CALLBACK = re.compile(r"callback|oauth|oidc|openid|/auth|/login|[?&]state=", re.IGNORECASE)
_MAGIC = re.compile(r"reset|verify|verif|magic|invite|unsubscribe|confirm|activate|login", re.IGNORECASE)
_MAGIC_NAMES = frozenset({"token", "login_token", "ott", "key", "t", "code", "hash", "ticket"})
_MAGIC_PATH = re.compile(
    r"/(?:reset|verify|magic|invite|unsubscribe|confirm|activate)[a-z_\-]{0,24}/(?P<secret>[A-Za-z0-9_\-]{20,512})",
    re.IGNORECASE,
)
_HOOK = re.compile(
    r"/(?:web_?hooks?|hooks?|incoming|IncomingWebhook|tokens?|api_?keys?|access_?tokens?)/(?:[\w\-]{1,40}/){0,2}?(?P<secret>[A-Za-z0-9_\-]{22,256})(?![\w\-])",
    re.IGNORECASE,
)
_PASSWORD = Verdict("url-userinfo", "any")
_OTPAUTH = re.compile(r"otpauth://[^\s\"']{1,512}?[?&]secret=(?P<secret>[A-Za-z2-7=]{8,256})", re.IGNORECASE)


_GO_HOSTS = ("@tcp(", "@unix(", "@udp(")
_GO_DSN = re.compile(r"(?<![\w.\-/])[\w.\-]{1,64}:(?P<secret>[^\s\"'`]{1,256}?)@(?:tcp|unix|udp)\(")
_GO_VALUE = re.compile(r".*[,{]Value:[^:]{1,64}:", re.DOTALL)
"""What stands before the password where a struct is printed: `{Name:x,Value:user:password@tcp(…`."""


def scan_userinfo(text: str, verifier: Verifier) -> Iterator[Hit]:
    """`scheme://user:PASSWORD@host` and `https://TOKEN@host`; the password may hold `@`."""
    for dsn in verifier.each(_GO_DSN, text) if any(literal in text for literal in _GO_HOSTS) else ():
        start, end = dsn.span("secret")
        struct = _GO_VALUE.match(text, start, end)
        start = start if struct is None else struct.end()
        if not verifier.gate.leaves(text[start:end], _PASSWORD):
            yield Hit(start, end, "go-dsn")
    whole = verifier.each(_AUTHORITY, text) if "//" in text or "\\/" in text else ()
    sloppy = verifier.each_at(_SCHEMES, text, _SLOPPY_AUTHORITY) if "@" in text else ()
    for url in chain(whole, sloppy):
        rest = url["rest"]
        yield from _user_of(url["scheme"], rest, url.start("rest"), verifier)
        # A URL that is a parameter of this one; nearly none has one.
        for inner in verifier.each(_INNER, rest) if rest.count("://") else ():
            yield from _user_of(inner["scheme"], inner["rest"], url.start("rest") + inner.start("rest"), verifier)


def _user_of(scheme: str, rest: str, start: int, verifier: Verifier) -> Iterator[Hit]:
    """What stands before the host in the `rest` of a URL, which begins at `start`."""
    authority = re.split(r"[/?#\\]", rest, maxsplit=1)[0]
    at = authority.rfind("@")
    if at <= 0:
        at, authority = _sloppy(rest)
        if at <= 0:
            return
    user, colon, password = authority[:at].partition(":")
    if colon:
        if password and not verifier.gate.leaves(password, _PASSWORD):
            yield Hit(start + len(user) + 1, start + at, "url-userinfo")
    elif len(user) >= 20 and checks.has_digit(user) and scheme.lower() not in ("mailto", "amqp", "sftp"):
        yield Hit(start, start + at, "url-token-as-user")


def _sloppy(rest: str) -> tuple[int, str]:
    """A password with an unescaped `/`, `?` or `#`: user:p/w@host.name. Path segments such as /@user have no colon."""
    colon, at = rest.find(":"), rest.rfind("@")
    slash = re.search(r"[/?#\\]", rest)
    if (
        0 <= colon < at
        and slash
        and colon < slash.start()
        and not re.fullmatch(r"\d{1,5}", rest[colon + 1 : slash.start()])
    ):
        return at, rest
    return -1, rest


def scan_query(text: str, verifier: Verifier) -> Iterator[Hit]:
    """Parameters that are secret by their place: signatures, OAuth codes, tokens of reset links."""
    for parameter in verifier.each(_QUERY, text):
        name, secret = parameter["name"].lower(), parameter["secret"]
        if verifier.gate.masked(secret):
            continue
        rule = _SIGNED.get(name)
        if rule is None:
            before = text[max(0, parameter.start() - 300) : parameter.start() + 1]
            after = text[parameter.end() : parameter.end() + 200]
            rule = _by_path(name, secret, before, after)
        elif len(secret) < 16:
            continue
        if rule is not None:
            yield Hit(*parameter.span("secret"), rule)
    for link in verifier.each(_MAGIC_PATH, text, 2):
        if (
            checks.has_digit(link["secret"])
            and checks.has_letter(link["secret"])
            and max(map(len, re.split("[-_]", link["secret"]))) >= 12
            and not checks.UUID.fullmatch(link["secret"])
        ):
            yield Hit(*link.span("secret"), "magic-link")
    yield from _hooks(text, verifier) if "/" in text else ()


def _hooks(text: str, verifier: Verifier) -> Iterator[Hit]:
    """What names the receiver of a webhook is all that keeps others from it; ids, digests and words apart."""
    for hook in verifier.each(_HOOK, text, 2):
        secret = hook["secret"]
        known = checks.UUID.fullmatch(secret) or (_HEX_ONLY.fullmatch(secret) and "/IncomingWebhook/" not in hook[0])
        if (
            not known
            and checks.has_digit(secret)
            and checks.has_letter(secret)
            and max(map(len, re.split("[-_]", secret))) >= 20
        ):
            yield Hit(*hook.span("secret"), "webhook")


_TOKEN_PATHS = ("/tok", "/api", "/acc")
_HEX_ONLY = re.compile("[0-9a-fA-F]+")


def _by_path(name: str, secret: str, before: str, after: str) -> str | None:
    if name == "code" and len(secret) >= 16 and _CALLBACK.search(before + after):
        return "oauth-code"
    if name == "ticket" and len(secret) >= 24 and checks.mixed(secret):
        return "magic-link"
    if name in _MAGIC_NAMES and len(secret) >= 20 and checks.has_digit(secret) and _MAGIC.search(before):
        return "magic-link"
    return None


def scan_otpauth(text: str, verifier: Verifier) -> Iterator[Hit]:
    for found in verifier.each(_OTPAUTH, text):
        if not verifier.gate.masked(found["secret"]):
            yield Hit(*found.span("secret"), "otpauth")
