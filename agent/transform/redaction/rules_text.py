"""Rules for URLs, HTTP tokens, prose, command lines and encodings: what shared procedures find."""

from __future__ import annotations

from agent.transform.redaction import checks
from agent.transform.redaction.names import KEY_WORDS, QUALIFIERS, RARE_KEY_WORDS, RARE_QUALIFIERS
from agent.transform.redaction.rule import Rule
from agent.transform.redaction.rules_keys import COLOUR, FOREIGN_SPELLINGS, RARE_SHORT_STEMS, RARE_STEMS
from agent.transform.redaction.shapes import BEHIND_ESCAPE, group

_SLASHES = r"(?::(?:\\?/){2}|%3A%2F%2F|%253A%252F%252F|(?:postgres|postgresql|mysql|mariadb|mongodb|rediss?|amqps?|https?|ldaps?|mqtts?|s?ftps?)(?:\+[a-z]+)?(?:;?//|:/|//:))"

_HEADINGS = (
    "credentials?|creds?|logins?|logged in|auth(?:enticat(?:ing|ed|e|ion))?|sign(?:ed|ing)?[ \\-]?in|zugangsdaten|anmeldedaten|benutzerdaten|login-?daten"
    "|identifiants"
)
_ENDED = rf"(?:[_.\-]?(?:{'|'.join(sorted(QUALIFIERS - RARE_QUALIFIERS))}|hash|digest))?(?:_[0-9]{{1,2}})?"
_NAMED = (
    r"pass(?:word|wd|[ \-]?phrase|code|wort|)|psk|kennwort|pwd|pw|mot[ _]de[ _]passe|contrase(?:\xc3\xb1|\\u00f1|n)a|senha|pin|otp|(?:api|client|webhook)[ _\-]?secret"
    r"|(?:api|access|auth|refresh|session|bearer|id|secret|private|security|reset|service|license|encryption|deploy|csrf|signing|subscription|shared|account|admin|master)[ _\-]?(?:token|key)|session[ _\-]?id|secret|token"
    rf"|(?:{'|'.join(word for word in KEY_WORDS if word not in RARE_KEY_WORDS)})[ _.\-]?key"
)
_WHATS = rf"(?:{_NAMED}){_ENDED}"
_HEADINGS_TOO = r"(?:cookies?|credentials?|creds|authorization|csrf|xsrf|jwt)"
"""What more may be named in a sentence; behind a colon these are headings, headers and names like any other."""
_FOR = r"[ \t](?:for|of|to|by|from|f(?:\xc3\xbc|\\u00fc|ue)r|von|pour|para|di|de|do|voor|f(?:\xc3\xb6|\\u00f6)r)[ \t][^\s:=]+(?:[ \t][^\s=]+){0,4}"
"""Which words these are is for the verifier: a list of them here makes the automaton four times as large."""
# Of values that are given rather than found by their form.
_GIVEN = (
    "sent «{given}» to the server",
    '{"note": "«{given}»", "n": 1}',
    "GET /x?a=«{given:percent}»&b=2",
    '{"data": "«{given:base64}»"}',
    '{"body": "{\\"x\\": \\"«{given}»\\"}"}',
)
_NOT_GIVEN = (
    "sent {given:half} to the server",
    '{"note": "{b62:12}/{b62:11}", "n": 1}',
    "sent ${GIVEN} to the server",
)


_LINKS = (
    r"is|was|are|ist|lautet|war|est|es|er|(?:\xc3[\xa9\xa8]|\\u00e[89])|(?:\xc3\xa4|\\u00e4)r|equals|now|auf|(?:(?:has|have|had)[ \t]been[ \t]|was[ \t]|is[ \t]|wurde[ \t])?(?:(?:re)?set|changed|updated|rotated)[ \t]to"
    r"|(?:answered|replied|filled)[ \t]with|(?:expands|evaluates|resolves|expanded|resolved|equal)[ \t]to|wurde[ \t]auf|will[ \t]be|should[ \t]be|to|(?:has|with)[ \t]value|in[ \t]value"
)

# One by one: as choices of one pattern, and with a `^` for each line, the option's two characters would be tried for all of them wherever
# they stand, `-a` in many a UUID. A line's beginning but the first stands behind a line break, which the class has.
_BEFORE_OPTION = (
    "^",
    r"[^A-Za-lo-qsu-z0-9_.\-]",
    r"\\u[0-9a-fA-F]{4}",
    r"\\x20",
    r"\\f",
    "%20",
    "%0[9A-Da-d]",
    r"\[[0-9;]{0,8}K",
)
_WITH_USER = r"(?:-u|--user|--proxy-user|-U|-a|-A|--auth)[ =]{0,2}\\{0,8}[\"']?[^\s:\"'/]{1,64}:[^\s\"'/]"

# Verb by verb: of all as choices of one pattern the finder would look for `user`, which many lines have as a name.
_ADDS = ("add", "create", "new", "set")
_ADDED = r" \\{0,8}[\"']?[a-z0-9_.@\-]+\\{0,8}[\"']? \\{0,8}[\"']?[^\s\"'\\]{8}"

