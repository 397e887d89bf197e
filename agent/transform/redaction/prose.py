"""Credentials in sentences: `User credentials: bob:hunter2`, `password for bob is hunter2`, `API key abc… is invalid`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from agent.transform.redaction import checks
from agent.transform.redaction.names import FOREIGN_WORDS, QUALIFIERS, Verdict
from agent.transform.redaction.rule import Hit
from agent.transform.redaction.stems import is_behind, lowered, stems
from agent.transform.redaction.values import Value, bare, name_before, quoted

if TYPE_CHECKING:
    from agent.transform.redaction.verify import Verifier

ANY: Final = Verdict("password", "any")
AUTHORIZATION: Final = Verdict("authorization", "authorization")

_HEADINGS: Final = stems("cred", "log", "auth", "sign", "zugangsdaten", "anmeldedaten", "benutzerdaten", "identifiants")
_PAIR: Final = re.compile(
    r"(?i:\b(?:credentials?|creds?|logins?|logged in|auth(?:enticat(?:ing|ed|e|ion))?|sign(?:ed|ing)?[ -]?in"
    r"|zugangsdaten|anmeldedaten|benutzerdaten|login-?daten|identifiants))(?![.\w-])"
    r"(?:[ \t](?:used|with|as|for|are|is|details?|pair|data|info|by|user|credentials?|using|of|the|attempt|failed|attempted|von|f.r|mit)){0,4}"
    r"(?:[ \t](?P<whom>[^\s:;,\"'`()<>\[\]{}=\\/]{1,64})(?=:[ \t]))?"
    r"[ \t\"'`\\]{0,4}[:=]?(?:[ \t]{0,3})[\"'`(\\\[<]{0,3}(?P<name>[^\s:;,\"'`()<>\[\]{}=\\/]{1,64})"
    r"(?:(?P<colon>:)|(?:/(?! )|[ ]{1,2}/[ ]{1,2})[\"'`\\]{0,3})(?P<secret>[^\s\"'`<>\\]{2,256})"
)
_SCOPE_WORDS: Final = frozenset(
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
_TIME_OR_PORT: Final = re.compile(r"\d{1,5}(?:[/,.:].{0,80})?")
_NO_NAMES: Final = frozenset(["http", "https", "urn", "arn", "sha256", "file"])


def scan_pair(text: str, verifier: Verifier) -> Iterator[Hit]:
    """A heading such as `credentials` and then `name:secret` or `name/secret`: what stands behind the mark."""
    for found in verifier.each_at(_HEADINGS, text, _PAIR):
        secret = found["secret"].rstrip(".,;:!)]}") if found["secret"][-1] in ".,;:)]}" else found["secret"]
        if not secret or found["name"].isdigit() or secret.startswith("//") or _TIME_OR_PORT.fullmatch(secret):
            continue
        if secret.partition(",")[0].lower() in _SCOPE_WORDS or verifier.gate.leaves(secret, ANY):
            continue
        if found["name"].lower() in _NO_NAMES or (not found["colon"] and ("/" in secret or not strong(secret, 6))):
            continue
        yield Hit(found.start("secret"), found.start("secret") + len(secret), "credentials-pair")


_ENDINGS: Final = "|".join(sorted((*QUALIFIERS, "hash", "digest")))
_STEMS: Final = stems(
    "pass",
    "pw",
    "pin",
    "psk",
    "kennwort",
    "key",
    "mot de",
    "mot_de",
    "contrase",
    "code",
    "cookie",
    "cred",
    "csrf",
    "xsrf",
    "jwt",
    "otp",
    "totp",
    "token",
    "authorization",
    "secret",
    "senha",
    "sess",
    "sid",
)
# What stands before is for `_name_of` to judge.
_WORD: Final = re.compile(
    r"(?i:pass(?:word|wd|[ -]?phrase|code|wort)?|pwd?|pin|psk|kennwort|key|mot[ _]de[ _]passe|contrase(?:ñ|n)a|code|cookie|creds?|credentials?"
    r"|[cx]srf|jwt|t?otp|token|authorization|secret|senha|sess(?:ion)?[ _-]?id|sid)"
    rf"(?:(?i:[_.-](?:{_ENDINGS}))|(?:{'|'.join(ending.capitalize() for ending in _ENDINGS.split('|'))}))?(?![A-Za-z])(?:_\d{{1,2}}(?!\w))?"
)
_YOUR: Final = (
    *("your ", "2fa ", "mfa ", "totp ", "otp ", "verification ", "login ", "security ", "auth ", "access ", "sms "),
    *("confirmation ", "activation ", "one-time "),
)
_SIX_DIGITS: Final = re.compile(r"\d{6,8}(?!\w)")
_CODES: Final = frozenset({"pin", "otp", "code"})
_FOR: Final = r"(?P<for>[ \t](?:for|of|to|by|from|f(?:ü|ue)r|von|pour|para|di|de|do|voor|för)[ \t](?:(?:the|user|account|database|db|benutzer)[ \t]){0,2}[^\s:=]{1,64})?"
_FILLER: Final = r"(?P<filler>(?:[ \t](?:header|value|prompt|provided|given|supplied|used|received|generated|issued|created|entered|typed|submitted|loaded|fetched|decrypted|in[ \t]value[ \t]\\*\"[^\"\\]{0,200}\\*\")){0,2})"
_IS: Final = (
    r"(?:is|was|are|ist|lautet|war|est|es|é|è|är|er|equals|now|auf|(?:(?:has|have|had)[ \t]been[ \t]|was[ \t]|is[ \t]|wurde[ \t])?(?:re)?set[ \t]to"
    r"|(?:(?:has|have|had)[ \t]been[ \t]|was[ \t]|is[ \t]|wurde[ \t])?(?:changed|updated|rotated)[ \t]to|wurde[ \t]auf|(?:answered|replied|filled)[ \t]with|(?:expands|evaluates|resolves|expanded|resolved|equal)[ \t]to|will[ \t]be|should[ \t]be|to(?:[ \t]value)?|(?:has|with)[ \t]value)"
    r"(?:[ \t](?:now|still|set[ \t]to|changed[ \t]to|reset[ \t]to))?"
)
_NEW: Final = (
    r"[ \t]{1,3}(?:(?:(?:has|have|had)[ \t]been|was|is|now|just|successfully)[ \t]){0,2}(?:changed|updated|rotated|reset|regenerated|replaced|generated|created|issued)"
    r"[ \t]?[,;:.(-]{0,2}[ \t](?:the[ \t]|its[ \t])?new[ \t](?:value|one|password|secret|token|key)(?:[ \t]is|[ \t]?[:=])?[ \t]{1,3}"
)
"""`was rotated, new value x`."""
_REST: Final = re.compile(
    rf"(?i:\\*[\"'`]?{_FOR}{_FILLER}"
    rf"(?:(?P<colon>[ \t]{{0,2}}(?:[:=]>?|=>|->|--|—|–)[ \t]{{1,3}})|(?P<change>[ \t]{{1,3}}(?:(?:has|have|had)[ \t]been[ \t]|was[ \t])?(?:changed|updated|rotated|reset)[ \t]from[ \t]{{1,3}})"
    rf"|(?P<new>{_NEW})|[ \t]{{1,3}}(?P<linked>{_IS}[ \t]{{0,2}}:?[ \t]{{1,3}})|[ \t]{{1,3}}(?=\\*[\"'`“])|(?P<bracket>[ \t]{{1,3}}[(\[<])(?=[^\s()\[\]<>]{{6,200}}[)\]>])|(?P<direct>[ \t]{{1,3}})))(?=[^\s])"
)
_LONG_FOR: Final = re.compile(
    r"(?i:(?P<for>[ \t](?:for|of|by|from|f(?:ü|ue)r|von|pour|para)[ \t](?:[^\s=\"'`\[\](){},;]{0,63}[^\s:=\"'`\[\](){},;][ \t]){0,3}?[^\s=\"'`\[\](){},;]{0,63}[^\s:=\"'`\[\](){},;])(?P<filler>)"
    r"(?:(?P<colon>:[ \t]{1,3})|[ \t]{1,3}(?P<linked>(?:is|was|ist|lautet)[ \t]{1,3}))(?P<bracket>(?!))?(?P<direct>(?!))?(?P<new>(?!))?)(?=[^\s])"
)
"""`secret for tenant 7: x`, `PSK for endpoint a:1 is x`: whose it is, in several words."""
_TO: Final = re.compile(
    r"(?P<for>(?!))?(?P<filler>(?!))?(?P<colon>(?!))?(?P<bracket>(?!))?(?P<direct>(?!))?(?P<new>(?!))?(?P<linked>[ \t]{1,3}to[ \t]{1,3})(?=[^\s])"
)
_CHANGED_TO: Final = re.compile(r"\\*[\"'`]?[ \t]{0,2}(?:->|=>|→|[ \t]to|[ \t]auf)[ \t]{1,3}")
_NOT_SECRET_CODE: Final = re.compile(r"HTTP/\d(?:\.\d)?|[0-9]{1,3}|[1-5][0-9]{2}|v?\d+(?:\.\d+)+[.,]?")
_WORD_IN_PROSE: Final = re.compile(
    r"[A-ZÄÖÜ]?[a-zäöüß]+(?:[-'’][a-z]+)*[.,!?:;)]*|[A-Z]+|\(.*|[a-z_]+(?:\.[a-z_]+)*\(?.*\)?", re.DOTALL
)
_ALGORITHM: Final = re.compile(
    r"(?:[hrep]s(?:256|384|512)|sha[-_]?\d{1,3}|md[45]|aes[-_]?\d{0,3}|argon2(?:id?|d)?|pbkdf2|base(?:32|58|64)(?:url)?|oauth[12]\w{0,40}|ed25519|utf-?8|x509|pkcs-?\d{1,2}|tlsv?\d|v\d{1,3}|http2?)(?:[-_/][A-Za-z\d]{1,16}){0,3}[.,;:!]?",
    re.IGNORECASE,
)
"""`the token is RS256-signed`, `base64-encoded`."""
_BRACKETED: Final = re.compile(r"[^\s()\[\]<>]{6,200}")


def scan_prose(text: str, verifier: Verifier) -> Iterator[Hit]:
    """`password for bob is hunter2`: a token with a digit or symbol, or in quotes; a plain word is a sentence."""
    for word in verifier.each_at(_STEMS, text, _WORD):
        # `password to x`: x is whom it is for, or what it was set to.
        if word[0][:1] in "aAcC" and (header := _HEADER.match(text, word.start())):
            yield from _header(header, text, verifier)
            continue
        value = next((v for rest in (_REST, _LONG_FOR, _TO) if (v := _announced(word, rest, text, verifier))), None)
        if value is None:
            continue
        yield Hit(value.start, value.end, "prose-password")
        yield from _changed_to(text, value.end, verifier)


_HEADER: Final = re.compile(
    r"(?i:(?P<what>authorization|cookies?)(?:[ \t](?:header|value|is|was|of)){0,3}[ \t]{1,3})(?=\\*[\"'`])"
)


def _header(header: re.Match[str], text: str, verifier: Verifier) -> Iterator[Hit]:
    """`Authorization 'Basic x'`, `cookie "sid=x; a=b"`: a header's value in quotes."""
    value = quoted(text, header.end())
    secret = text[value.start : value.end] if value else ""
    if header["what"].lower() == "authorization":
        if strong(secret.rpartition(" ")[2], 8):
            yield from verifier.headers.authorization(text, header.end(), AUTHORIZATION)
    elif "=" in secret:
        yield from verifier.headers.cookies(text, header.end())
    elif value and strong(secret, 16):
        yield Hit(value.start, value.end, "cookie")


