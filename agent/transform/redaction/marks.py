"""What is written instead of a secret, and how it is known again. Marks hold no quote and no backslash."""

from __future__ import annotations

import hmac
import re
from collections.abc import Iterable
from typing import Final

from agent.transform.redaction.rule import Action

_MARK: Final = re.compile(r"\[REDACTED:([a-z0-9-]{1,64})(?::[A-Za-z0-9]{4})?\]|\[([a-z0-9-]{1,64}):[0-9a-f]{12}\]")
# It begins with its literal, which the engine looks for fast.
_MARK_APART: Final = re.compile(
    r"\[(?<![^\s\"'`=:,;|/&?(\[{<>\\]\[)(?:REDACTED:([a-z0-9-]{1,64})(?::[A-Za-z0-9]{4})?\]|([a-z0-9-]{1,64}):[0-9a-f]{12}\])(?![^\s\"'`,;|&)\]}<>\\])",
    re.ASCII,
)
_NUMBERS: Final = frozenset({"card", "iban"})
_SHORTEST_NUMBER: Final = 13
_SHORTEST_PARTIAL: Final = 16
_MOST_PSEUDONYMS: Final = 65_536


class Marks:
    """Writes marks, and trusts only those that name a rule of ours: `[REDACTED:hunter2]` hides nothing."""

    def __init__(self, key: bytes, hash_all: bool, replacements: dict[str, str]) -> None:
        self._key = key
        # The first two of a pseudonym's digits name the key, so that a change of it can be seen.
        self._key_id = hmac.digest(key, b"key id", "sha256").hex()[:2]
        self._hash_all = hash_all
        self._replacements = replacements
        self._known: frozenset[str] = frozenset()
        self._own_texts = frozenset(replacements.values())
        self._pseudonyms: dict[tuple[str, str], str] = {}

    def know(self, rules: Iterable[str]) -> None:
        self._known = frozenset(rules)

    def write(self, rule: str, action: Action, secret: str) -> str:
        """The mark for `secret`. Four last characters are shown only of long values."""
        replacement = self._replacements.get(rule)
        if replacement is not None:
            return replacement
        if action == "pseudonym" or self._hash_all:
            return self.pseudonym(rule, secret)
        if action == "partial" and len(secret) >= (_SHORTEST_NUMBER if rule in _NUMBERS else _SHORTEST_PARTIAL):
            tail = "".join(c for c in secret if c.isalnum())[-4:]
            if len(tail) == 4 and tail.isascii():
                return f"[REDACTED:{rule}:{tail}]"
        return f"[REDACTED:{rule}]"

    def pseudonym(self, rule: str, secret: str) -> str:
        """The same for the same secret, different for each rule; without the key it says nothing."""
        known = self._pseudonyms.get((rule, secret))
        if known is None:
            plain = secret.lower() if rule == "email" else secret
            message = f"{rule}\0{plain}".encode("utf-8", "surrogatepass")
            known = f"[{rule}:{self._key_id}{hmac.digest(self._key, message, 'sha256').hex()[:10]}]"
            if len(self._pseudonyms) >= _MOST_PSEUDONYMS:
                self._pseudonyms.clear()
            self._pseudonyms[rule, secret] = known
        return known

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Where our marks stand."""
        if "[" not in text:
            return []
        return [m.span() for m in _MARK.finditer(text) if (m[1] or m[2]) in self._known]

    def emptied(self, text: str) -> str:
        """`text` with empty quotes for our marks, which no finder pattern takes for a value.

        What the finder says of this decides which procedures run, before and after: the words of a mark call none. A mark
        that touches other text stays, since an application may have written it to hide what it touches.
        """
        return _MARK_APART.sub(lambda m: '""' if (m[1] or m[2]) in self._known else m[0], text)

    def blanked(self, text: str) -> str:
        """The same with masks as long as the marks were, so that every other character keeps its place."""
        return _MARK_APART.sub(lambda m: f'"{"*" * (len(m[0]) - 2)}"' if (m[1] or m[2]) in self._known else m[0], text)

    def strip(self, text: str) -> str:
        """`text` without the marks that are ours."""
        if "[" in text:
            text = _MARK.sub(lambda m: "" if (m[1] or m[2]) in self._known else m[0], text)
        for own in self._own_texts:
            text = text.replace(own, "")
        return text
