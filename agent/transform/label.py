"""What names a stream, and what is sent beside a line."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from agent import wire
from agent.model import Origin
from agent.transform.parse import Scalar

OTHER: Final = "other"

# Loki 3.7 `pkg/validation/limits.go`: max_label_value_length 2048 bytes. A field's value is no place for more, and
# structured metadata of one line may have 64 KiB in all.
MAX_VALUE_BYTES: Final = 2048

_RUN: Final = re.compile(r"[^A-Za-z0-9]+")


def metadata_name(field: str) -> str:
    """The name Loki would make of it (its `otlptranslator`), made here: an unusable one costs a whole request there."""
    name = _RUN.sub("_", field)
    if name[:1].isdigit():
        name = "key_" + name
    return name if name.strip("_") else "field"


def clip(value: bytes, limit: int = MAX_VALUE_BYTES) -> bytes:
    """At most `limit` bytes, cut between characters."""
    return value if len(value) <= limit else value[:limit].decode("utf-8", "ignore").encode()


def text_of(value: Scalar) -> str:
    """A field's value as a label or metadata shows it: JSON's spelling, without quotes."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def bytes_of(value: Scalar) -> bytes:
    return clip((value if isinstance(value, str) else text_of(value)).encode("utf-8", "replace"))


class Labeller:
    """Names streams: the labels of an origin, and of the values of `from_fields`.

    static:   labels of every stream; those of the origin win over them.
    names:    label names of the field values, in their order.
    redact:   applied to each value once, for a path can hold a secret too.
    limit:    streams at most; values that would make more become `other`.
    """

    def __init__(
        self, static: Mapping[str, str], host: str, names: Sequence[str], redact: Callable[[str], str], limit: int
    ) -> None:
        self._static = {"host": host, **static}
        self._names = tuple(names)
        self._redact = redact
        self._limit = limit
        self._base: dict[Origin, dict[str, str]] = {}
        self._groups: dict[Origin, str] = {}
        self._streams: dict[tuple[Origin, tuple[Scalar, ...]], str] = {}
        self.limited = 0
        """How often a value became `other`."""

    def group(self, origin: Origin) -> str:
        """The labels of the origin alone, as selector text: what its batches are grouped by."""
        known = self._groups.get(origin)
        if known is None:
            known = self._groups[origin] = wire.format_labels(self._labels(origin))
        return known

    def stream(self, origin: Origin, values: tuple[Scalar, ...]) -> str:
        """Selector text of the stream of these field values."""
        known = self._streams.get((origin, values))
        if known is not None:
            return known
        chosen = values
        if len(self._streams) >= self._limit:
            self.limited += 1
            chosen = tuple(OTHER if value is not None else None for value in values)
        labels = dict(self._labels(origin))
        for name, value in zip(self._names, chosen, strict=True):
            if value is not None:
                labels[name] = bytes_of(self._redact(text_of(value))).decode()
        text = wire.format_labels(labels)
        if chosen is values:
            self._streams[(origin, values)] = text
        return text

    def _labels(self, origin: Origin) -> dict[str, str]:
        known = self._base.get(origin)
        if known is None:
            place = {"filename": origin.path, **self._static, **dict(origin.labels)}
            known = {name: bytes_of(self._redact(value)).decode() for name, value in place.items()}
            self._base[origin] = known
        return known
