"""A line's structured metadata: the configured fields and, where Loki would not find it by itself, the level."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from agent import config, wire
from agent.transform import level
from agent.transform.glance import NOTHING
from agent.transform.label import bytes_of, clip, metadata_name
from agent.transform.parse import Scalar, Values

_MOST_LEVELS: Final = 256


class MetadataEncoder:
    """Encodes the values of fields.

    fields: what the values are of, in their order; those of the two sections among them.
    """

    def __init__(self, parse: config.Parse, metadata: config.Metadata, fields: Sequence[str]) -> None:
        self._levels = [(name, fields.index(name)) for name in parse.level_fields if name in fields]
        self._pairs = [(wire.PairEncoder(metadata_name(name).encode()), fields.index(name)) for name in metadata.fields]
        self._known_levels: dict[tuple[str, str], bytes] = {}
        self._last_name = ""
        self._last_level = self._last_encoded = b""

    def encode(self, values: Values) -> bytes:
        out = b""
        for pair, slot in self._pairs:
            value = values[slot]
            if value is not None and value != "":
                out += pair.encode(bytes_of(value))
        for name, slot in self._levels:
            value = values[slot]
            if value is not None:
                out += self._level(name, value)
                break
        return out

    def encode_texts(self, texts: list[bytes]) -> bytes:
        """The same for values that all are texts, as `glance` tells them."""
        out = b""
        for pair, slot in self._pairs:
            text = texts[slot]
            if text is not NOTHING and text:
                out += pair.encode(clip(text))
        for name, slot in self._levels:
            text = texts[slot]
            if text is not NOTHING:
                return out + self._level_of_text(name, text)
        return out

    def _level_of_text(self, name: str, text: bytes) -> bytes:
        """As `_level`: of the level that the line before had, without asking for it."""
        if text != self._last_level or name != self._last_name:
            self._last_encoded = self._level(name, text.decode())
            self._last_name, self._last_level = name, text
        return self._last_encoded

    def _level(self, name: str, value: Scalar) -> bytes:
        if not isinstance(value, str):
            return detected(level.of_field(name, value))
        known = self._known_levels.get((name, value))
        if known is None:
            if len(self._known_levels) >= _MOST_LEVELS:
                self._known_levels.clear()
            known = self._known_levels[name, value] = detected(level.of_field(name, value))
        return known


def detected(found: str | None) -> bytes:
    """The pair that tells Loki the level; nothing when it finds it, or when there is none."""
    return wire.encode_metadata([(b"detected_level", found.encode())]) if found else b""
