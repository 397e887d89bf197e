"""Which level Loki would not find by itself.

Loki 3.7 finds a level in a JSON line under the names below when its value is a string it knows
(`pkg/distributor/field_detection.go`). For all others (numbers, syslog names, `levelname`, plain text) we send
`detected_level`, which wins over its own search.
"""

from __future__ import annotations

import re
from typing import Final

LOKI_FIELDS: Final = frozenset((
    "level", "LEVEL", "Level", "log.level", "severity", "SEVERITY", "Severity", "SeverityText", "lvl", "LVL", "Lvl",
    "severity_text", "Severity_Text", "SEVERITY_TEXT",
))  # fmt: skip
LOKI_VALUES: Final = frozenset((
    "trace", "trc", "debug", "dbg", "info", "inf", "information", "warn", "wrn", "warning", "error", "err", "critical",
    "fatal",
))  # fmt: skip

_NAMES: Final = {
    "emerg": "fatal", "emergency": "fatal", "panic": "fatal", "alert": "critical", "crit": "critical",
    "notice": "info", "notset": "debug", "verbose": "debug", "fine": "debug", "severe": "error",
    "trc": "trace", "dbg": "debug", "inf": "info", "information": "info", "wrn": "warn", "warning": "warn",
    "err": "error", "e": "error", "w": "warn", "i": "info", "d": "debug", "f": "fatal",
}  # fmt: skip
_PLAIN: Final = frozenset(("trace", "debug", "info", "warn", "error", "critical", "fatal"))

_MOST_DIGITS: Final = 4_000
"""Of which Python makes a number."""
_BEYOND_LEVELS: Final = 70

# Only where a level stands as a level: first word, in brackets, or after a time stamp; not "no error found".
_TEXT: Final = re.compile(
    rb"^(?:[\d\-T:.,Z+/ ]{8,40}\s*)?[\[(<]?(TRACE|DEBUG|INFO|NOTICE|WARN(?:ING)?|ERROR|CRIT(?:ICAL)?|FATAL)[\])>]?(?=[\s:\-|,\]]|$)"
)


def of_field(name: str, value: object) -> str | None:
    """The `detected_level` to send for a field's value; None when Loki finds it, or when it is no level."""
    if isinstance(value, str):
        word = value.strip().lower()
        if name in LOKI_FIELDS and word in LOKI_VALUES:
            return None
        if not word.isdecimal():  # `isdigit` takes ² for one too, of which `int` makes no number
            return word if word in _PLAIN else _NAMES.get(word)
        value = int(word) if len(word) <= _MOST_DIGITS else None
    if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < _BEYOND_LEVELS:
        return _of_number(value)
    return None


def _of_number(number: float) -> str | None:
    """Syslog's severities are 0 to 7. From 10 on the numbers of Python's `logging`; pino's, one step off, are not told
    apart from them, and GreenStack is Python."""
    if 0 <= number <= 7:
        return ("fatal", "critical", "critical", "error", "warn", "info", "info", "debug")[int(number)]
    return {1: "debug", 2: "info", 3: "warn", 4: "error", 5: "critical", 6: "fatal"}.get(int(number // 10))


def of_text(line: bytes) -> str | None:
    """The level a plain line begins with."""
    match = _TEXT.match(line, 0, 80)
    if match is None:
        return None
    word = match[1].decode().lower()
    return word if word in _PLAIN else _NAMES.get(word)