def _changed_to(text: str, at: int, verifier: Verifier) -> Iterator[Hit]:
    """The new value behind the old one."""
    changed = _CHANGED_TO.match(text, at)
    second = verifier.value(text, changed.end()) if changed else None
    if second is not None and not verifier.gate.leaves(text[second.start : second.end], ANY):
        yield Hit(second.start, second.end, "prose-password")


def _announced(word: re.Match[str], rest: re.Pattern[str], text: str, verifier: Verifier) -> Value | None:
    """The value behind a word such as password, if what stands between them announces one."""
    found = rest.match(text, word.end())
    if found is None:
        return None
    if found["colon"] and not (found["for"] or found["filler"]) and found["colon"].strip()[0] in ":=":
        return None  # `password: x` is a name and its value
    verifier.step()
    name = _name_of(word, text, verifier)
    if not name or (found["colon"] and (found["for"] or "").lower().endswith((" user", " account"))):
        return None  # `password for user: x` says whose
    what = word[0].lower().rstrip("_0123456789")
    what = name.lower() if what == "key" else what
    if what == "code" and is_behind(_YOUR, text, word.start()):
        what = "otp" if found["linked"] or _SIX_DIGITS.match(text, found.end()) else what
    if not found["bracket"]:
        value = _value(what, len(name) > len(word[0]), found, text, verifier)
        if value and found["direct"] and found["for"] and ":" in text[value.start : value.end]:
            return None  # `PSK for endpoint urn:dev:7`
        return None if value and _is_place(word, found, text, value) else value
    inside = _BRACKETED.match(text, found.end())
    if inside is None or not (certain(what, inside[0]) or (len(name) > len(word[0]) and dense(inside[0]))):
        return None
    return Value(*inside.span(), False)


