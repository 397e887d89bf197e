"""Stream labels and structured metadata as Loki reads them (pkg/logql/syntax/parser.go, pkg/loghttp/push/push.go).

`wire.parse_labels` reads what the agent wrote; this reads what anybody may send, so it says no to more.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from agent import wire
from agent.demo.limits import SERVICE_NAME_LABELS

_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_ESCAPE = r"\\(?:[abfnrtv\\\"']|x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8})"
_VALUE = re.compile(rf'"((?:[^"\\\n]|{_ESCAPE})*)"')
_BLANK = re.compile(r"\s*")
_OTHER_THAN_NAME = re.compile(r"[^A-Za-z0-9]+")


class BadLabels(ValueError):
    """The text is no label set. Loki refuses the whole request, whatever else is in it."""


@dataclass(frozen=True, slots=True)
class LabelSet:
    """Labels with the service name Loki adds. `text` is the stream's identity: sorted, quoted, empty values left out."""

    text: str
    pairs: tuple[tuple[str, str], ...]


@lru_cache(maxsize=4096)
def label_set(text: str) -> LabelSet:
    """The labels of one stream of a push. Raises BadLabels."""
    pairs = sorted((name, value) for name, value in _pairs(text) if value)
    found = dict(pairs)
    if "service_name" not in found:
        service = next((found[name] for name in SERVICE_NAME_LABELS if name in found), "unknown_service")
        pairs = sorted([*pairs, ("service_name", service)])
    return LabelSet("{" + ", ".join(f'{n}="{wire.quote(v)}"' for n, v in pairs) + "}", tuple(pairs))


def _pairs(text: str) -> list[tuple[str, str]]:
    if any("\ud800" <= c <= "\udfff" for c in text):
        raise BadLabels("couldn't parse labels: 1:1: parse error: invalid UTF-8 rune")
    pairs: list[tuple[str, str]] = []
    if not text:
        return pairs  # no text at all is no labels, seen with a running Loki
    at = _expect(text, _skip(text, 0), "{")
    while not text.startswith("}", at := _skip(text, at)):
        name = _NAME.match(text, at)
        if name is None:
            raise _unexpected(text, at)
        at = _expect(text, _skip(text, name.end()), "=")
        value = _VALUE.match(text, at := _skip(text, at))
        if value is None:
            raise _unexpected(text, at)
        pairs.append((name.group(), _unquoted(value)))
        at = _skip(text, value.end())
        if not text.startswith("}", at):
            at = _expect(text, at, ",")
    if _skip(text, at + 1) != len(text):
        raise _unexpected(text, at + 1)
    return pairs


def _unquoted(value: re.Match[str]) -> str:
    inside = value.group(1)
    if "\\" not in inside:
        return inside
    try:
        return wire.parse_labels(f'{{v="{inside}"}}')["v"]
    except (ValueError, OverflowError) as error:
        raise BadLabels(f"couldn't parse labels: 1:{value.start() + 1}: parse error: invalid syntax") from error


def _skip(text: str, at: int) -> int:
    blank = _BLANK.match(text, at)
    return blank.end() if blank else at


def _expect(text: str, at: int, char: str) -> int:
    if not text.startswith(char, at):
        raise _unexpected(text, at)
    return at + 1


def _unexpected(text: str, at: int) -> BadLabels:
    """PromQL's lexer counts columns from 1."""
    if at >= len(text):
        return BadLabels(f"couldn't parse labels: 1:{at + 1}: parse error: unexpected end of input inside braces")
    return BadLabels(
        f"couldn't parse labels: 1:{at + 1}: parse error: unexpected character inside braces: '{text[at]}'"
    )


class PoisonName(ValueError):
    """A metadata name Loki cannot normalise: it answers 500 to the whole request, every time."""


@dataclass(frozen=True, slots=True)
class Metadata:
    """One entry's structured metadata. `pairs` are normalised and sorted: order is no part of an entry's identity."""

    pairs: tuple[tuple[bytes, bytes], ...]
    sent_bytes: int
    poison: str = ""


NO_METADATA = Metadata((), 0)


@lru_cache(maxsize=65536)
def metadata_of(encoded: bytes) -> Metadata:
    """What `wire.encode_metadata` wrote. The lines of one request share it, so the cache spares most of the work."""
    sent = wire.decode_metadata(encoded)
    size = sum(len(name) + len(value) for name, value in sent)
    try:
        pairs = sorted((normal_name(name.decode("utf-8", "replace")).encode(), _utf8(value)) for name, value in sent)
    except PoisonName as error:
        return Metadata(tuple(sent), size, poison=str(error))
    return Metadata(tuple(pairs), size)


def _utf8(value: bytes) -> bytes:
    """Loki puts a blank in the place of bytes that are not UTF-8."""
    try:
        value.decode()
    except UnicodeDecodeError:
        return value.decode("utf-8", "replace").replace("\ufffd", " ").encode()
    return value


def normal_name(name: str) -> str:
    """prometheus/otlptranslator: every run of other characters becomes one `_`. Raises PoisonName."""
    if not name:
        raise PoisonName("label name is empty")
    if name.startswith("__") and name.endswith("__") and name.strip("_"):
        return name
    normal = _OTHER_THAN_NAME.sub("_", name)
    if normal[0].isdigit():
        normal = f"key_{normal}"
    if not normal.strip("_"):
        raise PoisonName(f'normalization for label name "{name}" resulted in invalid name "{normal}"')
    return normal
