"""HTTP credentials: Authorization in any scheme, cookies, Bearer and Basic wherever they stand, JWTs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from agent.transform.redaction import checks
from agent.transform.redaction.names import Verdict
from agent.transform.redaction.rule import Hit
from agent.transform.redaction.values import bare, quoted

if TYPE_CHECKING:
    from agent.transform.redaction.verify import Verifier

_BEARER = re.compile(r"(?i:bearer)[\"'\\:]{0,6}(?:[ \t+]{1,3}|%20)[\"'\\]{0,6}(?P<secret>[A-Za-z0-9._~+/=\-]{8,8192})")
_BASIC = re.compile(
    r"(?:(?i:basic)(?:[ \t+]{1,3}|%20)|(?i:auth)[ \t]{1,2}\\{0,8}[\"'])(?P<secret>[A-Za-z0-9+/_\-]{6,4096}={0,2})"
)
_SCHEME = re.compile(
    r"(?P<scheme>Bearer|Basic|Digest|Token|ApiKey|Api-Key|SSWS|Splunk|Negotiate|NTLM|GenieKey|Key|Hawk|DPoP|OAuth|PKI|AWS4-HMAC-SHA256"
    r"|[A-Z][A-Za-z0-9-]{1,20}(?=[ \t]{1,3}[^\s\"']{16}))[ \t]{1,3}",
    re.IGNORECASE,
)
_PARAMETER = re.compile(
    r"\b(?:response|cnonce|signature|mac|oauth_signature|oauth_token|oauth_consumer_key|token|password)=(?P<quote>\\{0,7}\"?)"
    r"(?P<secret>[^\s,\"\\]{4,4096})",
    re.IGNORECASE,
)
_CREDENTIAL = re.compile(r"[^\s\"'`,;<>\\]{4,8192}")
_NAMED_CREDENTIAL = re.compile(r"(?i:token|key|api_?key|credential|access_token|id)=(?=[^=\s])")
_COOKIE = re.compile(r"(?P<name>[^\s=;,\"'\\]{1,128})=(?P<quote>\\{0,7}\"?)(?P<secret>[^\s;,\"'\\]{0,8192})")
_COOKIE_END = re.compile(r"[\"'\\<>\n]")
_ATTRIBUTES = frozenset(["path", "domain", "expires", "max-age", "samesite", "version", "priority", "comment", "size"])
_NO_COOKIE = frozenset("\"'\\{}<>")
_LONGEST_HEADER = 16_384
_LINE_END = re.compile(r"\n|\\{1,16}[rn]")
_PARAMETERS_A_STEP = 64
"""Characters of a header with parameters, in which a candidate may begin anywhere."""


class Headers:
    """Finds what is secret in header values."""

    def __init__(self, verifier: Verifier) -> None:
        self._verifier = verifier
        # From where to where in a text no cookie header ends, as was last seen.
        self._unended: tuple[str, int, int] = ("", 0, 0)

    def authorization(self, text: str, at: int, verdict: Verdict) -> Iterator[Hit]:
        """The credential behind the scheme word; of a Digest or a signature only the proof."""
        value = quoted(text, at)
        begin, end = (value.start, value.end) if value else (at, min(len(text), at + _LONGEST_HEADER))
        if text.startswith("[", begin):  # Go prints a header's values in brackets
            begin, end = begin + 1, max(text.find("]", begin, end), begin + 1)
        scheme = _SCHEME.match(text, begin, end)
        if scheme is not None and scheme["scheme"].lower() in ("digest", "aws4-hmac-sha256", "oauth", "hawk"):
            stop = _LINE_END.search(text, scheme.end(), end)
            end = stop.start() if stop else end
            self._verifier.step((end - scheme.end()) // _PARAMETERS_A_STEP)
            for part in _PARAMETER.finditer(text, scheme.end(), end):
                yield Hit(*part.span("secret"), verdict.rule)
            return
        begin = scheme.end() if scheme else begin
        named = _NAMED_CREDENTIAL.match(text, begin, end)
        if named is not None:
            inner = quoted(text, named.end()) or bare(text, named.end())
            if inner is not None and not self._verifier.gate.leaves(text[inner.start : inner.end], verdict):
                yield Hit(inner.start, inner.end, verdict.rule)
            return
        if value is not None:
            if not self._verifier.gate.leaves(text[begin:end], verdict):
                yield Hit(begin, end, verdict.rule)
            return
        credential = _CREDENTIAL.match(text, begin, end)
        if credential is None or self._verifier.gate.leaves(credential[0], verdict):
            return
        token = credential[0].rstrip(".")
        if _is_credential(token, scheme is not None):
            yield Hit(begin, begin + len(token), verdict.rule)

    def cookies(self, text: str, at: int, whole: bool = False) -> Iterator[Hit]:
        """Values go; names and the attributes of Set-Cookie stay."""
        value = quoted(text, at)
        begin, end = (value.start, value.end) if value else (at, min(len(text), at + _LONGEST_HEADER))
        if value is None and not whole:
            end = self._cookie_end(text, begin, end)
        position = begin
        for part in _COOKIE.finditer(text, begin, end):
            if not whole and value is None and part.start() > position and text[position : part.start()].strip(" ;,"):
                return
            position = part.end()
            if part["name"].lower() in _ATTRIBUTES or not part["secret"] or self._verifier.gate.masked(part["secret"]):
                continue
            yield Hit(*part.span("secret"), "cookie")

    def _cookie_end(self, text: str, begin: int, end: int) -> int:
        """What ends one header mostly ends those before it too, so no part of the text is searched twice."""
        known, low, high = self._unended
        start = begin
        if known is text and low <= begin <= high:
            start, begin = min(high, end), low
        stop = _COOKIE_END.search(text, start, end)
        end = stop.start() if stop else end
        self._unended = text, begin, end
        return end


def _is_credential(token: str, behind_scheme: bool) -> bool:
    """Without a scheme word before it, or with a call's bracket in it, it may be code or prose."""
    if "(" in token:
        return False
    if behind_scheme:
        return not checks.lower_word(token) or len(token) >= 16
    return len(token) >= 20 or (len(token) >= 8 and checks.has_digit(token))