_SETTING: Final = re.compile(r"(?i:\b(?:re)?set|chang|updat|rotat|switch)")


def _is_place(word: re.Match[str], found: re.Match[str], text: str, value: Value) -> bool:
    """`added the password to 'users'`: where it went, unless it was set to that."""
    if (found["linked"] or "").strip() != "to" or not checks.lower_word(text[value.start : value.end]):
        return False
    return _SETTING.search(text, max(0, word.start() - 40), word.start()) is None


def _name_of(word: re.Match[str], text: str, verifier: Verifier) -> str:
    """The whole name that the word ends: `dbPassword`, `api key`; empty when it is no sensitive one, as in `nextToken`.

    PWD is the shell's.
    """
    before = text[word.start() - 1 : word.start()]
    if word[0] == "PWD" and before not in ("_", "-", "."):
        return ""
    if not (before.isalnum() or before in ("_", "-", ".")):
        return word[0] if word[0].lower() in _ALONE else _of_two_words(word, text, verifier)
    name, start = name_before(text, word.end())
    if start > 0 and text[start - 1] == "\\" and name[:1] in ("n", "r", "t"):
        name = name[1:]
    if name.lower() == word[0].lower():
        return name if name.lower() in _ALONE else ""
    return name if verifier.names.verdict(name) is not None else ""


