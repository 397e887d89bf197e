"""Values beside a sensitive name in text: `password=…`, `"token": "…"`, headers, query strings."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from agent.transform.redaction.names import Verdict
from agent.transform.redaction.prose import strong
from agent.transform.redaction.rule import Hit
from agent.transform.redaction.values import Value, bare, items, name_before, quoted

if TYPE_CHECKING:
    from agent.transform.redaction.verify import Verifier

# Each way begins with a literal: only then the engine looks for them fast.
_SEPARATOR: Final = re.compile(
    r"=>|->|<-|:=|==?|:(?:\\{0,8}\"?[\w\\]{1,80}\\{0,8}\"?:)?(?:protected|private)\] ?=>|:(?!//)|：|＝| \|(?= )|\.(?<!\.\.)\.{3,}+(?:(?= ?\\*[\"'])|(?<=\.{8})(?= ?[^\s.%\"']))"
)
_SPACE: Final = re.compile(r"[ \t]{0,40}")
_LINE_BREAK: Final = re.compile(r"\s{0,40}")
_TYPE: Final = re.compile(
    r"[ \t]{0,3}(?:Optional\[)?(?:str|bytes|SecretStr|int)\]?(?:[ \t]?\|[ \t]?None)?[ \t]{0,3}=[ \t]{0,3}"
    r"|[ \t]{0,3}[A-Z][A-Za-z]{2,20}[?!]?[ \t]{0,3}=[ \t]{0,3}(?=\\*[\"'])|[ \t]{0,3}!![a-z]{2,10}[ ]{1,3}"
)
_COOKIE_FORM: Final = re.compile(r"\\*[\"']?[^\s=;,\"'\\]{1,128}=")
_CONTAINER: Final = re.compile(r"[\[{(]\s{0,8}(?:[brBR]?\\*[\"']|[\[{(]|\s)")
_GO_LIST: Final = re.compile(r"\[[A-Za-z0-9]")
_WRAPPER: Final = re.compile(
    r"(?:SecretStr|SecretBytes|SecretString|Secret|str|bytes|quote|repr|Optional|Some|Just|Right|Ok|Value|Text|String|new String|NullString)\("
    r"|(?:\s|\\+[rn]){0,20}string\(\d{1,9}\) (?=\\*\")|\([\w.*\[\]]{1,60}\) (?:\(len=\d{1,9}\) )?(?=\\*\")|<<(?=\\*\")|chr (?=\\*\")|\[\]string(?=\{)|(?:Invalid|Unsupported|Duplicate) value: (?=\\*[\"'])|(?:changed|updated) (?:from )?(?=\\*[\"'])"
)
_TYPES_BEGIN: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZsbi!")
_WRAPPERS_BEGIN: Final = frozenset("SsbqrOJRVTNncIUDu\\(<[")
_BLOCK: Final = re.compile(r"[|>][+-]?[ ]{0,4}(?:\r?\n|(?:\\+r)?\\+n)[ \t]{1,40}(?=[^\s])")
_CHANGED: Final = re.compile(r"\\*[\"'`]?[ \t]{0,2}(?:->|=>|→|to(?= \\*[\"']))[ \t]{1,2}")
_MORE_CODES: Final = re.compile(r"[ \t]{0,2},?[ \t]{1,2}(?P<code>(?=[a-zA-Z\-]{0,20}\d)[A-Za-z0-9\-]{6,24})(?![\w:=.])")
_TWO_WORD_ENDS: Final = frozenset(
    [
        "key",
        "keys",
        "secret",
        "token",
        "id",
        "string",
        "code",
        "codes",
        "answer",
        "number",
        "phrase",
        "header",
        "value",
        "password",
        "cookie",
        "uri",
        "url",
        "hash",
        "confirm",
        "confirmation",
        "again",
        "passe",
        "sandi",
        "khẩu",
    ]
)
_PHRASE: Final = re.compile(r"[a-z]{3,8}(?: [a-z]{3,8}){11,23}\b")
"""The words that wallets are restored from; a sentence has shorter ones among them."""
_PHRASES: Final = ("mnemonic", "phrase", "seed", "words")
_CHEAP: Final = 2
"""So many separators without a sensitive name before them cost what a candidate costs."""
_ODBC: Final = Verdict("password", "any")


def scan(text: str, verifier: Verifier) -> Iterator[Hit]:
    """Every separator with a sensitive name before it and a value behind it."""
    done = -1
    # No two separators share one; so many of them would come to the limit anyway, after half of the time there is.
    verifier.work.affords(text.count("=") // (2 * _CHEAP))
    for number, separator in enumerate(_SEPARATOR.finditer(text)):
        if number % _CHEAP == 0:
            verifier.step()
        if separator.start() < done:
            continue
        name, start = name_before(text, separator.start())
        verdict = _verdict(text, name, start, separator, verifier) if name else None
        if verdict is None:
            continue
        verifier.step()
        if separator[0] == " |":
            yield from _cell(text, separator.end(), verdict)
            continue
        query = text.endswith(("?", "&", "&amp;"), 0, start)
        for found in _values(text, separator.end(), name, verdict, query, verifier):
            if not _ends_in_name(text, found):
                done = max(done, found.end)
            yield found


def _ends_in_name(text: str, found: Hit) -> bool:
    """`auth:password='x'`: the value may be a name itself, with its own value in the quotes behind it."""
    return text[found.end - 1] in "=:" and text.startswith(("'", '"', "\\"), found.end)


def _verdict(text: str, name: str, start: int, separator: re.Match[str], verifier: Verifier) -> Verdict | None:
    """What the name before a separator means, unless it is a comparison or a prompt."""
    # Numbers at the end say nothing, and with them each name would be a new one.
    verdict = verifier.names.verdict(name.rstrip("0123456789") or name) or _longer_name(text, name, start, verifier)
    if verdict is None and start > 0 and text[start - 1] == "\\" and name[0] in "nrt":
        verdict = verifier.names.verdict(name[1:])  # the letter belongs to the escape before it
    if verdict is None and name == "PWD" and text[start - 1 : start] == ";":
        verdict = _ODBC  # elsewhere it is the shell's variable
    if verdict is None and name in ("key", "Key", "KEY"):
        verdict = _key_of(text, name, start, verifier)
    if verdict is None or _is_prompt(text, start, name, separator):
        return None
    if text[start - 1 : start] == "(" and _PAM.search(text, max(0, start - 32), start):
        return None
    if separator[0] == ":" and ("." in name or verdict.kind == "auth") and _is_logger(text, start, separator.end()):
        return None
    return None if separator[0][0] == "=" and text[separator.start() - 1] in "<>!~" else verdict


_PAM: Final = re.compile(r"\bpam_\w{1,24}\(\Z")
"""`pam_unix(gdm-password:session)`: a service, and what of it."""
_KEY_OF: Final = re.compile(
    r"(?:[Jj][Ww][Tt]|H(?:mac|MAC)|hmac|[Ff]ernet|Cipher|cipher|Crypto|crypto|[Ss]ign(?:er|ing)|[Ee]ncrypt(?:or|er|ion))\w{0,20}[({\[][^(){}\[\]\n]{0,100}\Z"
)


def _key_of(text: str, name: str, start: int, verifier: Verifier) -> Verdict | None:
    """`Jwt:Key`, `JWTSettings(algorithm=…, key=…)`: what stands before says which key it is."""
    if text[start - 1 : start] == ":":
        owner, _ = name_before(text, start - 1)
        return verifier.names.verdict(f"{owner} {name}") if owner else None
    verifier.step()
    if _KEY_OF.search(text, max(0, start - 160), start):
        return Verdict("secret-key", "owner")
    return None


_LEVEL: Final = re.compile(
    r"(?:(?<!\w)|(?<=\\[nrt]))(?:DEBUG|INFO|NOTICE|WARN(?:ING)?|ERROR|CRITICAL|FATAL|TRACE|SUCCESS)(?P<joint>:|[ ]{0,8}\| )\Z"
)
_FUNCTION: Final = re.compile(r"[\w<>]{1,100}:\d{1,6}\b")


def _is_logger(text: str, start: int, end: int) -> bool:
    """`ERROR:app.auth:…`, as Python's logging writes it, or `ERROR | app.auth:login:75 - …`, as loguru does: who speaks.

    end: behind the colon that follows the name.
    """
    level = _LEVEL.search(text, max(0, start - 24), start) if text.endswith((":", "| "), 0, start) else None
    return level is not None and (level["joint"] == ":" or _FUNCTION.match(text, end) is not None)


_PATH_IN_QUOTES: Final = re.compile(r"[A-Za-z:]{1,60}[\"']\]")


def _is_prompt(text: str, start: int, name: str, separator: re.Match[str]) -> bool:
    """`"Password: "` in code: the quote that follows is the end of the string that the name stands in."""
    before = text[separator.start() - 2 : separator.start()]
    if before in (" '", ' "') and text.startswith(before[1], separator.end()):
        return True  # `expected token ':', got '}'`
    opening = text[start - 1 : start]
    if opening in ("'", '"') and separator[0] == ":" and _PATH_IN_QUOTES.match(text, separator.end()):
        return True  # `Configuration["Jwt:Issuer"]`
    after = text[separator.end() : separator.end() + 3].lstrip(" ")
    return opening in ("'", '"') and separator.start() == start + len(name) and after.startswith(opening)


def _cell(text: str, at: int, verdict: Verdict) -> Iterator[Hit]:
    """The next cell of a table, when it looks random: `| password | string |` describes a field."""
    value = bare(text, at + 1)
    if value is not None and strong(text[value.start : value.end], 8):
        yield Hit(value.start, value.end, verdict.rule)


def _longer_name(text: str, name: str, start: int, verifier: Verifier) -> Verdict | None:
    """`api key:` and `social security number =` are names of several words."""
    if name.lower() not in _TWO_WORD_ENDS and not name.isdigit():  # `Unseal Key 1: …`
        return None
    for _ in range(2):
        if start < 2 or text[start - 1] != " ":
            return None
        word, start = name_before(text, start - 1)
        if not word:
            return None
        name = f"{word} {name}"
        verdict = verifier.names.verdict(name)
        if verdict is not None:
            return verdict
    return None


def _values(text: str, at: int, name: str, verdict: Verdict, query: bool, verifier: Verifier) -> Iterator[Hit]:
    """The value, or the values of the list, that begin at `at`."""
    space = _SPACE.match(text, at)
    begin = space.end() if space else at
    spaced = begin > at
    typed = _TYPE.match(text, at) if text[begin : begin + 1] in _TYPES_BEGIN else None
    if typed is not None:
        begin, spaced = typed.end(), False
    if verdict.kind == "authorization" and (text[begin : begin + 1] not in "[{(" or _GO_LIST.match(text, begin)):
        yield from verifier.headers.authorization(text, begin, verdict)
        return
    if verdict.kind == "cookie" and text[begin : begin + 1] not in "[{(":
        if not query and _COOKIE_FORM.match(text, begin):
            yield from verifier.headers.cookies(text, begin)
            return
        verdict = Verdict(verdict.rule, "session")
    begin = _behind_wrapper(text, begin)
    first = text[begin : begin + 1]
    if first in ("\n", "\r"):
        return
    found = quoted(text, begin) or _phrase(text, begin, name)
    if found is None and first in ("[", "{", "(") and _CONTAINER.match(text, begin):
        for item in items(text, begin, verifier.step):
            yield from hit(text, item, name, verdict, spaced, verifier)
        return
    value = verifier.weighed(found or bare(text, begin, query))
    if value is None:
        return
    yield from hit(text, value, name, verdict, spaced, verifier)
    if verdict.rule == "one-time-code":
        yield from _more_codes(text, value.end, name, verdict)
    yield from _changed_to(text, value, name, verdict, verifier)


def _behind_wrapper(text: str, at: int) -> int:
    first = text[at : at + 1]
    if first in ("|", ">"):
        wrapper = _BLOCK.match(text, at)
    elif first in _WRAPPERS_BEGIN or first.isspace():
        wrapper = _WRAPPER.match(text, at)
    else:
        return at
    return wrapper.end() if wrapper else at


def _more_codes(text: str, at: int, name: str, verdict: Verdict) -> Iterator[Hit]:
    """`Recovery codes: a1… b2… c3…`: the others of the list."""
    more = _MORE_CODES.match(text, at) if name.lower().endswith("codes") else None
    while more is not None:
        yield Hit(*more.span("code"), verdict.rule)
        more = _MORE_CODES.match(text, more.end())


def _changed_to(text: str, value: Value, name: str, verdict: Verdict, verifier: Verifier) -> Iterator[Hit]:
    """The new value behind the old one."""
    changed = _CHANGED.match(text, value.end) if value.end < len(text) else None
    second = verifier.value(text, changed.end()) if changed else None
    if second is not None:
        yield from hit(text, second, name, verdict, True, verifier)


def _phrase(text: str, at: int, name: str) -> Value | None:
    found = _PHRASE.match(text, at) if name.lower().endswith(_PHRASES) else None
    return Value(*found.span(), True) if found else None


def hit(text: str, value: Value, name: str, verdict: Verdict, spaced: bool, verifier: Verifier) -> Iterator[Hit]:
    secret = text[value.start : value.end]
    if verdict.kind == "dsn":
        return
    if verdict.kind == "authorization":
        yield from verifier.headers.authorization(text, value.start, verdict)
        return
    if verdict.kind == "cookie":
        if "=" in secret:
            yield from verifier.headers.cookies(text, value.start)
            return
        verdict = Verdict(verdict.rule, "session")
    if not verifier.gate.leaves_in_text(name, secret, verdict, spaced, value.quoted):
        yield Hit(value.start, value.end, verdict.rule)
