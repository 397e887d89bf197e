"""Which values under a sensitive name are left as they are: empty, masked already, placeholders, code, counts."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from agent.transform.redaction.checks import UUID, any_card, has_digit, has_letter, is_a_name, like_no_word, lower_word
from agent.transform.redaction.marks import Marks
from agent.transform.redaction.names import Verdict

_EMPTY_WORDS: Final = frozenset(
    {"", "none", "null", "undefined", "nil", "true", "false", "yes", "no", "on", "off", "n/a", "nan"}
)
_BRACKETS: Final = " ${}[]()"
"""Around nothing or such a word; of `${{ secrets.TOKEN }}` without quotes the value ends at the space."""
_MASK_CHARACTERS: Final = "*•xX#.-_●· "
_MASK_WORDS: Final = re.compile(
    r"[\[<({*]{0,3}(?:REDACTED|FILTERED|MASKED|HIDDEN|SCRUBBED|REMOVED)[\])>}*]{0,3}|[\[<(*]{1,3}(?:PROTECTED|SENSITIVE|SECURED?|OMITTED|SUPPRESSED|SANITI[SZ]ED|OBFUSCATED)[\])>*]{1,3}",
    re.IGNORECASE,
)
_PLACEHOLDER: Final = re.compile(
    r"\$\{[^{}]{0,100}\}|\$\{\{[^{}]{0,100}\}\}|\$\(?[A-Z_][A-Z0-9_]{0,63}\)?|\$\d{1,3}|\{\{[^{}]{0,100}\}\}|\{[A-Za-z_.()]{0,60}(?:![rs])?\}|%s|%[A-Z_]{2,40}%"
    r"|%\([A-Za-z_]{1,40}\)s|<[A-Za-z][A-Za-z0-9 _.:-]{0,60}>|:[a-z_]{1,40}|\?"
)
_PLACEHOLDERS: Final = re.compile(r"(?:\{[A-Za-z_.()]{1,60}(?:![rs])?\}[:/@,;=-]?){1,8}")
_MASK_WORDS_BEGIN: Final = frozenset("[<({*RrFfMmHhSsſ")
_PLACEHOLDERS_BEGIN: Final = frozenset("${%<:?")
"""To see that a pattern cannot match costs a tenth of trying it; most values are none of these."""
_SCHEME_LEFT: Final = re.compile(
    r"(?:bearer|basic|token|digest|apikey|negotiate|splunk|ssws)?[ \"',;:=]*", re.IGNORECASE
)
_TIME: Final = re.compile(
    r"\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d{1,9})?)?(?:Z|[+-]\d\d:?\d\d)?)?|\d+(?:\.\d+)?\s?(?:ms|s|m|h|d|us|ns|min|sec|%)?"
)
_CODE: Final = re.compile(
    r"(?:[A-Za-z_]{1,40}\.){1,6}[A-Za-z_]{1,40}(?:[(\[].{0,200})?|[A-Za-z_][A-Za-z0-9_]{0,60}(?:\(.{0,200}|\[.{0,200})"
    r"|(?:str|bytes|int|bool|None|Optional|SecretStr|Any|Union|self|string|dict|list|object)(?:[\s|\[,)].{0,100})?"
)
_PATH: Final = re.compile(r"(?:/|~/|\./|\.\./|[A-Za-z]:\\)[^\s]{0,300}")
_FILE: Final = re.compile(
    r"(?:[C-E]:\\{1,4}|/(?:etc|var|run|secrets?|opt|home|usr|mnt|srv|root|app|data|config|tmp)/)"
    r"(?:[\w.@+\-]{1,64}[\\/]{1,4}){0,16}[\w.@+\-]{1,64}\.(?:json|pem|key|crt|cer|der|p12|pfx|jks|ya?ml|toml|conf|ini|txt)"
)
"""Where credentials lie, and not what they are: `GOOGLE_APPLICATION_CREDENTIALS=/var/secrets/google/credentials.json`."""
# What stands under such a name in translations, validation errors and rules: `"password": "Forgot your password?"`.
_MAY_BE_LABEL: Final = re.compile(r"(?i:pass|kenn|token|api|secret|key|[a-zäöüß]{1,20}[ |])")
_NOUN: Final = r"(?:pass(?:word|wort|phrase|code)s?|kennwort|tokens?|api[ -]?keys?|secrets?|key|pin|code)"
_LABEL: Final = re.compile(
    rf"(?:P(?:assword|asswort|assphrase|asscode)|Kennwort|Token|API[ -]?[Kk]ey|Secret|(?i:(?:[a-zäöüß']{{1,16}} ){{1,6}}{_NOUN}(?: [a-zäöüß']{{1,16}}){{0,4}}"
    rf"|{_NOUN}(?: [a-zäöüß']{{1,16}}){{1,6}}))[*:?!.…]{{0,3}}"
)
_MESSAGE: Final = re.compile(
    r"(?i)^(?=[^\n]{8,300}$)(?:[a-zäöüß'’]+[,.:]? )+.{0,200}?\b(?:must|required|should|invalid|at least|at most|characters|cannot|too (?:short|long|weak|common)|match|blank|missing|expired|incorrect|muss|ungültig|erforderlich|zeichen)\b"
    r"|^(?:must|required|should|invalid|cannot|ungültig)\b(?: [a-zA-Zäöüß0-9'’.,]+){2,20}$"
)
_VALIDATION: Final = re.compile(
    r"(?:required|nullable|sometimes|string|present|filled)(?:\|[a-z_]{2,24}(?::[\w,]{1,40})?){1,12}\Z"
)
_FROM_HERE: Final = ("./", "../", "~/")
_NEXT_FIELD: Final = re.compile(r"[A-Z][A-Za-z]{1,30}:[a-z0-9.\[\]{}]{0,40}")
"""`Password: SSLMode:disable}`: the value is empty, and what follows is the next member."""
_REMARK: Final = re.compile(r"\([a-z]{2,20}")
"""`password: (not set)`, up to the space."""
_TAG: Final = re.compile(r"![A-Za-z/]{1,20}")
_HASHED_BY: Final = re.compile(
    r"(?i:argon2(?:id?|d)?|bcrypt|scrypt|pbkdf2|sha-?\d{1,3}|md5|crypt)(?:[-_:]\w{1,20}){0,3}[,;]?"
)
_STOP_WORDS: Final = frozenset(
    [
        "required",
        "missing",
        "invalid",
        "expired",
        "empty",
        "unset",
        "set",
        "not",
        "the",
        "was",
        "is",
        "has",
        "changed",
        "reset",
        "updated",
        "incorrect",
        "wrong",
        "ok",
        "yes",
        "no",
        "field",
        "string",
        "text",
        "hidden",
        "redacted",
        "expires",
        "rotated",
        "revoked",
        "optional",
        "default",
        "disabled",
        "enabled",
        "failed",
        "success",
        "granted",
        "denied",
        "found",
        "valid",
        "accepted",
        "rejected",
        "refreshed",
        "created",
        "deleted",
        "unknown",
        "pflichtfeld",
        "erforderlich",
        "notwendig",
        "ungültig",
        "falsch",
        "geändert",
        "abgelaufen",
        "vergessen",
        "fehlt",
        "leer",
        "gesetzt",
        "nicht",
        "kein",
        "keines",
        "unbekannt",
        "requis",
        "requerido",
    ]
)


def _says_something(value: str) -> bool:
    """A placeholder, a caption, a validation message or rule: text about a secret."""
    if value[0] in _PLACEHOLDERS_BEGIN and (_PLACEHOLDER.fullmatch(value) or _PLACEHOLDERS.fullmatch(value)):
        return True
    if _MAY_BE_LABEL.match(value) is None:
        return False
    return any((_LABEL.fullmatch(value), _MESSAGE.search(value), _VALIDATION.match(value)))


_GROUPED_PIN: Final = re.compile(r"\d{3}-\d{3}(?:-\d{3})?")
_NUMBERS: Final = re.compile(r"\d{6,10}_\d{6,10}")
"""A session of Windows' updates."""
_OBJECT: Final = re.compile(r"(?:[A-Z][a-z]{1,15}){0,3}Token\{[0-9a-f]{6,8}\}?")
"""As Android writes one: its class and a hash of where it lies."""
_NO_TOKEN: Final = frozenset("[](){}^|\\")
# What a kind of name does not take for its value.
_BY_KIND: Final[dict[str, Callable[[str], bool]]] = {
    "session": lambda value: len(value) < 16,
    "auth": lambda value: len(value) < 8,
    **dict.fromkeys(("string", "authorization", "cookie"), lambda value: _TIME.fullmatch(value) is not None),
    "digits": lambda value: sum(c.isdigit() for c in value) < 12,
    "card": lambda value: not any_card(value),
    "vendor": lambda value: (
        len(value) < 16
        or not has_digit(value)
        or is_a_name(value)
        or UUID.fullmatch(value) is not None
        or _TIME.fullmatch(value) is not None
        or not _NO_TOKEN.isdisjoint(value)
    ),
    "owner": lambda value: (
        UUID.fullmatch(value) is None
        and (len(value) < 16 or not has_digit(value) or is_a_name(value) or not _NO_TOKEN.isdisjoint(value))
    ),
    "loose": lambda value: lower_word(value) and len(value) < 16,
    "uuid": lambda value: UUID.fullmatch(value) is None,
    "pin": lambda value: not (4 <= len(value) <= 8 and value.isdecimal()) and _GROUPED_PIN.fullmatch(value) is None,
    "pass": lambda value: not has_letter(value) and len(value) < 6,
    "pwd": lambda value: _PATH.fullmatch(value) is not None,
}


