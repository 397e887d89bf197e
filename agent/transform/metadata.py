"""A line's structured metadata: the configured fields and, where Loki would not find it by itself, the level."""

from __future__ import annotations

from collections.abc import Sequence

from agent import config, wire
from agent.transform import level
from agent.transform.label import bytes_of, metadata_name
from agent.transform.parse import Scalar, Values

_MOST_LEVELS = 256


class MetadataEncoder:
    """Encodes the values of fields.

    fields: what the values are of, in their order; those of the two sections among them.
    """

    def __init__(self, parse: config.Parse, metadata: config.Metadata, fields: Sequence[str]) -> None:
        self._levels = [(name, fields.index(name)) for name in parse.level_fields if name in fields]
        self._pairs = [
            (wire.metadata_head(metadata_name(name).encode()), fields.index(name)) for name in metadata.fields
        ]
        self._known_levels: dict[tuple[str, str], bytes] = {}

    def encode(self, values: Values) -> bytes:
        out = b""
        for head, slot in self._pairs:
            value = values[slot]
            if value is not None and value != "":
                out += wire.metadata_pair(head, bytes_of(value))
        for name, slot in self._levels:
            value = values[slot]
            if value is not None:
                out += self._level(name, value)
                break
        return out

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
