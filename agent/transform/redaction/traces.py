"""Ids of traces and spans. In decimal, as Datadog writes them, one in ninety is a card number by its check digit."""

from __future__ import annotations

import re
from functools import lru_cache

_NAME = r"(?:(?:dd|otel|parent|root)?[_.\-]?(?:span|trace)|parent)[_.\-]?id"
_WHOLE = re.compile(_NAME, re.IGNORECASE)
_BEFORE = re.compile(
    rf"(?i)(?:(?<![A-Za-z]){_NAME}|trace[ =:][0-9a-f]{{16,32}}[ ,;]{{1,2}}span)[\"'\\]{{0,4}}(?: ?[=:] ?| )[\"'\\]{{0,4}}\Z"
)
_ID = re.compile(r"[0-9]{13,20}|[0-9a-fA-F]{16,32}")
_LONGEST = 64


@lru_cache(maxsize=4_096)
def is_name(key: str) -> bool:
    """Of a member or an option: `dd.trace_id`, `parentSpanId`."""
    return len(key) < _LONGEST and _WHOLE.fullmatch(key) is not None


def is_id(text: str, start: int, end: int) -> bool:
    return _ID.fullmatch(text, start, end) is not None


def is_named_before(text: str, start: int) -> bool:
    """Whether what begins at `start` is said to be one: `span_id=`, or `span ` behind the id of a trace."""
    return _BEFORE.search(text, max(0, start - _LONGEST), start) is not None