_ALONE: Final = frozenset(
    [
        *(
            "password",
            "passwd",
            "passphrase",
            "pass phrase",
            "pass-phrase",
            "psk",
            "passcode",
            "passwort",
            "pass",
            "pwd",
            "pw",
            "pin",
            "kennwort",
            "code",
        ),
        *("mot de passe", "mot_de_passe", "contraseña", "contrasena", "senha", "otp", "totp", "token", "secret"),
        *("csrf", "xsrf", "jwt", "session id", "session_id", "session-id", "sessionid", "credential", "credentials"),
        *("authorization", "cookie"),
    ]
)


def _of_two_words(word: re.Match[str], text: str, verifier: Verifier) -> str:
    """`signing key`, `api key`: key says nothing without the word before it. The same for `password_hash`."""
    if verifier.names.verdict(word[0]) is not None:
        return word[0]
    before, _ = name_before(text, word.start() - 1) if text[word.start() - 1 : word.start()] == " " else ("", 0)
    name = f"{before} {word[0]}"
    return name if before and verifier.names.verdict(name) is not None else ""


_FOREIGN: Final = tuple(
    (word.partition("+")[0], re.compile(word.replace("+", "[ _-]"), re.IGNORECASE))
    for word in (*FOREIGN_WORDS, "passwort", "kennwort")
)
_FOREIGN_REST: Final = re.compile(
    r"(?i:(?:[ \t][^\s:：=]{1,40}){0,3}?(?:[ \t]{0,2}[:：][ \t]{0,2}|[ \t]{1,3}(?:es|é|è|e|est|jest|to|är|er|is|on|je|это|ist|lautet|war)[ \t]{1,3}"
    r"|[ \t]?(?:是|为|為|は|는|은)[ \t]?))\\*[\"'`«„“]?(?P<secret>[!-~]{4,128})"
)


