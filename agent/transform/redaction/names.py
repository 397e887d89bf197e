"""Which key names mean a secret: the last words of the name decide, never a substring.

`access_token` is sensitive, `token_count` is not, `author` is one word and never was auth + or.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache
from typing import Final, Literal, NamedTuple
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
    "card",
    "vendor",
    "pass",
    "pwd",
    "loose",
    "uuid",
    "owner",
]
"""What of the value counts.

any: string or number · string: no number, no time · session: ≥ 16 characters · auth: ≥ 8 · authorization, cookie: keep
scheme and names · dsn: look inside · digits: ≥ 12 digits · card: a number of one · vendor: ≥ 16 with a digit · owner: the same, or a UUID · pass: needs a letter · pin: four to eight digits ·
pwd: no path · loose: a heading in prose, so in text only quoted or after `=` · uuid: nothing else (the secret id of Consul; elsewhere it is a name)
"""


class Verdict(NamedTuple):
    rule: str
    kind: Kind


_HEADS: Final[tuple[tuple[str, Kind, str], ...]] = (
    (
        "password",
        "any",
        (
            "password passwd passwort kennwort passphrase passcode password+confirm password+confirmation password+again "
            "password+repeat password+new password+old password+current password+hash password+digest passwd+hash pw+hash "
            "hashed+pw pass+phrase pass+word pass+code pass+hash password+encrypted encrypted+pass zugangscode 密码 密碼 口令 パスワード 비밀번호 пароль hasło haslo lösenord losenord adgangskode salasana heslo şifre sifre passord jelszó jelszo parool "
            "mật+khẩu mat+khau kata+sandi palavra+passe nt+hash ntlm+hash lm+hash passwords pin+code puk storepass keypass snmp+community community+string master+pw contrasena contraseña mot+de+passe senha wachtwoord"
        ),
    ),
    ("password", "loose", "parola"),
    ("password", "pass", "pass pw"),
    ("password", "pwd", "pwd"),
    ("password", "pin", "pin"),
    (
        "secret",
        "any",
        "secret secrets secret+text secret+string geheimnis shared+secret signing+secret webhook+secret app+secret client+secret secret+value",
    ),
    ("credential", "loose", "credential credentials creds cred zugangsdaten anmeldedaten"),
    (
        "secret-key",
        "any",
        (
            "private+key secret+key secret+key+base access+key api+key api+keys api+secret signing+key encryption+key decryption+key "
            "master+key account+key subscription+key license+key service+key deploy+key shared+key storage+key function+key "
            "functions+key webhook+key admin+key root+key ssh+key hmac+key jwt+key session+key auth+key wallet+key seed+phrase unseal+key "
            "mnemonic preshared+key pre+shared+key preshared pre+shared psk hash+key host+key primary+master+key integration+key token+key "
            "licence+key provisioning+key enrollment+key pairing+key symmetric+key privacy+key priv+key nwk+key nwk+s+key app+s+key instrumentation+key crypto+key cookie+key pkcs pfx keystore+data privkey private+pem private+key+pem fernet+key aes+key client+key+data tls+key+data private+key+data api+schlüssel zugangsschlüssel geheimschlüssel api+schluessel"
        ),
    ),
    (
        "token",
        "string",
        "token token+value jwt bearer apikey assertion saml+response access+jwt refresh+jwt id+jwt ott code+verifier art+api",
    ),
    ("authorization", "authorization", "authorization proxy+authorization www+authorization"),
    ("authorization", "auth", "auth"),
    ("cookie", "cookie", "cookie cookies set+cookie"),
    (
        "session",
        "session",
        "session+id sid sessid session+key laravel+session gitlab+session session+cookie connect+sid",
    ),
    (
        "secret-key",
        "vendor",
        "rsa+key tls+key ssl+key network+key link+key totem+key isakmp+key wifi+key wlan+key psk+key",
    ),
    ("session", "vendor", "session sess"),
    ("token", "vendor", "pat"),
    ("csrf", "string", "csrf xsrf jenkins+crumb"),
    ("secret", "uuid", "secret+id"),
    ("connection-string", "dsn", "connection+string conn+string connection+uri connection+url dsn database+url db+url"),
    ("security-answer", "any", "security+answer secret+answer"),
    (
        "one-time-code",
        "any",
        "otp totp mfa+code verification+code recovery+code recovery+codes backup+code backup+codes otp+code fa+code two+factor+code one+time+code one+time+password auth+code authentication+code sms+code",
    ),
    (
        "card-data",
        "any",
        "cvv cvc cvn card+number cc+number card+cvv card+cvc card+expiry card+exp security+code verification+value card+verification",
    ),
    ("card-data", "digits", "pan"),
    ("card", "card", "card unionpay union+pay karte kreditkarte kartennummer creditcard debitcard"),
    ("iban", "any", "iban"),
    ("us-ssn", "any", "ssn social+security+number"),
)
_PERSONAL: Final[tuple[tuple[str, Kind, str], ...]] = (
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
PERSONAL_STEMS: Final = {
    "person": r"(?:first|last|full|given|family|middle|maiden)[ _.\-]?name|surname|vorname|nachname|dob|birth[ _.\-]?(?:day|date)|of[ _.\-]?birth|geburtsdatum|street|address|address[ _.\-]?line|anschrift|strasse",
    "geo": r"\blat|latitude|\blon|\blng|longitude|geo[ _.\-]?point|geolocation|coordinates",
}
_PII_RULES: Final = frozenset({"card-data", "card", "iban", "us-ssn"})

_ENDINGS: Final = (
    *(
        "password",
        "passwd",
        "passphrase",
        "passwort",
        "kennwort",
        "secret",
        "token",
        "apikey",
        "secretkey",
        "privatekey",
    ),
    *("accesskey", "accountkey", "encryptionkey", "masterkey", "sharedkey", "sessionid", "sessid", "samlresponse"),
    *("storepass", "connectionstring", "cardnumber", "密码", "密碼", "口令", "パスワード", "비밀번호"),
)
"""Words that end a longer one only where something was written together: `mysqlpassword`, `hmacsecret`, `用户密码`."""
_SHORT: Final = tuple(
    owner + word
    for owner in (
        "db",
        "my",
        "user",
        "root",
        "admin",
        "smtp",
        "ftp",
        "ldap",
        "mail",
        "login",
        "bind",
        "ssl",
        "redis",
        "pg",
        "ssh",
    )
    for word in ("pass", "pwd", "pw")
)
_RUN_TOGETHER: Final[dict[str, tuple[str, ...]]] = {
    **{word: (word.removesuffix("key"), "key") for word in _ENDINGS if word.endswith("key")},
    "sessionid": ("session", "id"),
    "samlresponse": ("saml", "response"),
    "connectionstring": ("connection", "string"),
    "cardnumber": ("card", "number"),
    **{word: ("", next(end for end in ("pass", "pwd", "pw") if word.endswith(end))) for word in _SHORT},
}
QUALIFIERS: Final = frozenset(
    [
        *("prod", "production", "staging", "stage", "stg", "dev", "devel", "development", "qa", "uat", "sandbox"),
        *("primary", "secondary", "replica", "backup", "default", "main", "old", "new", "current", "previous", "prev"),
        *("plain", "plaintext", "cleartext", "base64", "b64", "encoded", "encrypted", "decrypted", "repeat", "again"),
        *("confirm", "confirmation", "confirmed", "verify", "attempted", "entered", "given", "provided"),
    ]
)
"""What may follow the last word and says which of several it is: `DB_PASSWORD_PROD`."""

_NOT: Final = frozenset(
    {
        *("image pull secrets", "pull secrets", "existing secret"),
        *(
            f"{word} token"
            for word in ("unexpected", "invalid", "next", "page", "continuation", "skip", "sync", "stop", "start")
        ),
        *(
            f"{word} token"
            for word in ("end", "pad", "eos", "bos", "unk", "mask", "sep", "cls", "special", "image", "per")
        ),
    }
)
_NOT_FIRST: Final = frozenset(
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
_VENDOR_NAMES: Final[dict[str, str]] = {
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
_KEY_OWNERS: Final = frozenset(
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
        "device",
        "network",
        "join",
    ]
) | frozenset(_VENDOR_NAMES)
KEY_WORDS: Final = tuple(
    sorted(
        _KEY_OWNERS
        | {head.split("+")[-2] for _, _, heads in _HEADS for head in heads.split() if head.endswith(("+key", "+keys"))}
        - {"s"}
    )
)
"""What stands before `key` in a sensitive name."""
RARE_KEY_WORDS: Final = (
    *("device", "enrollment", "isakmp", "join", "licence", "link", "network", "nwk", "pairing", "priv", "privacy"),
    *("provisioning", "psk", "symmetric", "totem", "wifi", "wlan"),
)
"""Of these, such as lines seldom have: a pattern of their own asks for them."""
RARE_QUALIFIERS: Final = frozenset({"attempted", "entered", "given", "provided"})
_FOREIGN_ASCII: Final = (
    *("contrasena", "mot+de+passe", "senha", "wachtwoord", "geheimnis", "zugangsdaten", "anmeldedaten", "zugangscode"),
    *(
        "api+schluessel",
        "haslo",
        "losenord",
        "adgangskode",
        "salasana",
        "heslo",
        "sifre",
        "parola",
        "passord",
        "jelszo",
    ),
    *("parool", "mat+khau", "kata+sandi", "palavra+passe"),
)
FOREIGN_WORDS: Final = tuple(
    sorted({*_FOREIGN_ASCII, *(head for _, _, heads in _HEADS for head in heads.split() if not head.isascii())})
)
"""Names that other languages have for a password, a key or credentials; + stands for whatever joins words."""
NAMED_RULES: Final = {rule: owner for owner, rule in sorted(_VENDOR_NAMES.items(), key=lambda item: item[1])}
"""Rule → a vendor's word, in the order of the rules."""