URLS = group(
    "urls",
    Rule(
        "url-userinfo",
        "",
        "password before the host of a URL",
        find=(
            rf"(?i){_SLASHES}[^\s\"'`<>@/:]{{0,128}}(?::|%3A|%253A)[^\s\"'`<>]{{1,256}}(?:@|%40|%2540)[A-Za-z0-9\[]",
        ),
        scanner="userinfo",
        must=(
            "postgresql://app:«{pw:12}»@db:5432/x",
            "redis://:«{b62:20}»@cache/0",
            "amqp://u:«{b62:6}%40{b62:6}»@mq//v",
        ),
        must_not=("amqp://guest@host", "https://host/@user", "postgres://u:***@db/x"),
    ),
    Rule(
        "go-dsn",
        "",
        "password of a data source name without a scheme, as Go writes it",
        find=(r"[^\s]@(?:tcp|unix|udp)\(",),
        scanner="userinfo",
        must=("root:«{b62:12}»@tcp(db:3306)/app", "dsn u:«{pw:10}»@unix(/run/s)/a", '"u:«{b62:9}»@tcp(h)/"'),
        must_not=("bob@tcp(db)", "@tcp(db:3306)/app", "u:***@tcp(db)/a"),
    ),
    Rule(
        "url-token-as-user",
        "",
        "token as the user of a URL",
        find=(rf"(?i){_SLASHES}[A-Za-z0-9_.~%\-]{{20}}[^\s\"'`<>/]{{0,256}}@[A-Za-z0-9\[]",),
        scanner="userinfo",
        must=(
            "https://«{b62:40}»@github.example/x.git",
            "http://«{hex:32}»@h/",
            "git clone https://«{b62:36}»@h.example/r",
        ),
        must_not=("git@github.com:a/b.git", "ssh://git@github.com/a/b", "https://user@host/"),
    ),
    Rule(
        "oauth-code",
        "",
        "authorization code of an OAuth callback",
        find=(r"(?i)(?:[?&;]|%26|%3F|u0026)code(?:=|%3D)[A-Za-z0-9_%.\-/+~]{16}",),
        scanner="query",
        must=(
            "GET /oauth/callback?code=«{b64u:40}»&state=abc",
            "/cb?state=x&code=«{b62:32}»",
            "/auth/callback?code=«{b62:43}»",
        ),
        must_not=("/x?code=404", "/api?code=DE", "/oauth/callback?error=denied"),
    ),
    Rule(
        "magic-link",
        "",
        "token of a reset, verification or invitation link",
        find=(
            r"(?i)(?:[?&;]|%26|%3F|u0026)(?:token|login_token|ott|key|t|code|hash|ticket)(?:=|%3D)[A-Za-z0-9_%.\-]{20}",
            r"(?i)/(?:reset|verify|magic|invite|unsubscribe|confirm|activate)[a-z_\-]{0,24}/[A-Za-z0-9_\-]{20}",
            r"(?i)/(?:web_?hooks?|hooks?|incoming|incomingwebhook|tokens?|api_?keys?|access_?tokens?)/(?:[a-z0-9_\-]{1,40}/)*[a-z0-9_\-]{22}",
        ),
        scanner="query",
        must=(
            "https://a.example/reset?key=«{b62:32}»",
            "https://a.example/verify-email/«{b62:40}»",
            "/invite?t=«{b62:24}»",
        ),
        must_not=("/items?key=name", "/verify/email", "/reset?lang=de"),
    ),
    Rule(
        "signed-url",
        "",
        "signature of a signed URL",
        find=(r"(?i)[?&;](?:signature|hmac)=[^&\s]{16}",),
        scanner="query",
        must=(
            "/f?Signature=«{b62:40}»",
            "/f?a=1&hmac=«{hex:64}»",
            "https://c.example/o?Expires=1&Signature=«{b62:60}»",
        ),
        must_not=("/f?signature=", "/f?signature=v2", "hmac=sha256"),
    ),
    Rule(
        "otpauth",
        "",
        "seed of an otpauth URL",
        find=(r"(?i)otpauth://",),
        scanner="otpauth",
        must=(
            "otpauth://totp/A:b?secret=«{b32:32}»&issuer=A",
            "otpauth://hotp/x?secret=«{b32:16}»",
            "otpauth://totp/x?issuer=y&secret=«{b32:26}»",
        ),
        must_not=("otpauth://", "otpauth://totp/x?issuer=y", "otpauth is used"),
    ),
)

