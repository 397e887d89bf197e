"""Which key names mean a secret: the last words of the name decide, never a substring.

`access_token` is sensitive, `token_count` is not, `author` is one word and never was auth + or.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Literal, NamedTuple
from urllib.parse import unquote

Kind = Literal[
    "any",
    "string",
    "pin",
    "session",
    "auth",
    "authorization",
    "cookie",
    "dsn",
    "digits",
    "vendor",
    "pass",
    "pwd",
    "loose",
]
"""What of the value counts.

any: string or number · string: no number, no time · session: ≥ 16 characters · auth: ≥ 8 · authorization, cookie: keep
scheme and names · dsn: look inside · digits: ≥ 12 digits · vendor: ≥ 16 with a digit · pass: needs a letter · pin: four to eight digits ·
pwd: no path · loose: a heading in prose, so in text only quoted or after `=`
"""


class Verdict(NamedTuple):
    rule: str
    kind: Kind


_HEADS: tuple[tuple[str, Kind, str], ...] = (
    (
        "password",
        "any",
        (
            "password passwd passwort kennwort passphrase passcode password+confirm password+confirmation password+again "
            "password+repeat password+new password+old password+current password+hash password+digest passwd+hash pw+hash "
            "hashed+pw pass+phrase pass+word pass+code pass+hash password+encrypted encrypted+pass zugangscode 密码 пароль nt+hash ntlm+hash lm+hash passwords pin+code puk master+pw contrasena contrase+ñ+a contrase+n+a mot+de+passe senha wachtwoord"
        ),
    ),
    ("password", "pass", "pass pw"),
    ("password", "pwd", "pwd"),
    ("password", "pin", "pin"),
    (
        "secret",
        "any",
        "secret secrets geheimnis shared+secret signing+secret webhook+secret app+secret client+secret secret+value",
    ),
    ("credential", "loose", "credential credentials creds cred zugangsdaten anmeldedaten"),
    (
        "secret-key",
        "any",
        (
            "private+key secret+key secret+key+base access+key api+key api+keys api+secret signing+key encryption+key decryption+key "
            "master+key account+key subscription+key license+key service+key deploy+key shared+key storage+key function+key "
            "functions+key webhook+key admin+key root+key ssh+key hmac+key jwt+key session+key auth+key wallet+key seed+phrase "
            "mnemonic preshared+key pre+shared+key psk hash+key host+key primary+master+key integration+key token+key "
            "instrumentation+key crypto+key cookie+key p12 pkcs12 pfx keystore+data privkey private+pem private+key+pem api+schl+ü+ssel zugangsschl+ü+ssel geheimschl+ü+ssel api+schluessel"
        ),
    ),
    ("token", "string", "token jwt bearer apikey assertion saml+response access+jwt refresh+jwt id+jwt ott"),
    ("authorization", "authorization", "authorization proxy+authorization www+authorization"),
    ("authorization", "auth", "auth"),
    ("cookie", "cookie", "cookie cookies set+cookie"),
    (
        "session",
        "session",
        "session+id sid sessid session+key laravel+session gitlab+session session+cookie connect+sid",
    ),
    ("session", "vendor", "session"),
    ("token", "vendor", "pat"),
    ("csrf", "string", "csrf xsrf"),
    ("connection-string", "dsn", "connection+string conn+string connection+uri connection+url dsn database+url db+url"),
    ("security-answer", "any", "security+answer secret+answer"),
    (
        "one-time-code",
        "any",
        "otp totp mfa+code verification+code recovery+code recovery+codes backup+codes otp+code 2fa+code",
    ),
    ("card-data", "any", "cvv cvc cvn card+number cc+number card+cvv card+cvc card+expiry card+exp security+code"),
    ("card-data", "digits", "pan"),
    ("iban", "any", "iban"),
    ("us-ssn", "any", "ssn social+security+number"),
)
_PERSONAL: tuple[tuple[str, Kind, str], ...] = (
    (
        "person",
        "any",
        (
            "first+name last+name full+name given+name family+name middle+name maiden+name surname firstname lastname fullname vorname nachname "
            "dob birthday birth+date date+of+birth geburtsdatum street street+address postal+address home+address address+line anschrift strasse"
        ),
    ),
    ("geo", "any", "lat latitude lon lng longitude geo+point geolocation coordinates"),
)
"""Off unless asked for."""
PERSONAL_STEMS = {
    "person": r"(?:first|last|full|given|family|middle|maiden)[ _.\-]?name|surname|vorname|nachname|dob|birth[ _.\-]?(?:day|date)|of[ _.\-]?birth|geburtsdatum|street|address|address[ _.\-]?line|anschrift|strasse",
    "geo": r"\blat|latitude|\blon|\blng|longitude|geo[ _.\-]?point|geolocation|coordinates",
}
_PII_RULES = frozenset({"card-data", "iban", "us-ssn"})

_RUN_TOGETHER: tuple[tuple[str, Verdict], ...] = (
    ("password", Verdict("password", "any")),
    ("passwd", Verdict("password", "any")),
    ("passphrase", Verdict("password", "any")),
    ("passwort", Verdict("password", "any")),
    ("kennwort", Verdict("password", "any")),
    *(
        (word, Verdict("password", "pass"))
        for word in (
            "dbpass",
            "mypass",
            "userpass",
            "rootpass",
            "adminpass",
            "smtppass",
            "dbpwd",
            "userpwd",
            "rootpw",
            "dbpw",
        )
    ),
    *(
        (word, Verdict("secret-key", "any"))
        for word in (
            "apikey",
            "secretkey",
            "privatekey",
            "accesskey",
            "accountkey",
            "encryptionkey",
            "masterkey",
            "sharedkey",
        )
    ),
    *(
        (word, Verdict("secret", "any"))
        for word in ("clientsecret", "appsecret", "apisecret", "sharedsecret", "jwtsecret")
    ),
    *(
        (word + "token", Verdict("token", "string"))
        for word in (
            "access",
            "auth",
            "refresh",
            "id",
            "bearer",
            "csrf",
            "xsrf",
            "middleware",
            "session",
            "api",
            "oauth",
            "reset",
        )
    ),
    ("sessionid", Verdict("session", "session")),
    ("sessid", Verdict("session", "session")),
    ("setcookie", Verdict("cookie", "cookie")),
    ("samlresponse", Verdict("token", "string")),
    ("connectionstring", Verdict("connection-string", "dsn")),
    ("cardnumber", Verdict("card-data", "any")),
)

_NOT = frozenset(
    {"image pull secrets", "pull secrets", "unexpected token", "invalid token", "next token", "page token"}
)
_NOT_FIRST = frozenset(
    [
        "has",
        "is",
        "forgot",
        "no",
        "needs",
        "need",
        "require",
        "requires",
        "required",
        "use",
        "uses",
        "show",
        "hide",
        "allow",
        "allows",
        "enable",
        "enables",
        "disable",
        "disables",
        "supports",
        "should",
        "can",
        "must",
        "want",
        "wants",
        "without",
        "missing",
        "invalid",
        "expected",
    ]
)
_VENDOR_NAMES: dict[str, str] = {
    "heroku": "heroku-key",
    "scaleway": "scaleway-key",
    "ibm": "ibm-cloud-key",
    "cloudflare": "cloudflare-key",
    "oracle": "oracle-cloud-key",
    "datadog": "datadog-key",
    "dd": "datadog-key",
    "honeycomb": "honeycomb-key",
    "splunk": "splunk-token",
    "ngrok": "ngrok-token",
    "travis": "travis-token",
    "drone": "drone-token",
    "codecov": "codecov-token",
    "snyk": "snyk-token",
    "launchdarkly": "launchdarkly-key",
    "pagerduty": "pagerduty-key",
    "box": "box-secret",
    "twitch": "twitch-secret",
    "linkedin": "linkedin-secret",
    "twitter": "twitter-secret",
    "okta": "okta-token",
    "auth0": "auth0-secret",
    "intercom": "intercom-token",
    "mollie": "mollie-key",
    "gocardless": "gocardless-token",
    "adyen": "adyen-key",
    "plaid": "plaid-secret",
    "postmark": "postmark-token",
    "cohere": "cohere-key",
    "mistral": "mistral-key",
    "together": "together-key",
    "fireworks": "fireworks-key",
    "voyage": "voyage-key",
    "fastly": "fastly-key",
    "asana": "asana-token",
    "algolia": "algolia-key",
    "mapbox": "mapbox-key",
    "twilio": "twilio-token",
}
_KEY_OWNERS = frozenset(
    [
        "google",
        "aws",
        "gcp",
        "azure",
        "openai",
        "anthropic",
        "stripe",
        "vendor",
        "github",
        "gitlab",
        "slack",
        "sendgrid",
        "mailgun",
        "maps",
        "gemini",
        "groq",
        "deepseek",
        "firebase",
        "supabase",
        "pinecone",
        "sentry",
        "grafana",
        "loki",
        "newrelic",
        "app",
        "application",
        "sdk",
        "server",
        "write",
        "merchant",
        "consumer",
        "partner",
        "bot",
        "provider",
        "gateway",
        "user",
        "client",
        "push",
    ]
) | frozenset(_VENDOR_NAMES)
NAMED_RULES = {rule: owner for owner, rule in sorted(_VENDOR_NAMES.items(), key=lambda item: item[1])}
"""Rule → a vendor's word, in the order of the rules."""

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+|[^\x00-\x7f]+")
_IODD_ID = re.compile(r"(?:V|T[A-Z]?|UI|RT)_[A-Z][a-z]")
_LONGEST_NAME = 256