_WORD: Final = re.compile(r"[A-Z]+(?![a-z\x80-\U0010ffff])|[A-Z]?(?:[a-z]|[^\W\d_A-Z])+|[0-9]+")
_IODD_ID: Final = re.compile(r"(?:V|T[A-Z]?|UI|RT)_[A-Z][a-z]")
_HOST_BEHIND: Final = re.compile(
    r"(?<=key|ord|ken|ret)(?:\.[a-z0-9\-]{1,64}){2,8}(?:(?<=\.net)|(?<=\.com)|(?<=\.org)|(?<=\.cn)|(?<=\.de)|(?<=\.us))\Z"
)
"""`fs.azure.account.key.acme.dfs.core.windows.net`: whose key it is."""
_GENERATED: Final = re.compile(r"random_password\.[\w.\-\[\]\"]{1,120}\.(?:result|bcrypt_hash)\Z")
"""An attribute of what Terraform calls its generator of passwords."""
_LONGEST_NAME: Final = 256
_LONG: Final = 10


def split_words(name: str) -> list[str]:
    """`X-Api-Key` → api key; `db.password` → db password; `APIKey` → api key; `HF_TOKEN_2` → hf token."""
    if "%" in name:
        name = unquote(name)
    if not name.isascii():
        name = unicodedata.normalize("NFC", name)
        name = name.lower() if name.isupper() else name
    words = [w.lower() for w in _WORD.findall(name) if not w.isdigit()]
    return words[1:] if len(words) > 1 and words[0] == "x" else words