TOKENS = group(
    "tokens",
    Rule(
        "bearer",
        "",
        "token behind the word Bearer",
        find=(r"(?i)bearer[\"'\\:]{0,6}(?:[ \t+]{1,3}|%20)[\"'\\]{0,6}[A-Za-z0-9._~+/=\-]{8}",),
        scanner="bearer",
        must=("Bearer «{b62:24}»", "sent bearer «{b62:12}» to x", "auth=Bearer%20«{b62:30}»"),
        must_not=("bearer token missing", "bearer of bad news", "Bearer authentication"),
    ),
    Rule(
        "basic",
        "",
        "Basic credentials that decode to user:password, also in the form of SASL PLAIN",
        find=(
            r"(?i)basic(?:[ \t+]{1,3}|%20)[A-Za-z0-9+/_\-]{8}",
            r"(?i)auth[ \t]{1,2}\\{0,8}[\"'][A-Za-z0-9+/]{12}",
            r"334 (?:VXNlcm5hbWU6|UGFzc3dvcmQ6)",
            # A zero byte and a character, in base64; or whatever stands behind such a word.
            r"(?m)(?:^|[^A-Za-z0-9+/_=\-]|\\[nrt])A[C-H][A-Za-z0-9+/]{10}",
            r"(?i)(?:sasl|plain|response)[^A-Za-z0-9\n]{1,8}[A-Za-z0-9+/]{16}",
        ),
        scanner="basic",
        must=(
            "Basic «{=basic}»",
            "basic «{=basic}» ok",
            "auth=Basic%20«{=basic}»",
            "sent «{=sasl}» to the server",
            '{"mechanism": "PLAIN", "initial": "«{=sasl}»"}',
        ),
        must_not=("basic auth disabled", "Basic authentication required", "basic functionality works"),
    ),
    Rule(
        "jwt",
        "",
        "JSON Web Token, also encrypted or cut",
        find=(r"eyJ[A-Za-z0-9_+/\-]{10}",),
        scanner="jwt",
        must=("{=jwt}", "t=«{=jwt}»", "got «{=jwt}» back"),
        must_not=("eyJ", "eyJhbGciOi", "eyJ is how JSON begins"),
    ),
)