def split_words(name: str) -> list[str]:
    """`X-Api-Key` → api key; `db.password` → db password; `APIKey` → api key; `HF_TOKEN_2` → hf token."""
    if "%" in name:
        name = unquote(name)
    words = [w.lower() for w in _WORD.findall(name) if not w.isdigit()]
    return words[1:] if len(words) > 1 and words[0] == "x" else words


def loose_pattern(name: str) -> str:
    """A case-insensitive finder pattern for a name, however its words are joined."""
    return r"[ _.\-]?".join(re.escape(word) for word in split_words(name))


class Names:
    """Answers for names, and remembers the answers: keys repeat."""

    def __init__(self, more: Iterable[str] = (), pii: bool = True, more_rules: Iterable[str] = ()) -> None:
        self._heads: dict[tuple[str, ...], Verdict] = {}
        for rule, kind, heads in _HEADS:
            if pii or rule not in _PII_RULES:
                for head in heads.split():
                    self._heads.setdefault(tuple(head.split("+")), Verdict(rule, kind))
        for rule, kind, heads in _PERSONAL:
            if rule in more_rules:
                for head in heads.split():
                    self._heads.setdefault(tuple(head.split("+")), Verdict(rule, kind))
        self._longest = 4
        for name in more:
            words = tuple(split_words(name))
            self._heads[words] = Verdict("sensitive-key", "any")
            self._longest = max(self._longest, len(words))
        self._run_together = tuple(pair for pair in _RUN_TOGETHER if pii or pair[1].rule not in _PII_RULES)
        self._endings = tuple(ending for ending, _ in self._run_together)
        self.verdict = lru_cache(maxsize=4096)(self._verdict)

    def _verdict(self, name: str) -> Verdict | None:
        """What a value under this name is, or None when the name is harmless."""
        if len(name) > _LONGEST_NAME:
            name = name[-_LONGEST_NAME:]
        if name in ("PWD", "OLDPWD") or _IODD_ID.match(name):
            return None
        words = split_words(name)
        if not words or words[0] in _NOT_FIRST or " ".join(words[-3:]) in _NOT or " ".join(words[-2:]) in _NOT:
            return None
        found = self._head(words) or self._joined(words[-1]) or self._joined("".join(words[-2:]))
        if found is None and words[-1] in ("key", "keys") and len(words) > 1 and words[-2] in _KEY_OWNERS:
            found = Verdict("secret-key", "vendor")
        if found is not None and found.rule in ("token", "secret", "secret-key"):
            vendor = next((_VENDOR_NAMES[w] for w in words[:-1] if w in _VENDOR_NAMES), None)
            return Verdict(vendor, found.kind) if vendor else found
        return found

    def _head(self, words: list[str]) -> Verdict | None:
        for length in range(min(self._longest, len(words)), 0, -1):
            found = self._heads.get(tuple(words[-length:]))
            if found is not None:
                return found
        return None

    def _joined(self, word: str) -> Verdict | None:
        if not word.endswith(self._endings):
            return None
        for ending, found in self._run_together:
            if word.endswith(ending):
                return found
        return None
