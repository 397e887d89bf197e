"""A sensitive name and its value with more than a separator between them: flags, tuples, members, markup, forms."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import chain
from typing import TYPE_CHECKING

from agent.transform.redaction.checks import has_digit, is_a_name, like_no_word, lower_word, mixed
from agent.transform.redaction.named import hit
from agent.transform.redaction.names import Verdict
from agent.transform.redaction.prose import is_random, strong
from agent.transform.redaction.rule import Hit
from agent.transform.redaction.stems import lowered, stems
from agent.transform.redaction.values import name_before, quoted

if TYPE_CHECKING:
    from agent.transform.redaction.verify import Verifier

_FLAG = re.compile(r"(?<![\w-])--?([^\W\d_][\w.\-]{1,60})(?:,? {1,3}|=)(?![ -])")


def scan_flags(text: str, verifier: Verifier) -> Iterator[Hit]:
    """`--password x` on a command line; `--password-stdin` and `--token-file` have other heads."""
    for flag in verifier.each(_FLAG, text) if "-" in text else ():
        verdict = verifier.names.verdict(flag[1])
        value = verifier.value(text, flag.end()) if verdict else None
        if verdict and value and not _is_usage(flag[1], text[value.start : value.end], verifier, verdict):
            yield Hit(value.start, value.end, verdict.rule)


def _is_usage(flag: str, value: str, verifier: Verifier, verdict: Verdict) -> bool:
    """No value, or what a help text writes for one: `--password PASSWORD`, `--token string`."""
    return (
        verifier.gate.leaves(value, verdict)
        or value.lower() in _NO_ARGUMENTS
        or _WHERE_FROM.match(value) is not None
        or value.lower() == flag.lower()
    )


_WHERE_FROM = re.compile(r"(?:id|src|source|type|name|env|file)=")
_NO_ARGUMENTS = frozenset(
    [
        *("string", "value", "text", "password", "token", "secret", "key", "passphrase", "api_key", "apikey"),
        *("is", "was", "must", "should", "requires", "needs", "has", "cannot", "and", "or", "not", "option", "flag"),
        *("argument", "given", "provided", "missing", "required", "to", "with", "for", "from", "in"),
    ]
)
_XML = re.compile(r"<([^\W\d_][\w.:\-]{0,80})(?:\s[^<>]{0,200})?>(?:<!\[CDATA\[)?(?=[^<>\s])")
_ELEMENT_END = re.compile(r"[^<]{1,65536}?(?=(?:\]\]>)?</)")
_ATTRIBUTE_PAIR = re.compile(
    r"\b(?:key|name|id)=\\{0,8}[\"']([\w.:\-]{1,80})\\{0,8}[\"'][ ]{1,3}value=(?=\\{0,8}[\"'])"
)
_NAMED_ELEMENT = re.compile(
    r"(?:\b(?:key|name|id)=\\{0,8}[\"']([\w.:\-]{1,80})\\{0,8}[\"'][^<>]{0,80}|<key)>(?:([\w.:\- ]{1,80})</key>)?"
    r"(?:(?:\s|\\+[rnt]){0,40}<(?:value|val|string)[^<>]{0,80}>)?(?:<!\[CDATA\[)?(?=[^<>\s\\])"
)


_TWO_ELEMENTS = re.compile(
    r"<(?P<tag>(?:[\w\-]{1,20}[:\-])?(?:name|key|n|option|param|property))>(?P<name>[\w.:\- ]{1,80})</(?P=tag)>(?:\s|\\+[rnt]){0,40}<[\w:\-]{0,20}(?:value|val|v)(?:\s[^<>]{0,80})?>(?:(?:\s|\\+[rnt]){0,40}<string>)?(?:<!\[CDATA\[)?(?=[^<>\s])"
)
"""`<name>password</name><value>x</value>`."""
_SECURE = re.compile(
    r"\b(?i:value)\\{0,8}[\"']? ?[:=] ?(?=\\{0,8}[\"'])(?=[^\n]{1,400}?(?i:type)\\{0,8}[\"']? ?[:=] ?\\{0,8}[\"']?SecureString)"
)
"""A parameter whose type says that it is secret."""
_INNER_ELEMENT = re.compile(
    r"<([^\W\d_][\w.:\-]{0,80})(?:\s[^<>]{0,200})?>(?:\s|\\+[rnt]){0,40}<(?:value|val|string|text|plaintext|content)(?:\s[^<>]{0,80})?>(?:<!\[CDATA\[)?(?=[^<>\s])",
    re.IGNORECASE,
)
_VALUE_ATTRIBUTE = re.compile(r"<([A-Za-z][\w.:\-]{0,80})\s(?:[^<>]{0,200}?\s)?value=(?=\\{0,8}[\"'])")


def scan_markup(text: str, verifier: Verifier) -> Iterator[Hit]:
    """`<password>x</password>`, `<add key="password" value="x"/>`, `<property name="password"><value>x</value>`."""
    if ">" not in text and "value=" not in text:
        return
    for tag in chain(verifier.each(_XML, text), verifier.each(_INNER_ELEMENT, text)):
        yield from _element(text, tag, verifier.names.verdict(tag[1]), verifier)
    for tag in verifier.each(_NAMED_ELEMENT, text):
        name = tag[1] or tag[2]
        if name:
            yield from _element(text, tag, verifier.names.verdict(name), verifier)
    for two in verifier.each(_TWO_ELEMENTS, text) if "</" in text else ():
        yield from _element(text, two, verifier.names.verdict(two["name"]), verifier)
    for pair in chain(verifier.each(_ATTRIBUTE_PAIR, text), verifier.each(_VALUE_ATTRIBUTE, text)):
        verdict = verifier.names.verdict(pair[1])
        value = quoted(text, pair.end()) if verdict else None
        if verdict and value and not verifier.gate.leaves(text[value.start : value.end], verdict):
            yield Hit(value.start, value.end, verdict.rule)


def _element(text: str, tag: re.Match[str], verdict: Verdict | None, verifier: Verifier) -> Iterator[Hit]:
    inside = _ELEMENT_END.match(text, tag.end()) if verdict else None
    if verdict and inside and not verifier.gate.leaves(inside[0].strip(), verdict):
        yield Hit(inside.start(), inside.end(), verdict.rule)


_PASSWORD = Verdict("password", "any")
_PAIR = re.compile(r"[\"']\\{0,8}[\"']?[ ]{0,2},[ ]{0,2}(?=[brBR]?\\{0,8}[\"'])")
_VALUE_KEY = re.compile(r"b?\\{0,8}[\"']?(?:value|val|content|default)\\{0,8}[\"']?[ ]{0,2}[:=][ ]{0,2}")
_PART_STEMS = stems("name", "key", "field", "header", "param", "variable", "property")
_MEMBERS = re.compile(
    r"\b(?P<stem>[A-Za-z]{0,20}?_?)(?i:name|key|field|header|param|variable|property)\\{0,8}[\"']?[ ]{0,2}(?:[:=]|=>)[ ]{0,2}\\{0,8}[\"']?(?P<name>[\w.\-\[\]]{1,80}?)\\{0,8}[\"']?"
    r"[,;]?(?:\s|\\+[rnt]){0,24}(?:\\{0,8}[\"']?(?!(?i:\w{0,20}(?:name|key|value))\b)\w{1,40}\\{0,8}[\"']? ?[:=] ?[^\r\n\\,;:{}\[\]]{0,80}[,;]?(?:\s|\\+[rnt]){1,24}){0,3}"
    r"\\{0,8}[\"']?(?P=stem)?(?i:value|val|content|default)\\{0,8}[\"']?[ ]{0,2}(?:[:=]|=>)[ ]{0,3}(?=[^\s])(?!,[A-Za-z]\w{0,40}:|[)}\]]{1,8}(?:[\s,;]|\Z))"
)
_SERIALIZED = re.compile(r"s:\d{1,4}:\\{0,8}\"(?P<name>[\w.\-\[\]]{1,80})\\{0,8}\";s:\d{1,6}:(?=\\{0,8}\")")
_BLOCK = re.compile(
    r"\b(?:variable|output) \\{0,8}\"(?P<name>[\w.\-]{1,80})\\{0,8}\" ?\{(?:\s|\\+[rnt]){0,24}(?:type ?= ?\w{1,20}(?:\s|\\+[rnt]){1,24})?(?:default|value) ?= ?(?=[^\s])"
)
_COMPARED = re.compile(
    r"(?P<quote>\\{0,8}[\"'])(?P<secret>[^\"'\\\s]{4,256})(?P=quote) ?(?:[!=]==?|<>|!~|=~) ?(?P<name>[A-Za-z_][\w.\[\]]{1,120}+)(?!\()"
)
"""`assert 'x' == user.password`."""
_USERLIST = re.compile(
    r"(?P<quote>\\{0,8}\")[\w.@\-]{0,62}[\w.@](?P=quote) (?P=quote)(?P<secret>[^\"\\\s]{6,512})(?P=quote)(?=\s|\\+[rnt]|\\*[\"']|\Z)"
)
"""`"bob" "md5…"`: a line of the file that a connection pooler knows its users from."""
_HASHED = re.compile(r"md5[0-9a-f]{32}|SCRAM-SHA-(?:1|256)\$.*")
_ATOM = re.compile(r"\{:?(?P<name>[A-Za-z_]\w{1,60}), ?(?:<<)?(?=\\{0,8}[\"'])")
"""Erlang's and Elixir's `{password, "x"}`."""
_VERBS = stems(
    "set", "check", "verify", "hash", "validate", "change", "reset", "update", "compare", "with", "encode", "encrypt"
)
_CALL = re.compile(
    r"\b(?P<name>(?:set|check|verify|hash|validate|change|reset|update|compare|with|encode|encrypt)_?(?:[A-Z][a-z]+|[a-z]+_)?(?i:pass(?:word|wd|phrase)?|pw|secret|token|(?:api|secret|access|private)_?key))"
    r"\((?=b?\\*[\"'])"
)
"""`user.set_password("x")`; what a call of another verb is given is a name: `get_secret("db/main")`."""
_CALL_STEMS = stems(
    *(
        "httpbasic",
        "httpdigest",
        "httpauth",
        "http_auth",
        "basic",
        "digest",
        "auth",
        "_auth",
        "log",
        "sign",
        "credential",
    ),
    *(
        "simple",
        "plain",
        "user",
        "password",
        "with",
        "set",
        "use",
        "add",
        "using",
        "hashpw",
        "checkpw",
        "generate_",
        "check_",
    ),
    *("bcrypt.", "argon2.", "scrypt.", "pwd_context.", "pgp_sym_", "aes_", "mysql", "pdo-", "ftp_login", "ldap_bind"),
    *("imap_open", "oci_connect", "ssh2_auth", "hmac", "jwt.", "jsonwebtoken."),
)
_LOGIN = re.compile(
    r"\b(?i:(?:http)?(?:basic|digest)?_?auth|log_?in|log_?on|sign_?in|authenticate|credentials?|(?:basic|simple|plain|username_?password|password)_?(?:auth(?:entication)?(?:token)?|credentials?)"
    r"|(?:with|set|use|add|using)_?(?:basic_?)?(?:auth|credentials?|login|creds)|(?:auth|userauth|login|user(?:name)?)_?(?:password|passwd|pw)(?:_?set)?)"
    r"(?:=\(|\()\\{0,8}[\"'][^\"'\\\s]{1,64}\\{0,8}[\"'], ?(?=[brBR]?\\{0,8}[\"'])"
)
"""`db.auth("bob", "x")`, `auth=("bob", "x")`, `HTTPBasicAuth("bob", "x")`: the second is the password."""
_CASE_CLASS = re.compile(
    r"\b(?:[A-Z][a-z0-9]{1,20}){0,3}(?:Login|Logon|SignIn|Credentials?|Creds|BasicAuth|UserPass|UsernamePassword)(?:Request|Command|Form)?\([\w.@\-]{1,64}, ?(?P<secret>[^\s,()\"']{8,256})(?=[,)])"
)
"""`Login(bob,x)`, as Scala prints it."""
_CASES = ("Login", "Logon", "SignIn", "Cred", "BasicAuth", "UserPass", "UsernamePass")
_SIGNED_WITH = re.compile(
    r"\b(?i:sign(?:with)?|hmac(?:_?sha_?\d{1,3})?|jwt\.(?:encode|decode|sign|verify)|jsonwebtoken\.(?:sign|verify))\([^\n'\"()]{1,200}, ?(?=b?\\{0,8}['\"])"
)
"""`jwt.encode(claims, "x")`, `signWith(HS256, "x")`."""
_AS_CHARACTERS = re.compile(r"(?P<quote>\\{0,8}\")(?P<secret>[^\"\\\s]{4,256})(?P=quote)\.toCharArray\(\)")
"""How Java is handed a password."""
_WRAPPED = re.compile(
    r"\b(?:Invalid|Bad|Wrong|Unknown|Unexpected|Expired|My|New|Raw|Plain)?(?P<name>(?:[A-Z][a-z0-9]{1,20}){0,4}?(?:Password|Passwd|Passphrase|Secret|Token|ApiKey|SecretKey|AccessKey|PrivateKey))"
    r"(?:@[0-9a-f]{1,8})?[(\[{][ ]?(?:(?:\w{1,20}[=:] ?[^,()\[\]{}]{0,80}, ?){0,3}?(?:value|val|raw|inner|0)[=:] ?|)(?=[^\s)])"
)
"""A type that holds one: `InvalidToken("x")`, `AccessToken[value=x, …]`."""
_TYPED = re.compile(
    r"\((?:[\w.*]{0,60}\.)?(?P<name>[A-Za-z]{0,40}(?:Password|Secret|Token|Key))\) (?:\(len=\d{1,9}\) )?(?=\\{0,8}\")"
)
"""`(config.Secret) (len=32) "x"`."""
_TYPE_ENDS = ("Passw", "Passphrase", "Secret", "Token", "Key")
_ONE_ARGUMENT = re.compile(r"\.(?i:auth|authenticate)\((?=\\{0,8}[\"'][^\"'\\]{4,200}\\{0,8}[\"']\))")
_THIRD = re.compile(
    r"\b(?:mysqli?_p?connect|(?:mysqli|PDO)->__construct|ftp_login|ldap_bind|imap_open|oci_connect|ssh2_auth_password)\b[^\n]{0,200}?"
    r"\((?:\\{0,8}['\"][^'\"\\]{0,200}\\{0,8}['\"]|[\w #()]{1,40}), ?\\{0,8}['\"][^'\"\\]{0,100}\\{0,8}['\"], ?(?=\\{0,8}['\"])"
)
"""What PHP prints of a connection: where to, who, and the password."""
_CRYPT = re.compile(
    r"\b(?i:pgp_sym_(?:en|de)crypt(?:_bytea)?|aes_(?:en|de)crypt)\([^\n'\"()]{1,100}, ?(?=\\{0,8}['\"])"
)
_REGISTRY = re.compile(r"/v (?P<name>[\w.-]{1,80}) (?:/t \w{1,20} )?/d (?=[^\s])")
_ABOUT = re.compile(
    r"[\"'](?P<name>[\w.\-\[\]]{1,100})\\{0,8}[\"'] [a-z][\w.$\[\] ]{1,80}:? [Vv]alue:? (?=\\{0,8}[\"'])"
)
"""`Failed to bind 'db.password' to String: Value: "x"`."""
_HASH_CALL = re.compile(
    r"\b(?:(?:hash|check)pw|(?:generate|check)_password_hash|(?:bcrypt|argon2|scrypt|pwd_context|password_hasher)\.(?:hash|verify|encrypt))\((?=b?\\{0,8}[\"'])"
)
"""`hashpw(b"x", …)`: what is hashed."""
_FORM = re.compile(
    r"name=\\{0,8}\"(?P<name>[\w.\-\[\]]{1,80})\\{0,8}\"(?:(?:\r?\n|(?:\\+r)?\\+n)[A-Za-z-]{1,40}: [^\r\n\\]{1,200}){0,4}(?:\r?\n|(?:\\+r)?\\+n){2}"
    r"(?P<secret>[^\r\n]{1,4096}?)(?=\r|\n|\\+r|\\+n|\Z)"
)


_LEAST_GIVEN = {_LOGIN: 6, _HASH_CALL: 4, _THIRD: 4, _CRYPT: 4, _SIGNED_WITH: 12}
"""Calls that are given a secret, and how long it is at least."""
_VALUES = stems("val", "content", "default")
_FORMS = (
    (_SERIALIZED, ("s:",)),
    (_BLOCK, ("variable ", "output ")),
    (_ATOM, ("{",)),
    (_ABOUT, ("alue",)),
    (_REGISTRY, ("/d ",)),
)
"""Each with literals of which it needs one: to look for these is a hundred times as fast."""


def scan_pairs(text: str, verifier: Verifier) -> Iterator[Hit]:
    """`('authorization', 'x')`, `(b'cookie', b'x')`, `"name": "password", "value": "x"`, `'--password', 'x'`."""
    yield from _other_pairs(text, verifier)
    yield from _held(text, verifier)
    yield from _by_form(text, verifier)
    for comma in verifier.each(_PAIR, text):
        yield from _pair(text, comma, verifier)
    members = verifier.each_at(_PART_STEMS, text, _MEMBERS, within_word=True) if _VALUES.search(lowered(text)) else ()
    forms = (
        verifier.each(pattern, text) if any(literal in text for literal in literals) else ()
        for pattern, literals in _FORMS
    )
    calls = verifier.each_at(_VERBS, text, _CALL) if "(" in text else ()
    for found in chain(members, *forms, calls):
        verdict = verifier.names.verdict(found["name"])
        value = verifier.value(text, found.end()) if verdict else None
        if verdict and value:
            yield from hit(text, value, found["name"], verdict, False, verifier)
    if "(" in text:
        for found in verifier.each_at(_CALL_STEMS, text, *_LEAST_GIVEN):
            yield from _given(text, found, _LEAST_GIVEN[found.re], verifier)
        for found in verifier.each(_ONE_ARGUMENT, text):
            yield from _given(text, found, 7, verifier)
    for found in verifier.each(_FORM, text):
        verdict = verifier.names.verdict(found["name"])
        if verdict and not verifier.gate.leaves(found["secret"], verdict):
            yield Hit(*found.span("secret"), verdict.rule)


def _given(text: str, found: re.Match[str], least: int, verifier: Verifier) -> Iterator[Hit]:
    """The string that a call is given."""
    value = quoted(text, found.end())
    secret = text[value.start : value.end] if value else ""
    if value and strong(secret, least) and not verifier.gate.leaves(secret, _PASSWORD):
        yield Hit(value.start, value.end, "name-value-pair")


def _held(text: str, verifier: Verifier) -> Iterator[Hit]:
    """What types that are named after secrets hold."""
    for held in (_WRAPPED, _TYPED) if any(literal in text for literal in _TYPE_ENDS) else ():
        for found in verifier.each(held, text):
            verdict = verifier.names.verdict(found["name"])
            value = verifier.value(text, found.end()) if verdict else None
            if verdict and value and is_random(text[value.start : value.end], verdict):
                yield Hit(value.start, value.end, verdict.rule)


def _other_pairs(text: str, verifier: Verifier) -> Iterator[Hit]:
    """What is compared, and who is listed with whose password."""
    for found in verifier.each(_COMPARED, text) if "==" in text or "!=" in text else ():
        verdict = verifier.names.verdict(found["name"])
        if verdict and _is_compared(found["secret"]) and not verifier.gate.leaves(found["secret"], verdict):
            yield Hit(*found.span("secret"), verdict.rule)
    for found in verifier.each(_USERLIST, text) if '" ' in text else ():
        if _HASHED.fullmatch(found["secret"]) or (strong(found["secret"], 8) and mixed(found["secret"])):
            yield Hit(*found.span("secret"), "name-value-pair")


def _by_form(text: str, verifier: Verifier) -> Iterator[Hit]:
    """What a type, a class or a method beside the value says."""
    for found in verifier.each(_SECURE, text) if "SecureString" in text else ():
        value = quoted(text, found.end())
        if value and not verifier.gate.leaves(text[value.start : value.end], _PASSWORD):
            yield Hit(value.start, value.end, "name-value-pair")
    for found in verifier.each(_CASE_CLASS, text) if any(literal in text for literal in _CASES) else ():
        if strong(found["secret"], 8) and not is_a_name(found["secret"]):
            yield Hit(*found.span("secret"), "name-value-pair")
    for found in verifier.each(_AS_CHARACTERS, text) if ".toCharArray(" in text else ():
        if strong(found["secret"], 6) and not verifier.gate.leaves(found["secret"], _PASSWORD):
            yield Hit(*found.span("secret"), "name-value-pair")


def _is_compared(secret: str) -> bool:
    return not lower_word(secret) and (has_digit(secret) or not secret.isalpha() or like_no_word(secret))


def _pair(text: str, comma: re.Match[str], verifier: Verifier) -> Iterator[Hit]:
    name, _ = name_before(text, comma.start() + 1)
    verdict = verifier.names.verdict(name) if name else None
    if verdict is None:
        return
    flag = name.startswith("-")
    key = None if flag else _VALUE_KEY.match(text, comma.end())
    second = quoted(text, key.end() if key else comma.end())
    if second is None:
        return
    if (
        key is None
        and not flag
        and not _in_tuple(text, comma.start())
        and not strong(text[second.start : second.end], 12)
    ):
        return
    if key is not None or not lower_word(text[second.start : second.end]):
        yield from hit(text, second, name, verdict, False, verifier)


_TUPLE = re.compile(r"[\[({][brBR]?\\{0,8}[\"'][^\"'\\]{1,80}\Z")


def _in_tuple(text: str, at: int) -> bool:
    """The name is the first thing after a bracket: `("authorization", …`, not one of many in a list of field names."""
    return _TUPLE.search(text[max(0, at - 100) : at]) is not None