PROSE = group(
    "prose",
    Rule(
        "credentials-pair",
        "",
        "name:secret after a word such as credentials",
        find=(
            (
                rf"(?i)(?:{_HEADINGS})(?:[ \t][a-z]{{2,9}}){{0,4}}(?:[ \t][^\s:;,\"'`()<>\[\]{{}}=\\/]{{1,64}}:[ \t])?"
                r"[ \t\"'`\\]{0,4}[:=]?[ \t]{0,3}[\"'`(\\\[<]{0,3}[^\s:;,\"'`()<>\[\]{}=\\/]{1,64}(?::|[ ]{0,2}/[ ]{0,2}[\"'`\\]{0,3})[^\s\"'`<>\\/]{2}"
            ),
        ),
        scanner="pair",
        must=("User credentials: bob:«{pw:10}»", "creds for admin:«{b62:8}»", "login with alice:«{pw:9}» failed"),
        must_not=(
            "credentials: updated for bob",
            "Credentials: 3 configured",
            "credentials: iodd:read,iodd:write",
            "login at 12:30:45",
            "auth with db:5432",
        ),
    ),
    Rule(
        "prose-password",
        "",
        "password in a sentence",
        find=(
            (
                rf"(?i)(?:{_WHATS})(?:{_FOR})?(?:[ \t][a-z]{{4,9}}){{0,2}}"
                rf"[ \t]{{0,3}}(?:(?:{_LINKS})[ \t:]{{1,4}}|:=?[ \t]{{1,3}}|=>?[ \t]{{1,3}}|->[ \t]{{1,3}}|--[ \t]|\xe2\x80[\x93\x94][ \t])[^\s]"
            ),
            rf"(?i)(?:{_WHATS})[\"'`\\]{{1,9}}[ \t]{{1,3}}(?:{_LINKS})[ \t:]{{1,4}}[^\s]",
            rf"(?i){_HEADINGS_TOO}{_ENDED}(?:{_FOR})?(?:[ \t](?:header|value))?[ \t]{{1,3}}(?:(?:{_LINKS})[ \t:]{{1,4}}[^\s]|\\{{0,8}}[\"'`][^\s\"'`\\]{{4}}|[(\[<]?[^\s\"'`<>()\[\]{{}}=:,;/\\]+[0-9])",
            r"(?i)code[ \t]is[ \t:]{1,3}[0-9]{4}",
            r"(?i)(?:2fa|mfa|totp|otp|one-time|verification|security|sms|confirmation|activation|login|auth|access)[ _\-]code[ \t:]{1,3}[0-9]{6}",
            r"(?i)(?:pass(?:word|phrase|code|wd)?|pwd|secret|token|key|credentials?|creds|cookie|hash|session_?id)[a-z0-9_]*[ \t][a-z \t]*(?:changed|updated|rotated|reset|regenerated|replaced|generated|created|issued)[ \t]?[,;:.(-]{0,2}[ \t](?:[a-z]+[ \t])?new[ \t](?:value|one|password|secret|token|key)[ \t:=]{1,4}(?:is[ \t])?[^\s]",
            rf"(?i)(?:{'|'.join(RARE_KEY_WORDS)})[ _.\-]?key[ \t]{{1,3}}(?:is[ \t]|was[ \t]|\\{{0,8}}[\"'`]|[^\s]+[0-9])",
            rf"(?i)(?:{_WHATS})(?:{_FOR})?(?:[ \t](?:(?:has|have|had)[ \t]been[ \t]|was[ \t])?(?:changed|updated|rotated|reset)[ \t]from)?[ \t]{{1,3}}(?:\\{{0,8}}[\"'`]|\xe2\x80\x9c)[^\s\"'`\\]{{4}}",
            rf"(?i)(?:{_WHATS})[ \t]{{1,3}}(?:(?:(?:has|have|had)[ ]been |was )?(?:changed|updated|rotated|reset) from )?[(\[<]?[^\s\"'`<>()\[\]{{}}=:,;/\\][^\s\"'`<>()\[\]{{}}=:,;\\]*?[0-9]",
        ),
        scanner="prose",
        also=(
            (
                "changed",
                (
                    r"(?i)(?:pass(?:word|phrase|code)|secret|token|credentials?|key)s?[^\n=:\"']* (?:old|new|from|to|previous|next|current)(?:[=:] ?| )[^\s]{12}",
                    rf"(?i)(?:{_WHATS})(?:{_FOR})?(?:[ \t](?:(?:has|have|had)[ \t]been[ \t]|was[ \t])?(?:changed|updated|rotated|reset)[ \t]from)?[ \t]{{1,3}}(?:\\{{0,8}}[\"'`]|\xe2\x80\x9c)[^\s\"'`\\]{{4}}",
                    rf"(?i)(?:{_WHATS})[ \t]{{1,3}}(?:(?:(?:has|have|had)[ ]been |was )?(?:changed|updated|rotated|reset) from )?[(\[<]?[^\s\"'`<>()\[\]{{}}=:,;/\\][^\s\"'`<>()\[\]{{}}=:,;\\]*?[0-9]",
                ),
            ),
            (
                "with",
                (
                    r"(?i)pass(?:word|phrase|code)[ -](?:auth|log_?in|attempt)[a-z ]* (?:with|using|as|of):? \\{0,8}[\"'`]",
                    r"(?i)(?:with|using) (?:the |a )?pass(?:word|phrase|code)? [^\s\"'`\\:,;]{7}[^\s\"'`\\:,;]*[:,;](?:\s|$|\\)",
                    r"(?i)key[ :=\\\"'`]{1,9}(?:[A-Z0-9]{4,8}-){3}[A-Z0-9]{4}",
                ),
            ),
            (
                "of-user",
                (
                    r"(?i)(?:user|account|login|accepted|as) [a-z0-9_.\-]+/[^\s\"'`\\/,;]{8}|(?:basic|digest|ntlm) [a-z0-9_.@+\-]+:[^\s\"'`\\/,;]{8}|password:\\{0,8}[\"'] (?:send |then )?[^\s]{7}|(?:\b|\\[nrt])login [A-Za-z0-9_\-]{24}",
                ),
            ),
            (
                "got",
                (
                    r"(?i)(?:pass(?:word|phrase|code)|secret|token|api[ _\-]?key)s?[ ,:;a-z]+(?:got|received|expected|provided|supplied|entered|tried|actual|given)[ :=]{1,2}\\{0,8}[\"'`]",
                    r"(?i)(?:\b|\\[nrt])cv[vcn]2?(?: code)?(?: is| was)?(?: ?[:=] ?| )[0-9]{3}",
                ),
            ),
            (
                "key-of",
                (
                    r"(?i)api (?:[a-z]+ )*key ?[=:] ?[A-Za-z0-9_\-]{20}",
                    r"(?i)credentials? for [^\s:]+(?: [^\s:]+)?: [^\s]{8}",
                ),
            ),
            (
                "told",
                (
                    r"(?i)(?:following|generated|temporary|initial|default|random|one-time|new|admin|root|superuser)[ -](?:[a-z]+ )*pass(?:word|phrase|code)[^\n:=]*[:=][\\rn ]*[^\s\"'`\\]{7}",
                    r"(?i)(?:password|passwd|pwd) [a-z][a-z0-9_.@\-]* ?= ?[^\s\"'`\\]{8}",
                ),
            ),
            (
                "code",
                (
                    r"(?i)code[ \t]is[ \t:]{1,3}[0-9]{4}",
                    r"(?i)code[ :]{1,3}[0-9]{6}",
                    r"(?i)(?:(?:\b|\\[nrt])tan|passkey|(?:master|access|door|alarm|unlock|security|entry|gate|disarm|installer|engineer|service|pairing|setup|one-time|bypass|your|your [a-z\-]{2,16}) (?:code|pin))(?: (?:is|was|set to|changed to)|:)? [0-9]{4}",
                    r"(?i)(?:2fa|mfa|totp|otp|one-time|verification|security|sms|confirmation|activation|login|auth|access)[ _\-]code[ \t:]{1,3}[0-9]{6}",
                ),
            ),
            (
                "as",
                (r" as (?:the |a |your |my |new |initial ){0,2}(?:pass(?:word|phrase|code)|login)",),
            ),
        ),
        must=(
            "password is «{b62:10}»",
            "password for bob was set to «{b62:9}»",
            "the passphrase is '«{a:6} {a:6}»'",
            "pin for bob is «{d:4}»",
        ),
        must_not=("password is too short", "password is required", "the token is expired", "password was changed"),
    ),
    Rule(
        "foreign-password",
        "",
        "password in a sentence of another language; names that are rare",
        find=(
            *(rf"(?i)(?:{words})" for words in FOREIGN_SPELLINGS),
            rf"(?i)(?:(?:{RARE_STEMS})[a-z0-9_.\-]*|(?:{RARE_SHORT_STEMS})(?:[_.\-][a-z0-9_.\-]*|[0-9]*|(?-i:[A-Z][a-z]{{2}})[a-z0-9_.\-]*))(?:\]|%5D)?(?:[\"'\\ )\]>\t]|{COLOUR})*(?:[=:>,|%\t\"']|\\[nt]|\xef\xbc[\x9a\x9d]|\\uff1[adAD])",
            rf"(?i)-(?:{RARE_STEMS})[a-z0-9_.\-]* {{1,3}}[^\s\-]",
            r"(?i)(?:passwort|kennwort) (?:lautet|ist|war)[ :]",
        ),
        scanner="foreign",
        must=("La contraseña es «{b62:10}»", "Hasło to «{b62:9}»", "密码是«{b62:10}»"),
        must_not=("La contraseña es obligatoria", "hasło jest nieprawidłowe", "密码错误"),
    ),
    Rule(
        "cli-password",
        "",
        "user:password of curl, password of mysql",
        find=(
            *(before + _WITH_USER for before in _BEFORE_OPTION),
            r"(?:-u|-U|-l|--user|--username|--login|/u|/u:|/user:)[ =]?\\{0,8}[\"']?[A-Za-z0-9_.@\\\-]+[\"']? (?:-p|-P|-pw|-w|--pw|--pass|/p)[a-z]*[ =:]?[^\s\-]",
        ),
        scanner="user",
        also=(
            (
                "added-user",
                (
                    r"<<< ?\\{0,8}[\"']?[^\s\"'\\]{6}",
                    r"\\x00[A-Za-z0-9_.@+\-]+\\{1,8}x00[^\s\"'\\]{4}",
                    r"\\u0000[A-Za-z0-9_.@+\-]+\\{1,8}u0000[^\s\"'\\]{4}",
                    *(rf"(?i)users?[ _\-]?{verb}{_ADDED}" for verb in _ADDS),
                    *(rf"(?i){verb}[ _\-]?user{_ADDED}" for verb in _ADDS),
                    rf"(?i)passwd -[a-z]{{1,4}}(?: [^\s]*/[^\s]*)?{_ADDED}",
                    r"createUser (?:-e [^\s]+ )?[^\s]+ (?:MD5|SHA[^\s]*) \\{0,8}[\"']?[^\s\"'\\]{6}",
                ),
            ),
            (
                "tool",
                (
                    r"(?:mysql|mysqldump|mysqladmin|mariadb|mariadb-dump|sshpass|redis-cli|7z|7za|7zz|unzip|zip|unrar|rar|useradd|usermod|ldap[a-z]{3,6}|openssl|keytool|ssh-keygen|jarsigner|smbclient|sqlcmd|bcp|mosquitto_[a-z]{3}|ipmitool|snmp[a-z]{3,4}|mongo|mongosh|mongodump|net use) [^\n]{0,400}?(?:-(?:[paPwkKAXN]|pass|passin|passout|storepass|keypass)|/user:|%)",
                    r"(?:net user [^\s]{1,64} |ConvertTo-SecureString |vncpasswd )[^\s]",
                    r"(?:htpasswd -|rabbitmqctl (?:add_user|change_password|authenticate_user) |wpa_passphrase )[^\s]",
                    r"(?:docker|podman|az|oc|registry|buildah|skopeo|nerdctl|cf|vault|gh|heroku|quay) (?:[^\s]{1,40} ){0,2}login [^\n]{0,400}?(?:-p|-t|--token|--password)[ =]",
                ),
            ),
            (
                "arguments",
                (r"(?:curl|mysql|mysqldump|mysqladmin|mariadb|mariadb-dump|sshpass)\\{0,8}[\"'], ?\\{0,8}[\"']",),
            ),
            ("env", (rf"(?i)(?:ENV|setx|setenv) [a-z0-9_]*(?:{_WHATS})[a-z0-9_]* [^\s=]",)),
            (
                "client",
                (
                    r"chpasswd:",
                    r"(?i)(?:smtp|imap|pop3?|ftp|ssh|telnet|nntp|xmpp|mqtt|ldap|sasl)s?[ _.\-]?(?:auth )?(?:log_?in|log_?on|auth):? (?:as |user |with )?[^\s]+ [^\s]+[0-9]",
                    r"keys? [0-9]{1,5} (?:SHA[0-9]{0,3}|MD5|M|AES[A-Z0-9]*) [^\s]{4}|\]:[0-9]{2,5}[ \t]+[^\s:]+:[^\s]{4}|PLAIN\([^\s]{4}|(?:[kK]ey|KEY)\\{0,8}[\"']? ?[:=]? ?\\{0,8}[\"']?[A-Za-z0-9+/]{22}[A-Za-z0-9+/]*=|encrypt\\{0,8}[\"']? ?[:=] ?\\{0,8}[\"'][A-Za-z0-9+/]{22}",
                    r"(?i)(?:\b|\\[nrt])u(?:ser)?[:=] ?[^\s]+[ ,;/]{1,3}p(?:w|wd)?[:=] ?[^\s]{4}",
                    r"<<< ?\\{0,8}[\"']?[^\s\"'\\]{6}",
                    r":(?:pserver|ext|sspi):[^\s:]+:[^\s@]{4}|(?i:user [^\s]+ using) [^\s]{4}|http-basic\.[^\s]+ [^\s]+ [^\s]{4}|alias set [^\s]+ https?://[^\s]+ [^\s]+ [^\s]{4}",
                    r"(?i)snmp[^\n]*community[ =:]+[^\s]{4}",
                    r"[0-9] LOGIN [^\s]|/rp [^\s]|addauth digest [^\s]|chpasswd <<<|gh secret set [A-Za-z]",
                    r"(?i)(?:password|secret|key(?:-string)?) [05-9] [^\s]{4}|(?:tacacs|radius)-server [^\n]*key ",
                ),
            ),
            (
                "directive",
                (
                    r"(?i)(?:bindpw|requirepass|masterauth|rootpw|masteruserpass|r[ow]community6?)[ \t\"'\\,]{1,12}[^\s]",
                    r"user [^\s]+ (?:on|off) [^\n]*>[^\s]",
                    r"ACL[\" ]{1,3}SETUSER[\" ]",
                    r"AUTH(?: (?:PLAIN|LOGIN|CRAM-MD5|XOAUTH2))?[ \"'\\,]{1,32}[^\s\"'\\,]{2}",
                ),
            ),
            (
                "oracle",
                (
                    r"(?:jdbc:oracle:[a-z]{2,6}:|(?:sqlplus|impdp|expdp|sqlldr|exp|imp|conn|CONN|connect|CONNECT) )[^\s/]{1,80}/[^\s\"'@/]{2,128}@",
                    r"/[^\s/@\"']{4,128}@//",
                ),
            ),
            ("piped", (r"echo [^\n|]+\|[^\n]*(?:sudo -S|stdin|passwd|cryptsetup|kinit|ssh-add|secret)",)),
        ),
        must=(
            "curl -u bob:«{pw:10}» https://x",
            "mysql -h db -u root -p«{b62:10}» app",
            "sshpass -p«{b62:9}» ssh h",
            "Command '['curl', '-u', 'bob:«{b62:10}»', 'https://x']' returned non-zero exit status 22.",
            "run(('mysql', '-uroot', '-p«{b62:10}»', 'app'), check=True)",
        ),
        must_not=(
            "curl -u bob https://x",
            "mysql -p",
            "docker run -u 1000:1000 x",
            "Command '['git', '-C', '/srv', 'log', '-n', '5']' returned non-zero exit status 128.",
            '{"cmd": ["docker", "run", "-u", "1000:1000", "-p", "8080:80"]}',
        ),
    ),
    Rule(
        "sql-password",
        "",
        "password literal of an SQL statement",
        find=(
            r"(?i)IDENTIFIED[ \t]{1,3}(?:WITH[ \t]{1,3}[^\s]{1,40}[ \t]{1,3})?(?:BY|AS)",
            r"(?i)PASSWORD[ \t(][ \t]{0,3}\\{0,8}['\"][^'\"\\]",
            r"(?i)(?:SET[ \t]{1,3}PASSWORD[^\n]{0,80}|crypt\(|digest\()[= (]{0,4}\\{0,8}['\"]",
            r"\[parameters: [\[(]|-- PARAMETERS: [\[(]",
            r"Duplicate entry \\{0,8}'[^']",
            r"(?i)(?:INSERT|REPLACE)[ \t]{1,3}INTO[ \t]{1,3}[^\s(]{1,80}[ \t]{0,3}\([^()\n]{0,400}(?:pass|pw|kennw|pin|otp|cred|secret|token|key|session|cookie|auth)",
        ),
        scanner="sql",
        must=(
            "CREATE USER a IDENTIFIED BY '«{pw:10}»'",
            "ALTER ROLE a PASSWORD '«{pw:10}»'",
            "INSERT INTO users (name, password) VALUES ('«bob»', '«{pw:10}»')",
        ),
        must_not=("SELECT password FROM users", "PASSWORD $1", "INSERT INTO users (name, email) VALUES ('bob', 'x')"),
    ),
    Rule(
        "pydantic-input",
        "",
        "input of a pydantic error on a sensitive field",
        find=(r"input_value=[\"'{\[0-9]", r"[\"']loc\\{0,8}[\"'] ?: ?[(\[]"),
        scanner="pydantic",
        must=(
            "1 validation error for X\npassword\n  String should be long [type=short, input_value='«{b62:12}»', input_type=str]",
            "{'loc': ('body', 'api_key'), 'msg': 'x', 'input': '«{b62:20}»'}",
            "token Value is wrong [type=value_error, input_value='«{b62:20}»', input_type=str]",
        ),
        must_not=("input_value=5", "input_value=None", "input_value='abc'"),
    ),
)