def scan_foreign(text: str, verifier: Verifier) -> Iterator[Hit]:
    """`La contraseña es hunter2`, `密码是hunter2`: what follows must look like no word."""
    low = lowered(text)
    for literal, pattern in _FOREIGN:
        at = low.find(literal)
        while at >= 0:
            verifier.step()
            word = pattern.match(text, at)
            found = _FOREIGN_REST.match(text, word.end()) if word else None
            if found is not None:
                yield from _foreign(found, verifier)
            at = low.find(literal, at + 1)


def _foreign(found: re.Match[str], verifier: Verifier) -> Iterator[Hit]:
    secret = found["secret"].rstrip(".,;:!)]}\"'`\\")
    if len(secret) < 4 or not (checks.has_digit(secret) or not secret.isalpha()):
        return
    if _looks_secret("password", secret) and not verifier.gate.leaves(secret, ANY):
        yield Hit(found.start("secret"), found.start("secret") + len(secret), "foreign-password")


_HANDED: Final = re.compile(r"\\*[\"'`]?[ \t](?:to|into|as|through|for)\b")
"""`pass 'x' to the parser` is what a caller does."""
_DONE: Final = ("loaded", "fetched", "decrypted")


def _is_token(what: str) -> bool:
    return what not in _CODES and what.endswith(_TOKEN_ENDS)


_TOKEN_ENDS: Final = (
    "token",
    "key",
    "secret",
    "id",
    "hash",
    "digest",
    "cookie",
    "csrf",
    "xsrf",
    "jwt",
    "authorization",
    "credentials",
    "credential",
    "creds",
    "cred",
)


def _value(what: str, long: bool, found: re.Match[str], text: str, verifier: Verifier) -> Value | None:
    """The value that the words in `found` announce, if it is one. long: the name has more words than `what`."""
    value = quoted(text, found.end())
    if value is None:
        value = verifier.weighed(bare(text, found.end()))
        if value is None:
            return None
        token = text[value.start : value.end]
        loose = found["direct"] is not None or (
            found["colon"] is not None and (_is_token(what) or found["filler"].lower().endswith(_DONE))
        )
        if not ((certain(what, token) if loose else _looks_secret(what, token)) or (long and dense(token))):
            return None
    elif not _quoted_secret(
        "a token" if long and what == "token" else what,
        _is_direct(found),
        text[value.start : value.end],
        verifier,
    ):
        return None
    secret = text[value.start : value.end]
    follows = text[value.end : value.end + 3].lstrip("\"'`")
    if what == "pass" and _is_direct(found) and _HANDED.match(text, value.end):
        return None
    return None if verifier.gate.leaves(secret, ANY) or follows.startswith(("=", ":")) else value


def _is_direct(found: re.Match[str]) -> bool:
    """Nothing but a space between the name and its value."""
    return not found[0].strip(" \t\\\"'`")


