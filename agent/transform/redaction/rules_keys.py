"""Rules for values beside a sensitive name, in JSON, text, URLs, flags, markup; and for key material.

The finder's patterns name the last words of a key and what a value begins with: `"password": null`, `""`, `***` and
`[REDACTED]` are not flagged. Whether the name is really sensitive is for names.py to say.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from agent.transform.redaction import checks
from agent.transform.redaction.names import (
    FOREIGN_WORDS,
    KEY_WORDS,
    NAMED_RULES,
    QUALIFIERS,
    RARE_KEY_WORDS,
    RARE_QUALIFIERS,
    loose_pattern,
)
from agent.transform.redaction.rule import Rule
from agent.transform.redaction.shapes import B58, LEFT, group

BASE64_WORDS = (
    *(
        form
        for word in [
            "password",
            "passwd",
            "passwort",
            "secret",
            "token",
            "api_key",
            "apikey",
            "api-key",
            "authorization",
            "credential",
            "private_key",
            "cookie",
            "T3BlbkFJ",
        ]
        for form in dict.fromkeys((word, word.capitalize(), word.upper(), word.title()))
    ),
    *("apiKey", "://", "PRIVATE KEY"),
    *(word + end for word in ("_key", "_KEY", "-key", "Key") for end in '=": '),
)
"""Looked for in base64 too."""

_KEY = rf"(?:{'|'.join(word for word in KEY_WORDS if word not in RARE_KEY_WORDS)})[ _.\-]?keys?"
STEMS = (
    r"passw(?:or[dt]|d)s?|kennwort|pass[ _\-]?(?:phrase|code|word)|pwd|pass|pw|puk|(?:\b|_|\\[nrt])pin|secrets?|credentials?|creds?|token|jwt|bearer|assertion"
    r"|authorization|cookies?|session(?:[ _.\-]?id)?|sess(?:ion)?_?id|(?:\b|_|\\[nrt])sid|csrf|xsrf"
    r"|(?:database|db|connection|conn)[ _.\-]?(?:string|url|uri)|dsn|answer|otp|totp"
    r"|cvv2?|cvc2?|card[ _.\-]?(?:number|expiry|exp|verification)|cc[ _.\-]?number|security[ _.\-]?(?:code|number)|(?:\b|_|\\[nrt])pan|iban|ssn"
    rf"|priv[ _.\-]?key|(?:\b|_|\\[nrt])(?:ott|pat|sess)|{_KEY}"
)
RARE_STEMS = (
    r"saml[ _.\-]?response|connect[ _.\-]?sid|(?:laravel|gitlab)_session|(?:mfa|verification|recovery|backup|pin|otp|2fa|factor|time|auth|authentication|sms)[ _.\-]?codes?"
    r"|verification[ _.\-]?value|(?:nt|ntlm|lm)[ _.\-]?hash|mnemonic|seed[ _.\-]?phrase|code[ _.\-]?verifier|art-api|art_api|artapi|jenkins[ _.\-]?crumb|unseal[ _.\-]?key(?: [0-9])?|snmp[ _.\-]?community|community[ _.\-]?string|secret[ _.\-]?id"
    r"|secret[ _.\-]?key[ _.\-]?base|key[ _.\-]?data|pkcs12|keystore[ _.\-]?data|privkey|private[ _.\-]?pem|account[._]key\.|keypass|secret[ _.\-]?(?:text|string)|token[ _.\-]?value|(?:nwk|app)[ _.\-]?s[ _.\-]?key"
    rf"|(?:{'|'.join(RARE_KEY_WORDS)})[ _.\-]?key|jwt:key|(?:pass[a-z]*|pwd|pw|pin|secret|token|otp|key)[ _.\-]?(?:{'|'.join(sorted(RARE_QUALIFIERS))})"
)
"""So rare that wherever they stand all procedures look for a value: in one pattern with the others they would make it too large
to compile, or halve the scan."""
RARE_SHORT_STEMS = "psk|pfx|cvn|pre[ _.\\-]?shared"
"""The same; so short that what may follow them is told more narrowly, or random letters would be full of them."""


# How a letter is written: as it is, as JSON escapes it, as URLs do.
_ESCAPES: tuple[Callable[[str], str], ...] = (
    lambda c: c if c.isascii() else "".join(rf"\x{b:02x}" for b in c.encode()),
    lambda c: c if c.isascii() else rf"\\u{ord(c):04x}",
    lambda c: c if c.isascii() else "".join(f"%{b:02x}" for b in c.encode()),
)


def _spelled(escape: Callable[[str], str]) -> str:
    """Names of other languages in one spelling, their parts joined in any way. All in one pattern, they would halve the scan."""
    return "|".join(
        dict.fromkeys(
            r"[ _.\-]?".join("".join(map(escape, part)) for part in text.split("+"))
            for word in FOREIGN_WORDS
            for text in ((word,) if word.isascii() else (word, word.capitalize(), word.upper()))
        )
    )


FOREIGN_SPELLINGS = tuple(map(_spelled, _ESCAPES))
_TAIL = rf"(?:[ _.\-]?(?:{'|'.join(sorted(QUALIFIERS - RARE_QUALIFIERS))}|hash|digest|value|cookie|pem))?[_.\-]?[0-9]{{0,4}}(?:\]|%5D)?"
COLOUR = r"\x1b\[[0-9;]{0,8}m|(?:\\u001b|\\x1b|\\033|\\e)\[[0-9;]{0,8}m"
_CLOSE = rf"(?:[ \t\"'`\\\])>]|{COLOUR})*"
_SEPARATOR = r"(?:[=:]|->|<-| \|(?: )|\xef\xbc[\x9a\x9d]|\\uff1[adAD]|%3[AaDd]|%253[AaDd])[=>]{0,2}"
_AFTER = rf"(?:[ \t]|{COLOUR})*"
# The first characters of a value that is one. \x22 is the quote, \x27 the apostrophe.
_QUOTED = (
    r"(?:[ \t\\rn]{0,24}string\([0-9]{1,9}\) |\([A-Za-z.*]+\) (?:\(len=[0-9]{1,9}\) )?|[A-Za-z(\[\]{]{0,14}[ ]?|<<)\\{0,16}(?:[\"'`]|\"{3}|'{2,3}|\"'|'\")(?:[^\n\"'`\\*\[xX]|\*[^*\n\"']|\[[^RFrf\n\"']|[xX][^xX\n]|\\[^\n\"'\\]|\\\\[^\n\"'\\]"
    r"|[*xX]{2,64}[^*xX\s\"'`\\]|\[REDACTED:|\[REDACTED\] ?[^\s\"'`\\,;)\]}])"
)
_NO_VALUES = ("null", "none", "nil", "nan", "true", "false", "undefined", "required", "redacted", "filtered", "missing")


def _not_word(words: Iterable[str]) -> str:
    """A pattern for text that begins like one of `words` and then goes another way; finders know no look-ahead."""
    prefixes = sorted({word[:length] for word in words for length in range(1, len(word) + 1)})
    ways = []
    for prefix in prefixes:
        following = "".join(
            sorted({word[len(prefix)] for word in words if word.startswith(prefix) and len(word) > len(prefix)})
        )
        ends = r"\s\"'`\\,;.)\]}!&" if prefix in words else r"\n"
        ways.append(f"{prefix}[^{ends}{following}]")
    first = "".join(sorted({word[0] for word in words}))
    return rf"[^\x00-\x20\"'`\\=>()\[\]{{}}*<,;:x{first}{first.upper()}X]|" + "|".join(ways)


_BARE = (
    rf"[({{\[]{{0,2}}(?:{_not_word(_NO_VALUES)}|x[^x\n ,}}\]]|\*[^*\n ,}}\]]|[|>][+-]?\\{{1,8}}n|<[^A-Za-z\n]|<[A-Za-z][A-Za-z0-9 _.:\-]*>[^\s\"'`\\,;)\]}}<]|[:=>][^\s\"'\\,:=}}\]]"
    r"|[*x]{2,64}[^*x\s\"'`\\,;)\]}]|\[?REDACTED:|\[?REDACTED\][^\s\"'`\\,;)\]}])"
)


def name_needles(stems: str) -> tuple[str, ...]:
    """Finder pattern for `name = value` in all its spellings. As one pattern it costs a tenth of what two cost."""
    return (
        rf"(?im)(?:{stems}){_TAIL}{_CLOSE}{_SEPARATOR}{_AFTER}(?:{_QUOTED}|{_BARE})",
        rf"(?im)(?:{stems})\.{{4}}",
        r"random_password\.[^\n=]*=",
        r"(?i)(?:jwt|hmac|fernet|cipher|crypto|sign(?:er|ing)|encrypt(?:or|er|ion))[a-z0-9_]*[({\[][^\n(){}\[\]]*key[\"'\\]* ?[:=] ?[^\s]",
    )


# `app.auth: …` is a logger's name and its message, so without quotes only `auth=` counts.
_AUTH_NEEDLE = rf"(?im)auth(?:[ \t]{{0,3}}=|[\"'`\\\]][\"'`\\\])]{{0,9}}[ \t]{{0,3}}[=:]|\)[\"'`\\\])]{{1,9}}[ \t]{{0,3}}[=:]|\)[ \t]{{0,3}}=)[=>]{{0,2}}{_AFTER}(?:{_QUOTED}|{_BARE})"
# `pam_unix(sshd:auth): check pass` stands in each line of sshd.
_AUTH_IN_BRACKETS = rf"(?im)auth\)[ \t]{{0,3}}:{_AFTER}(?:{_QUOTED}|[^\s\"'`\\,;]*[0-9])"
_LOGIN_NEEDLE = r"[aA]uth\\{0,8}\" ?: ?\[ ?\\{0,8}\"[^\"\\]+\\{0,8}\", ?\\{0,8}\"[^\"\\]{7}"
_PAIR_STEMS = STEMS.replace("|bearer|", "|").replace("|assertion", "")


_PARENT_NEEDLE = r"[\"'\\](?:[kK]ey|phrase)[\"'\\]{1,9} ?: ?[\"'\\]{1,9}[A-Za-z0-9+/_=\-]{16}"


def pair_needles(stems: str) -> tuple[str, ...]:
    """`("name", "value")` and `"name": "password", "value": …`, in either order; the last name of a `loc`.

    The quote shares a class with the backslashes before it: a quote that must stand alone is a literal (`",`), and one
    that each JSON string ends with, so the scan would stop at every field. That was two thirds of the whole scan.
    """
    return (
        rf"(?im)(?:{stems}){_TAIL}[\"'\\]{{1,9}}(?: ?, ?b?\\{{0,8}}[\"']| ?[\])}}])",
        rf"(?im)(?:{stems})[, ]{{1,2}}[<\"'\\]{{1,24}}[^\"'\\ ,<]",
        rf"(?im)(?:{stems}){_TAIL}\\{{0,8}}[\"']?[ ]?[,;{{]?[ \t\\rn\"']*(?:[a-z]+_?)?(?:val|content|default|old|new|before|after)[ue]{{0,2}}[\\\"' ]*[:=]",
        rf"(?im)(?:{stems}){_TAIL}\\{{0,8}}\"(?:;s:[0-9]|\\[\\rn])",
        rf"(?im)(?:{stems}){_TAIL}(?:\\{{0,8}}[\"'] ?,|[\\rn ]{{2}})[^\n]*[\"'\\ ](?:value|val)[\"'\\ ]*[:=]",
        r"(?:Password|Passwd|Passphrase|Secret|Token|Key)(?:@[0-9a-f]{1,8})?(?:[(\[{][ ]?[^\s)]|\) (?:\(len=[0-9]+\) )?\\{0,8}\"[^\"])|\"\.toCharArray\(|[vV]alue[^\n]*SecureString|(?:Login|Logon|SignIn|Credentials?|Creds|BasicAuth|UserPass|UsernamePassword)(?:Request|Command|Form)?\([A-Za-z0-9_.@\-]+, ?[^\s,()\"']{8}",
        r"(?i)(?:sign(?:with)?|hmac(?:_?sha_?[0-9]{1,3})?|jwt\.(?:encode|decode|verify))\([^\n'\"()]+, ?b?\\{0,8}['\"][^'\"]{8}",
        r"(?i)(?:auth|credentials?|login|creds|password|passwd|pw)_?(?:set)?\(\\{0,8}[\"'][^\"'\\\s]+\\{0,8}[\"'], ?b?\\{0,8}[\"'][^\"'\\]",
        rf"(?im)[\"'] ?(?:[!=]==?|<>|!~|=~) ?[a-z_0-9.\[\]]*(?:{stems})",
        rf"(?im)(?:{stems})\\{{0,8}}[\"'] [a-z][^\n]*value:? \\{{0,8}}[\"'][^\s\"']",
        rf"(?im)(?:{stems})[^\n]* /d [^\s]",
        r"(?i)(?:pgp_sym|aes)_(?:en|de)crypt(?:_bytea)?\(",
        r"(?i)\.(?:auth|authenticate)\(\\{0,8}[\"'][^\"'\\]{4}",
        r"(?:mysqli?_p?connect|->__construct|ftp_login|ldap_bind|imap_open|oci_connect|ssh2_auth_password)[^\n]*, ?\\{0,8}['\"][^\n]*, ?\\{0,8}['\"]",
        r"[A-Za-z0-9_.@]\\{0,8}\" \\{0,8}\"(?:md5[0-9a-f]|SCRAM-SHA-|[^\"\\\s]{8,64}\\{0,8}\"(?:$|\\))",
        r"(?i)(?:pass(?:word|wd|phrase)?|pw|secret|token|key|hash|verify|encrypt)\(b?\\{0,8}[\"'][^\"'\\]",
        r"(?i)(?:auth|log_?in|log_?on|sign_?in|authenticate|credentials?|authentication|token)=?\(\\{0,8}[\"'][^\"'\\\s]+\\{0,8}[\"'], ?b?\\{0,8}[\"'][^\"'\\]",
    )


def flag_needles(stems: str) -> tuple[str, ...]:
    return (
        rf"(?im)--(?:[a-z0-9_.]+-)*[a-z0-9_.]*(?:{stems}){_TAIL},? {{1,3}}[^\s\-]",
        rf"(?im) -(?:[a-z0-9_.]+-)*[a-z0-9_.]*(?:{stems}){_TAIL} [^\s\-]",
    )


def markup_needles(stems: str) -> tuple[str, ...]:
    return (
        rf"(?im)(?:{stems}){_TAIL}(?:[ \t]+[A-Za-z0-9:_.\-]+=(?:[\\\"']+[^\"'<>\n]*[\\\"']+|[^\"'<>\s]+))*[ \t]*>(?:<!\[CDATA\[)?[^<>\s]",
        rf"(?im)(?:{stems}){_TAIL}(?:\\{{0,8}}[\"'] ?|</key)>[ \t\\rn]*(?:<(?:val|value|string)>)?(?:<!\[CDATA\[)?[^<>\s]",
        rf"(?im)(?:{stems}){_TAIL}</[a-z:\-]+>[ \t\\rn]*<[a-z:\-]*v",
        r"(?i)(?:pass(?:word|wd|phrase)|secret|token|key)>[ \t\\rn]*<(?:value|val|string|text|plaintext|content)>",
        rf"(?im)(?:{stems}){_TAIL}\\{{0,8}}[\"'] [a-z:]+=[^<>\n]*>",
        rf"(?im)(?:{stems}){_TAIL}\\{{0,8}}[\"']? (?:[a-z]+=[\\\"']+[^\"'<>\n]*[\\\"']+ )?value=",
    )


def column_needles(stems: str) -> tuple[str, ...]:
    return (
        rf"(?im)(?:{stems}){_TAIL}[\\\"']{{0,9}}(?::|(?:[,;]|\\t)[^\n:={{}}()]*)?\\[rn]",
        rf"(?im)(?:{stems}){_TAIL}[\"']?(?:\\{{1,8}}t|\t|  )[ \t]*[^\s|]{{8}}",
    )


def key_stems(names: Iterable[str]) -> str:
    return "|".join(loose_pattern(name) for name in names)


def _key(ident: str, about: str, must: tuple[str, ...], must_not: tuple[str, ...], preset: str = "secrets") -> Rule:
    return Rule(
        ident, "", about, scanner="names", must=must, must_not=must_not, preset="pii" if preset == "pii" else "secrets"
    )


KEYS = group(
    "keys",
    Rule(
        "password",
        "",
        "value of a password-like name",
        find=(*name_needles(STEMS), _AUTH_NEEDLE, _AUTH_IN_BRACKETS),
        scanner="names",
        must=('{"password": "«{pw:12}»"}', "db_password=«{pw:14}»", "DB_PASSWORD='«{pw:14}»'", "smtp_pass: «{pw:9}7»"),
        must_not=(
            '{"password": null}',
            '{"password_changed_at": "2026-01-01"}',
            "password: required",
            "password=password, user=user",
        ),
    ),
    _key(
        "secret",
        "value of a secret-like name",
        ('{"client_secret": "«{pw:24}»"}', "app_secret=«{b62:32}»", "jwt_secret: '«{b62:20}»'"),
        ('{"secret_name": "db"}', '{"secret": ""}', "secret=settings.secret"),
    ),
    _key(
        "secret-key",
        "value of a key-like name",
        ('{"api_key": "«{b62:24}»"}', "X-Api-Key: «{b62:32}»", "secret_key=«{b62:24}»"),
        ('{"primary_key": "a1"}', '{"key": "V_Speed"}', "public_key=abc123"),
    ),
    _key(
        "token",
        "value of a token-like name",
        ('{"access_token": "«{b62:24}»"}', "auth_token=«{b62:24}»", "HF_TOKEN_2: '«{b62:24}»'"),
        (
            '{"token_count": 5}',
            '{"max_tokens": 4096}',
            "token: str = None",
            "Skipping AppWindowToken{df0798e token=Token{78af589 ActivityRecord{3b04890 u0",
        ),
    ),
    _key(
        "credential",
        "value of a credential-like name",
        (
            '{"credentials": "bob:{pw:8}"}'.replace("bob:{pw:8}", "«bob:{pw:8}»"),
            "credential='«{b62:16}»'",
            '{"creds": ["«{b62:12}»"]}',
        ),
        ("Credentials: 3 configured", '{"credentials_count": 3}', "credentials: updated for bob"),
    ),
    _key(
        "authorization",
        "an Authorization header in any scheme",
        (
            "Authorization: Token «{b62:24}»",
            '{"authorization": "Bearer «{b62:24}»"}',
            "proxy-authorization: «{b62:30}»",
        ),
        ("authorization required", "Authorization: required", '{"auth_method": "oauth"}'),
    ),
    _key(
        "cookie",
        "values of cookies",
        (
            "Cookie: a=«{b62:16}»; b=«{b62:20}»",
            '{"set-cookie": "sid=«{b62:24}»; Path=/"}',
            "Set-Cookie: id=«{b62:24}»; HttpOnly",
        ),
        ("cookies enabled", '{"cookies_enabled": true}', "Cookie: none"),
    ),
    _key(
        "session",
        "a session id of 16 characters or more",
        ('{"session_id": "«{b62:24}»"}', "JSESSIONID=«{HEX:32}»", "sessionid=«{b36:32}»"),
        (
            "Session size=10",
            '{"sessions_active": 3}',
            "session_id=abc",
            "CBS    Session: {d:8}_{d:10} initialized by client",
        ),
    ),
    _key(
        "csrf",
        "a CSRF token",
        ('{"csrf": "«{b62:32}»"}', "X-CSRF-Token: «{b62:32}»".replace("X-CSRF-Token", "xsrf"), "_csrf=«{b62:32}»"),
        ("csrf check failed", '{"csrf": ""}', '{"csrf_enabled": true}'),
    ),
    _key(
        "security-answer",
        "answer to a security question",
        ('{"security_answer": "«{a:8}»"}', "secret_answer='«{a:8}»'", '{"securityAnswer": "«{a:6} {a:5}»"}'),
        ('{"answer": "yes"}', "the answer is 42", '{"security_question": "pet"}'),
    ),
    _key(
        "one-time-code",
        "a one-time or recovery code",
        ('{"otp": "«{d:6}»"}', "otp=«{d:6}»", '{"recovery_codes": ["«{b36:10}»"]}'),
        ('{"otp": null}', '{"otp_enabled": true}', "otp required"),
    ),
    _key(
        "connection-string",
        "a connection string under its name: what is secret inside",
        (
            '{"connection_string": "Server=s;User Id=u;Password=«{b62:12}»;"}',
            '{"dsn": "postgres://u:«{b62:12}»@h/x"}',
            "DATABASE_URL=mysql://u:«{b62:12}»@h/x",
        ),
        ('{"connection_string": null}', '{"dsn": "postgres://h/x"}', "DATABASE_URL=sqlite:///x.db"),
    ),
    Rule(
        "sensitive-key",
        "",
        "a name of your own, `redact.keys`",
        scanner="names",
        given="badge_no",
        must=(
            '{"{given}": "«{b62:8}»"}',
            "badgeNo=«{b62:8}» at the gate",
            "user-badge-no: '«{b62:6}»'",
            '{"a": [{"user": {"BADGE_NO": «{n:7}»}}]}',
        ),
        must_not=(
            '{"{given}": null}',
            '{"{given}_count": 3, "badge": "b12"}',
            "badge_note=seen at the gate",
            "badgeNo=${BADGE_NO}",
        ),
    ),
    _key(
        "card-data",
        "card number, cvv or expiry by name",
        ('{"cvv": "«{d:3}»"}', '{"card_number": "«{=card}»"}', "cvc='«{d:3}»'"),
        ('{"card": "none"}', '{"cvv": null}', '{"card_type": "visa"}'),
        "pii",
    ),
    *(
        _key(
            ident,
            f"{ident.replace('-', ' ')} by its name",
            (
                f"{owner.upper()}_API_KEY=«{{b62:32}}»",
                f'{{"{owner}_token": "«{{b62:40}}»"}}',
                f"{owner}_secret_key: '«{{b62:32}}»'",
            ),
            (f'{{"{owner}_key_count": 3}}', f'{{"{owner}_token": null}}', f"{owner}_token_ttl=3600"),
        )
        for ident, owner in NAMED_RULES.items()
    ),
    Rule(
        "name-value-pair",
        "",
        "name and value in a pair, a tuple or two members",
        find=(*pair_needles(_PAIR_STEMS), _PARENT_NEEDLE, _LOGIN_NEEDLE),
        scanner="pairs",
        must=(
            "('authorization', '«{b62:24}»')",
            "(b'x-api-key', b'«{b62:24}»')",
            '{"name": "password", "value": "«{pw:10}»"}',
        ),
        must_not=("['password', 'email']", '{"name": "password", "type": "text"}', "fields: (name, email)"),
    ),
    Rule(
        "column",
        "",
        "cell of a table under or beside a sensitive name",
        find=column_needles(STEMS),
        scanner="columns",
        must=(
            "user,password\\nbob,«{b62:12}»",
            "login;password;role\\nbob;«{b62:12}»;admin",
            "db_password   «{b62:14}»",
        ),
        must_not=("user,password_set\nbob,true", "password   required", "secret   db-credentials-7"),
    ),
    Rule(
        "drawn-frame",
        "",
        "value that loguru draws below its name in a traceback",
        find=(r"(?:\xe2\x94\x94|\\u2514) [^\s]",),
        scanner="frames",
        must=(
            "    login(user, password)\n          │     └ '«{pw:12}»'\n          └ 'bob'",
            "  connect(token)\n          └ '«{b62:24}»'",
            "x = f(db, secret)\n      │   └ '«{b62:14}»'\n      └ 3",
        ),
        must_not=("└ 'x'", "  f(user)\n    └ 'bob'", "├── keys\n└── token.txt"),
    ),
    Rule(
        "cli-flag",
        "",
        "value of a flag such as --password",
        find=flag_needles(STEMS),
        scanner="flags",
        must=("tool --password «{pw:10}»", "x --api-key «{b62:20}» y", "run --client-secret '«{b62:20}»'"),
        must_not=("--password-stdin", "--token-file /run/t", "--no-auth --fast"),
    ),
    Rule(
        "markup",
        "",
        "XML element or attribute with a sensitive name",
        find=markup_needles(STEMS),
        scanner="markup",
        must=(
            "<password>«{pw:10}»</password>",
            '<add key="apiKey" value="«{b62:20}»"/>',
            "<wsse:Password Type=x>«{pw:10}»</wsse:Password>",
        ),
        must_not=("<password></password>", "<author>bob</author>", "<token_count>5</token_count>"),
    ),
)

MATERIAL = group(
    "key-material",
    Rule(
        "pem-private-key",
        "",
        "private key in PEM form, also cut off",
        find=(
            r"(?:BEGIN|END) (?:[A-Z0-9]{1,12} ){0,4}PRIVATE KEY",
            r"BEGIN(?:%20|\+)(?:[A-Z0-9]{1,12}(?:%20|\+)){0,4}PRIVATE(?:%20|\+)KEY",
        ),
        scanner="pem",
        anchors=("-----BEGIN ",),
        must=(
            "«-----BEGIN RSA PRIVATE KEY-----\\n{b64:64}\\n{b64:64}\\n-----END RSA PRIVATE KEY-----»",
            "«-----BEGIN OPENSSH PRIVATE KEY-----\n{b64:70}\n{b64:30}»",
            "«-----BEGIN PRIVATE KEY-----{b64:200}-----END PRIVATE KEY-----»",
        ),
        must_not=(
            "-----BEGIN PUBLIC KEY-----{b64:64}-----END PUBLIC KEY-----",
            "the PRIVATE KEY is missing",
            "-----BEGIN CERTIFICATE-----{b64:64}",
        ),
    ),
    Rule(
        "pem-lines",
        "",
        "private key over several text lines",
        by_chunk=True,
        must=(
            "loading\n«-----BEGIN RSA PRIVATE KEY-----»\n«{b64:64}»\n«{b64:64}»\n«-----END RSA PRIVATE KEY-----»\ndone",
            "2026-01-02 03:04:05 INFO key: «-----BEGIN EC PRIVATE KEY-----»\n«{b64:64}»\n«{b64:20}==»\n«-----END EC PRIVATE KEY-----»",
            "-----BEGIN OPENSSH PRIVATE KEY-----\n«{b64:70}»\n«{b64:30}»\nnext line is text, of no key",
            "«{b64:64}»\n«{b64:44}»\n«-----END PRIVATE KEY-----»\ndone",
        ),
        must_not=(
            "loading\n-----BEGIN CERTIFICATE-----\n{b64:64}\n-----END CERTIFICATE-----",
            "-----BEGIN PUBLIC KEY-----\n{b64:64}\n{b64:20}==\n-----END PUBLIC KEY-----",
            "no BEGIN PRIVATE KEY in\n{b64:64}\n/etc/ssl/private/server.key",
        ),
    ),
    Rule(
        "putty-wireguard",
        "",
        "PuTTY private lines and WireGuard keys",
        find=(r"Private-Lines: [0-9]", r"(?:Private|Preshared)Key ?= ?[A-Za-z0-9+/]{20}"),
        scanner="pem",
        must=("PrivateKey = «{b64:43}=»", "PresharedKey=«{b64:43}=»", "Private-Lines: 2«\n{b64:64}\n{b64:60}»"),
        must_not=("PublicKey = {b64:43}=", "Private-Lines: 0", "PrivateKey = none"),
    ),
    Rule(
        "bitcoin-wif",
        "",
        "private key of Bitcoin, proven by its checksum",
        gated=(
            # The end of an escape or of a colour may stand before it; behind it no more of such characters, as in base64.
            rf"(?m)(?:\b|[0-9A-Fa-fmnrt])(?:5[HJK]|[KL][{B58}]{{2}})[{B58}]{{48}}[{B58}]?(?:[^A-Za-z0-9+=\n]|$)",
        ),
        gate="run",
        pattern=LEFT + rf"(?P<secret>(?:5[HJK]|[KL][{B58}]{{2}})[{B58}]{{49}})(?![A-Za-z0-9])",
        check=checks.wif,
        shortest=51,
        must=("{=wif}", "key «{=wif}»", '{"vendor": "«{=wif}»"}', "/x?client=«{=wif}»&n=1", "a,«{=wif}»,b"),
        must_not=("5J{b58:49}", "K{b58:51}", "L{b58:51} {b58:51}"),
        traps="base64 and other tokens that begin alike",
    ),
    Rule(
        "jwk-private",
        "",
        "private members of a JSON Web Key",
        find=(r"[\"']kty\\{0,8}[\"']",),
        scanner="jwk",
        must=(
            '{"kty": "oct", "k": "«{b64u:43}»"}',
            '{"kty": "EC", "crv": "P-256", "d": "«{b64u:43}»"}',
            '{"keys": [{"kty": "RSA", "n": "abc", "d": "«{b64u:86}»"}]}',
        ),
        must_not=('{"kty": "EC", "x": "{b64u:43}"}', '{"k": "{b64u:43}"}', '{"d": "5"}'),
    ),
)