HASHES = group(
    "key-material",
    Rule(
        "hash-bcrypt",
        "",
        "bcrypt hash",
        find=(r"(?:\$|%24)2[abxy](?:\$|%24)[0-9]{2}(?:\$|%24)[./A-Za-z0-9%]{40}",),
        pattern=r"(?P<secret>\$2[abxy]\$[0-9]{2}\$[./A-Za-z0-9]{50,53})",
        must=("$2b$12${b62:53}", "h «$2a$10${b62:53}»", "$2y$05${b62:53}"),
        must_not=("$2 and $3", "$2b$", "$2b$12$short"),
    ),
    Rule(
        "hash-argon2",
        "",
        "Argon2 hash",
        find=(r"(?:\$|%24)argon2(?:id|i|d)(?:\$|%24)",),
        pattern=r"(?P<secret>\$argon2(?:id|i|d)\$(?:v=[0-9]{1,3}\$)?[mtp=,0-9]{3,60}\$[A-Za-z0-9+/]{8,128}\$[A-Za-z0-9+/]{16,256})",
        must=(
            "$argon2id$v=19$m=65536,t=3,p=4${b64:22}${b64:43}",
            "$argon2i$v=19$m=4096,t=3,p=1${b64:22}${b64:43}",
            "x «$argon2d$v=19$m=4096,t=3,p=1${b64:22}${b64:43}»",
        ),
        must_not=("argon2id", "$argon2id$", "$argon2id$v=19$"),
    ),
    Rule(
        "hash-django",
        "",
        "Django or Werkzeug password hash",
        find=(
            r"(?i)(?:pbkdf2|scrypt|sha256|sha512|bcrypt)(?:[_:$]|%3A|%24)[A-Za-z0-9:%$_=,\-]{1,60}(?:\$|%24)[A-Za-z0-9+/=.]{8}",
        ),
        pattern=r"(?P<secret>(?:pbkdf2_sha(?:1|256|512)\$[0-9]{3,9}|pbkdf2:sha(?:1|256|512):[0-9]{3,9}|scrypt:[0-9:]{5,24}|(?i:pbkdf2|scrypt|bcrypt|sha(?:256|512))(?:[$:_-][a-z0-9=,]{1,20}){0,3})\$[A-Za-z0-9./+]{4,64}={0,2}\$[A-Za-z0-9+/=]{20,256})",
        must=(
            "pbkdf2_sha256$600000${b62:22}${b64:43}=",
            "scrypt:32768:8:1${b62:16}${hex:128}",
            "pbkdf2:sha256:260000${b62:16}${hex:64}",
        ),
        must_not=("pbkdf2_sha256", "scrypt:", "pbkdf2_sha256$600000$"),
    ),
    Rule(
        "hash-crypt",
        "",
        "hash of a Unix shadow file",
        find=(r"(?:\$|%24)(?:[156]|y|7|gy|apr1)(?:\$|%24)[./A-Za-z0-9$=,%]{26}",),
        pattern=rf"(?:(?<![A-Za-z0-9$])|{BEHIND_ESCAPE})(?P<secret>\$(?:1|5|6|7|y|gy|apr1)\$(?:rounds=[0-9]{{1,9}}\$|[./A-Za-z0-9]{{1,8}}\$)?[./A-Za-z0-9]{{1,64}}\$[./A-Za-z0-9]{{20,128}})",
        must=(
            "$6${b62:16}${b62:86}",
            "$y$j9T${b62:22}${b62:43}",
            "$5$rounds=5000${b62:16}${b62:43}",
            r"user:\t«$6${b62:16}${b62:86}»\t(active)",
        ),
        must_not=("$1 and $5", "$6$", "costs $5"),
    ),
    Rule(
        "hash-ldap",
        "",
        "LDAP password hash",
        find=(r"(?:\{|%7B)(?:SSHA|SHA|SMD5|MD5|SSHA256|SSHA512|CRYPT)(?:\}|%7D)[A-Za-z0-9+/$%]{12}",),
        pattern=r"(?P<secret>\{(?:SSHA|SHA|SMD5|MD5|SSHA256|SSHA512|CRYPT)\}[A-Za-z0-9+/$.]{16,160}={0,2})",
        check=checks.looks_real,
        must=(
            "{SSHA}".replace("{", "{") + "{b64:32}",
            "«{SSHA}{b64:38}==»",
            "h={SHA}{b64:27}=".replace("h=", "h=«") + "»",
        ),
        must_not=("{SSHA}", "{CRYPT}x", "{MD5}"),
    ),
)