_RANDOM: Final = 24
_SHORTEST_LOOSE: Final = 12


def _is_code(value: str) -> bool:
    """A stop word, a YAML tag, an expression: `required`, `!vault`, `settings.secret`, `os.environ[…]`."""
    first = value[0]
    if value.lower().rstrip(".!,") in _STOP_WORDS or value.startswith(_FROM_HERE):
        return True
    if (first == "!" and _TAG.fullmatch(value)) or (first == "(" and _REMARK.fullmatch(value)):
        return True
    if _CODE.fullmatch(value) is None:
        return False
    if "(" not in value and like_no_word(max(re.split(r"[.\[\]]", value), key=len)) and len(value) >= _RANDOM:
        return False  # `s.` and 24 letters: the old form of a Vault token
    return not has_digit(value) or any(mark in value for mark in ".([")


def _is_short(value: str) -> bool:
    """Behind a space too little for a key."""
    return not has_digit(value) and len(value) < 20


def _is_kind_of_hash(name: str, value: str) -> bool:
    """`password hash = argon2id` tells how, not what."""
    return _HASHED_BY.fullmatch(value) is not None and name.lower().endswith("hash")


def _is_of_a_system(name: str, value: str) -> bool:
    """`wtoken = AppWindowToken{9f4ef63`, `Session: 30546173_4261722401`."""
    if name == "Session":
        return _NUMBERS.fullmatch(value) is not None
    return name.endswith("oken") and _OBJECT.fullmatch(value) is not None