def _quoted_secret(what: str, direct: bool, secret: str, verifier: Verifier) -> bool:
    if len(secret) < 4 or verifier.names.verdict(secret) is not None:
        return False
    if (what == "pass" and not strong(secret, 6)) or (what == "token" and len(secret) < 12):
        return False  # to pass `--strict` is a verb, and a parser's tokens are short
    if direct and (what == "secret" or what.startswith("cred")) and not (certain(what, secret) or dense(secret)):
        return False  # `secret "db-main-2" not found`
    if _PERSON_AT.fullmatch(secret):
        return False  # whose it is
    if what in _CODES or _is_token(what):
        if checks.lower_word(secret) or " " in secret or checks.is_a_name(secret) or what.endswith("id"):
            return what.endswith("id") and strong(secret, 16) and not checks.UUID.fullmatch(secret)
        if what in _CODES and not (secret.isdigit() and len(secret) >= 6):
            return False
    return True


_PERSON_AT: Final = re.compile(r"[a-z][a-z0-9.]{0,40}@[a-z][a-z0-9.-]{1,60}")
_SYMBOLS: Final = frozenset("!#$%^&*+~?@")


def dense(token: str) -> bool:
    """So mixed that eight characters are enough beside a name such as `access_token`."""
    if len(token) < 8 or not strong(token, 8):
        return False
    return checks.mixed(token) or not _SYMBOLS.isdisjoint(token)


def _looks_secret(what: str, token: str) -> bool:
    if what in _CODES:
        return token.isdigit() and 4 <= len(token) <= 8 and what != "code"
    if (
        _NOT_SECRET_CODE.fullmatch(token)
        or _ALGORITHM.fullmatch(token)
        or checks.lower_word(token.rstrip("!,?"))
        or "/" in token[:1]
    ):
        return False
    if _WORD_IN_PROSE.fullmatch(token) and not (
        checks.like_no_word(token) and (token.isalnum() or checks.has_digit(token))
    ):
        return False
    if what == "pass" and not strong(token, 4):
        return False
    if what.endswith("id") and checks.UUID.fullmatch(token):
        return False
    least = 12 if _is_token(what) else 4
    return len(token) >= least and (checks.like_no_word(token) or not token.isalpha())


def certain(what: str, token: str) -> bool:
    """For a value with no verb before it: it must look random by itself."""
    if what in _CODES:
        return what != "code" and re.fullmatch(r"\d{4,8}", token) is not None
    if not _is_token(what):
        return strong(token, 7)
    # `token greenstack-token-x2k4q`, `secret db-main-2` are names of things.
    if checks.UUID.fullmatch(token):
        return what.endswith("key")  # `token 550e…` is an id, `api key 550e…` is the key
    return strong(token, 16) and not checks.is_a_name(token)


_MADE_OF_WORDS: Final = re.compile(
    r"v?\d+(?:\.\d+)+\S*|\d+(?:\.\d+)?[A-Za-z]{1,6}|(?:sha|md|aes|argon|bcrypt|scrypt|pbkdf|[hrep]s|utf|utf8mb|iso|rfc|tlsv?|oauth|base|hmac|ed|rsa|http)[-_]?\d[\w.-]{0,10}"
    r"|\d{4}-\d\d-\d\d.*|0x.*|.*\(.*",
    re.IGNORECASE,
)


def strong(token: str, least: int) -> bool:
    """Letters and digits, long enough, and no version, algorithm, time, path, call or assignment."""
    return (
        len(token) >= least
        and checks.like_no_word(token)
        and checks.has_letter(token)
        and "://" not in token
        and token[0] not in "/.~-{[<(%"
        and "=" not in token.rstrip("=")
        and "[" not in token
        and ("/" not in token or len(token) >= 24)
        and not _MADE_OF_WORDS.fullmatch(token)
    )


def is_random(value: str, verdict: Verdict) -> bool:
    """For what stands beside a name without a separator. A listing also names things: `token   default-token-x2k4q`."""
    if verdict.rule == "password":
        return strong(value, 8)
    return strong(value, 16) and not checks.is_a_name(value) and not checks.UUID.fullmatch(value)