def _apart(words: list[str]) -> list[str]:
    """The last word in two, if it is two: `dbpassword` → db password."""
    last = words[-1]
    for ending in _ENDINGS:
        if last.endswith(ending):
            first = last[: -len(ending)]
            return [*words[:-1], *((first,) if first else ()), *_RUN_TOGETHER.get(ending, (ending,))]
    return [*words[:-1], *_RUN_TOGETHER.get(last, (last,))]


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
        self._together = {"".join(head): found for head, found in self._heads.items() if len(head) > 1}
        self._long_together = tuple(name for name in self._together if len(name) >= _LONG)
        self.verdict = lru_cache(maxsize=4096)(self._verdict)

    def _verdict(self, name: str) -> Verdict | None:
        """What a value under this name is, or None when the name is harmless."""
        if len(name) > _LONGEST_NAME:
            name = name[-_LONGEST_NAME:]
        if _GENERATED.search(name):
            return Verdict("password", "any")
        if name in ("PWD", "OLDPWD") or _IODD_ID.match(name):
            return None
        words = split_words(_HOST_BEHIND.sub("", name))
        while len(words) > 1 and words[-1] in QUALIFIERS and tuple(words) not in self._heads:
            words.pop()
        if not words or words[0] in _NOT_FIRST:
            return None
        words = _apart(words)
        if " ".join(words[-3:]) in _NOT or " ".join(words[-2:]) in _NOT:
            return None
        found = self._head(words) or self._joined(words[-1]) or self._joined("".join(words[-2:]))
        if found is None and words[-1] in ("key", "keys") and len(words) > 1 and words[-2] in _KEY_OWNERS:
            # Of these, and of the environment, a UUID is the key; elsewhere it is what a row is called.
            kind: Kind = "owner" if words[-2] in _VENDOR_NAMES or name.isupper() else "vendor"
            found = Verdict("secret-key", kind)
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
        """`mfacode`; a long one also at the end: `jwtsigningkey`."""
        found = self._together.get(word)
        if found is None and len(word) > _LONG and word.endswith(self._long_together):
            return next(self._together[name] for name in self._long_together if word.endswith(name))
        return found
