"""The agent's own credentials: exact values, and what they look like in base64, percent and JSON."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator, Sequence
from urllib.parse import quote

from agent.transform.redaction.catalogue import Needle
from agent.transform.redaction.rule import Hit
from agent.transform.redaction.verify import Scan, Verifier

_SHORTEST = 8
_COMMON = frozenset(
    [
        "password",
        "changeme",
        "passwords",
        "username",
        "development",
        "production",
        "localhost",
        "greenstack",
        "administrator",
    ]
)


def too_common(secrets: Sequence[str]) -> int:
    """How many cannot be looked for: too short, or words that stand in innocent text."""
    return sum(len(secret) < _SHORTEST or secret.lower() in _COMMON for secret in secrets)


def forms(secrets: Sequence[str]) -> list[str]:
    """Every spelling to look for, the longest first. Short values and common words would hit innocent text."""
    found: set[str] = set()
    for secret in secrets:
        if len(secret) < _SHORTEST or secret.lower() in _COMMON:
            continue
        # A variable of the environment may be no UTF-8: Python keeps its bytes as lone surrogates, lines have U+FFFD instead,
        # or, in JSON, the surrogate.
        data = secret.encode("utf-8", "surrogateescape")
        text = data.decode("utf-8", "replace")
        found |= {secret, text, quote(data, safe=""), json.dumps(text, ensure_ascii=False)[1:-1]}
        found |= {json.dumps(secret)[1:-1], json.dumps(text)[1:-1]}
        found |= {encode(data).decode().rstrip("=") for encode in (base64.b64encode, base64.urlsafe_b64encode)}
    return sorted(found, key=lambda form: (-len(form), form))


def needles(secrets: Sequence[str], number: int) -> list[Needle]:
    return [Needle(_literal(form), number, own=True) for form in forms(secrets)]


def _literal(form: str) -> str:
    return "".join(rf"\x{byte:02x}" for byte in form.encode("utf-8", "surrogatepass"))


def scan_for(secrets: Sequence[str], rule: str) -> Scan:
    found_forms = forms(secrets)
    pattern = re.compile("|".join(map(re.escape, found_forms))) if found_forms else None

    def scan(text: str, _: Verifier) -> Iterator[Hit]:
        if pattern is not None:
            for found in pattern.finditer(text):
                yield Hit(found.start(), found.end(), rule)

    return scan