ENCODINGS = group(
    "encodings",
    Rule(
        "json-in-json",
        "",
        "JSON inside a string is walked with the same rules; nested too deep to follow, the line is given up",
        find=(r"\\{31}",),
        scanner="shape",
        must=(
            '{"a": "{\\"password\\": \\"«{b62:12}»\\"}"}',
            '{"a": "body: {\\"b\\": {\\"token\\": \\"«{b62:12}»\\"}}"}',
            '{"a": "[{\\"api_key\\": \\"«{b62:20}»\\"}]"}',
        ),
        must_not=('{"a": "{}"}', '{"a": "{\\"n\\": 1}"}', '{"a": "{\\"password\\": null}"}'),
    ),
    Rule(
        "unicode-escaped",
        "",
        r"\u00XX escapes of plain characters are undone",
        find=(r"\\u00(?:2[0134589a-dA-DF-f]|3[0-9abdABDfF]|[4-6][0-9a-fA-F]|7[0-9a-eA-E])",),
        scanner="shape",
        must=(
            '{"\\u0070assword": "«{b62:12}»"}',
            '{"m": "pass\\u0077ord=«{b62:12}»"}',
            '{"\\u0074oken": "«{b62:12}»"}',
        ),
        must_not=(
            '{"m": "\\u0061uthor"}',
            '{"m": "\\u00e4"}',
            '{"\\u006eame": "x"}',
        ),
    ),
    Rule(
        "percent-encoded",
        "",
        "percent-encoded letters, digits and separators are undone",
        find=(
            r"(?i)(?:%2522|%22|%3D|%253D|%3A)[^\s]{6}",
            r"(?i)%(?:25)?0[9AD]",
            # Two separators: a sentence, an object or a list in a URL, with an edge where a number or a token begins.
            r"(?i)%(?:25)?(?:0[AD]|2[0-9A-C]|3[A-F]|7[BD])[^\s\"']*%(?:25)?(?:0[AD]|2[0-9A-C]|3[A-F]|7[BD])|%5B[0-9]{4}",
        ),
        gated=(r"%(?:25)?(?:4[1-9A-Fa-f]|5[0-9AaFf]|6[1-9A-Fa-f]|7[0-9AaEe]|3[0-9]|2[DdEe])",),
        gate="%",
        scanner="percent",
        must=(
            "/x?%70assword=«{b62:12}»",
            "/x?next=%2Fy%3Ftoken%3D«{b62:12}»",
            "/x?api%5Fkey=«{b62:20}»",
        ),
        must_not=(
            "/x?q=caf%C3%A9",
            "100%25 done",
            "/x?f%5Bname%5D=a",
        ),
    ),
    Rule(
        "base64-wrapped",
        "",
        "base64 of a text that holds a secret",
        scanner="base64",
        must=("{=b64pw}", "data=«{=b64pw}»", '{"blob": "«{=b64pw}»"}'),
        must_not=("{b64:64}", "SGVsbG8gd29ybGQsIHRoaXMgaXMganVzdCB0ZXh0", "data:image/png;base64,iVBORw0KGgo{b64:80}"),
    ),
    Rule(
        "undressed",
        "",
        "terminal colours, zero-width and full-width characters are undone",
        find=(
            r"\xe2\x80[\x8b-\x8f]|\xe2\x81\xa0|\xef\xbb\xbf|\xc2\xad",
            r"\xef\xbc[\xa1-\xba]|\xef\xbd[\x81-\x9a]",
            # Escaped twice: JSON in JSON, of which a name in another alphabet must be decoded to be seen.
            r"\\\\u[0-9a-fA-F]{4}",
            r"\\u(?i:00ad|2060|feff)",
            # A space that does not break, or one as wide as a letter, beside a separator.
            r"[=:](?:\xc2\xa0|\xe3\x80\x80|\\u00a0|\\u3000)|(?:\xc2\xa0|\xe3\x80\x80|\\u00a0|\\u3000)[=:]",
            r"\\u200[b-fB-F]|\\uff[2-5][0-9a-fA-F]",
            r"\\x22 ?:|\\u0022 ?:",
            r"&(?:quot|#34|#39|apos|#x22|#x27);[ ]?[:=]|&gt;[^&\s]{1,64}&lt;/",
        ),
        scanner="shape",
        must=(
            "\x1b[1mpassword\x1b[0m=«{b62:12}»",
            "pass\u200bword=«{b62:12}»",
            "ｐａｓｓｗｏｒｄ=«{b62:12}»",
        ),
        must_not=(
            "\x1b[1mok\x1b[0m",
            "a\u200bb",
            "ＡＢ",
        ),
    ),
    Rule(
        "own-secret",
        "",
        "credentials of the agent itself, and environment variables named like secrets",
        given="{b62:12}/{b62:11}",
        must=_GIVEN,
        must_not=_NOT_GIVEN,
    ),
    Rule(
        "value-list",
        "",
        "exact values of `redact.values_file`",
        given="{b62:12}/{b62:11}",
        must=_GIVEN,
        must_not=_NOT_GIVEN,
    ),
)