def scan_bearer(text: str, verifier: Verifier) -> Iterator[Hit]:
    """`Bearer x`: a digit in it, or 20 characters, or it is a word."""
    for found in verifier.each(_BEARER, text):
        token = found["secret"].rstrip(".")
        if _NO_TOKEN.match(token) or _KIND_BEFORE.search(text, max(0, found.start() - 24), found.start()):
            continue
        if (checks.has_digit(token) or len(token) >= 20) and not verifier.gate.masked(token) and not _is_path(token):
            yield Hit(found.start("secret"), found.start("secret") + len(token), "bearer")


_KIND_BEFORE = re.compile(r"(?i)token_?type[\"'\\]{0,4} ?[=:] ?[\"'\\]{0,4}\Z")
"""`token_type=bearer` says what kind the token is, which stands elsewhere."""
_NO_TOKEN = re.compile(r"[A-Za-z_.\-]{2,40}=[^=]|HTTP/[\d.]{1,3}\Z")
"""`bearer expires_in=3600`: the next parameter; what ends a request line."""


def _is_path(token: str) -> bool:
    return token.startswith(("/", "./"))


def scan_basic(text: str, verifier: Verifier) -> Iterator[Hit]:
    """`Basic x`, when x decodes to `user:password`."""
    lower = text.lower()
    for found in verifier.each(_BASIC, text) if "basic" in lower or "auth" in lower else ():
        if checks.basic_pair(found["secret"]) and not verifier.gate.masked(found["secret"]):
            yield Hit(*found.span("secret"), "basic")
    for found in verifier.each(_ASKED, text):
        if not verifier.gate.masked(found["secret"]):
            yield Hit(*found.span("secret"), "basic")
    for pattern in _SASL if any(word in lower for word in _SASL_WORDS) else _SASL[:1]:
        for found in verifier.each(pattern, text):
            if checks.sasl_plain(found["secret"]):
                yield Hit(*found.span("secret"), "basic")


_ASKED = re.compile(
    r"334 (?:VXNlcm5hbWU6|UGFzc3dvcmQ6)(?:\\+[rnt]|[^A-Za-z0-9+/=\\\[]|C: ?){1,24}(?P<secret>[A-Za-z0-9+/]{4,512}={0,2})(?![A-Za-z0-9+/:])"
)
"""A mail server asks for the name and the password, in base64; what follows is the answer."""
_SASL_WORDS = ("sasl", "plain", "response")
_SASL = (
    re.compile(r"(?P<secret>A(?<![A-Za-z0-9+/_=\-]A)[C-H][A-Za-z0-9+/]{9,1022}={0,2})"),
    re.compile(rf"\b(?i:{'|'.join(_SASL_WORDS)})[^A-Za-z0-9\n]{{1,8}}(?P<secret>[A-Za-z0-9+/]{{11,1024}}={{0,2}})"),
)
"""A zero byte and a character, in base64; or whatever stands behind such a word."""


_JWT = re.compile(
    r"eyJ(?:(?<![A-Za-z0-9_]eyJ)|(?<=\\[nrt]eyJ)|(?<=\\u[0-9A-Fa-f]{4}eyJ))[A-Za-z0-9_+/\-]{8,16384}+={0,2}(?:\.[A-Za-z0-9_+/=\-]{0,65536}+){0,4}"
)


def scan_jwt(text: str, verifier: Verifier) -> Iterator[Hit]:
    """A JWT or JWE, also one that was cut; other JSON in base64 is decoded and looked into."""
    for found in verifier.each(_JWT, text):
        head, dot, _ = found[0].partition(".")
        if dot and checks.jose_header(head):
            yield Hit(found.start(), found.start() + len(found[0].rstrip(".")), "jwt")
        elif not dot and len(head) > 40 and checks.jose_header(head):
            continue
        else:
            yield from verifier.wrapped(text, found.start(), found.start() + len(head))


def whole_header(text: str, verdict: Verdict, verifier: Verifier) -> Iterator[Hit]:
    """The value of a JSON key such as Authorization or Cookie."""
    if verdict.kind == "cookie" and "=" in text and _NO_COOKIE.isdisjoint(text):
        yield from verifier.headers.cookies(text, 0, whole=True)
        return
    scheme = _SCHEME.match(text)
    if scheme is not None and scheme["scheme"].lower() in ("digest", "aws4-hmac-sha256", "oauth", "hawk"):
        found = [Hit(*part.span("secret"), verdict.rule) for part in _PARAMETER.finditer(text, scheme.end())]
        if found:
            yield from found
            return
    begin = scheme.end() if scheme else 0
    if begin < len(text) and not verifier.gate.leaves(text[begin:], verdict):
        yield Hit(begin, len(text), verdict.rule)