_CARD_CODES: Final = ("cvv", "cvc", "cvn", "cvv2", "cvc2")


class Gate:
    """Decides for a value whether it is one at all."""

    def __init__(self, marks: Marks) -> None:
        self._marks = marks

    def masked(self, value: str) -> bool:
        """Nothing is left of the value but marks of ours, or mask characters, or a word that says so."""
        rest = self._marks.strip(value) if "[" in value else value
        if rest != value and (_SCHEME_LEFT.fullmatch(rest) or not any(map(str.isalnum, rest))):
            return True
        if not value.strip(_MASK_CHARACTERS):
            return True
        return value[0] in _MASK_WORDS_BEGIN and _MASK_WORDS.fullmatch(value) is not None

    def leaves(self, value: str, verdict: Verdict) -> bool:
        """For a value whose ends are certain: a JSON string, or a quoted one."""
        if value.strip(_BRACKETS).lower() in _EMPTY_WORDS or self.masked(value) or _says_something(value):
            return True
        if verdict.rule == "credential" and _FILE.fullmatch(value):
            return True
        rule = _BY_KIND.get(verdict.kind)
        return rule is not None and rule(value)

    def leaves_number(self, value: str, verdict: Verdict) -> bool:
        """For a JSON number: counts under token-like names stay."""
        if not value[:1].lstrip("-").isdigit() and not value[1:2].isdigit():
            return True
        if verdict.kind == "pin":
            return not 4 <= len(value) <= 8
        if verdict.kind == "card":
            return not any_card(value)
        return verdict.kind not in ("any", "loose", "pwd") and not (verdict.kind == "digits" and len(value) >= 12)

    def leaves_in_text(self, name: str, value: str, verdict: Verdict, spaced: bool, quoted: bool) -> bool:
        """For a value found in prose or code. `spaced`: a space stood before it; `quoted`: it was in quotes."""
        is_loose = spaced and not quoted and verdict.kind == "loose"
        is_too_little = is_loose and (len(value) < _SHORTEST_LOOSE or ":" in value)  # told before all that takes longer
        if is_too_little or self.leaves(value, verdict) or _is_of_a_system(name, value):
            return True
        if verdict.kind == "string" and len(value) < 20 and lower_word(value[:1].lower() + value[1:]):
            return True
        if quoted:
            return False
        if _is_code(value) or value == name or value.rpartition("=")[0] == name or _is_kind_of_hash(name, value):
            return True
        if spaced and (_NEXT_FIELD.fullmatch(value) or (verdict.rule == "secret-key" and _is_short(value))):
            return True
        if is_loose:
            return not has_digit(value)
        if not spaced:
            return verdict.kind in ("string", "auth") and len(value) < 4
        if verdict.kind == "auth" or lower_word(value.rstrip(".!,")):  # `app.auth: …` is a logger's name
            return True
        if verdict.kind in ("string", "auth", "session"):
            return len(value) < 8 or not (has_digit(value) or len(value) >= 20)
        return not has_letter(value) and len(value) < (3 if name.lower().endswith(_CARD_CODES) else 4)
