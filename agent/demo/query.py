"""The part of LogQL and of `query_range` that a verifier needs (Loki 3.7 pkg/loghttp, pkg/logql/syntax).

A query is a stream selector with `=`, `!=`, `=~`, `!~` and line filters `|=`, `!=`, `|~`, `!~` behind it. The range
includes its start and excludes its end. Pure: `run` takes streams and parameters and returns the JSON document.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from agent.demo.limits import SECOND_NS, Limits
from agent.demo.store import Stream
from agent.wire import BadBody, parse_labels

_MATCHER = re.compile(r'\s*([a-zA-Z_][a-zA-Z0-9_]*)\s*(=~|!~|!=|=)\s*("(?:[^"\\]|\\.)*"|`[^`]*`)\s*(,|(?=\}))')
_FILTER = re.compile(r'\s*(\|=|!=|\|~|!~)\s*("(?:[^"\\]|\\.)*"|`[^`]*`)\s*')


class BadQuery(ValueError):
    """The text of Loki's 400."""


@dataclass(frozen=True, slots=True)
class Query:
    matchers: tuple[tuple[str, str, str], ...]
    filters: tuple[tuple[str, str], ...] = ()

    def takes_stream(self, labels: Mapping[str, str]) -> bool:
        return all(_holds(operator, labels.get(name, ""), value) for name, operator, value in self.matchers)

    def takes_line(self, line: bytes) -> bool:
        text = line.decode("utf-8", "replace")
        return all(_filters(operator, text, value) for operator, value in self.filters)


@dataclass(slots=True)
class Parameters:
    """What a request asks for, ready to run."""

    query: Query
    start_ns: int
    end_ns: int
    limit: int
    forward: bool
    categorize: bool
    """Metadata as each value's third element; without, it is merged into the result's labels, as Loki does."""


@dataclass(slots=True)
class _Result:
    stream: dict[str, str]
    values: list[list[object]] = field(default_factory=list)


def parse_query(text: str) -> Query:
    """Raises BadQuery."""
    at = len(text) - len(text.lstrip())
    if not text.startswith("{", at):
        raise BadQuery(f"parse error at line 1, col {at + 1}: syntax error: unexpected input, expecting {{")
    at += 1
    matchers = []
    while not text.startswith("}", at):
        found = _MATCHER.match(text, at)
        if found is None:
            raise BadQuery(f"parse error at line 1, col {at + 1}: syntax error: unexpected input in selector")
        matchers.append((found[1], found[2], _literal(found[3])))
        at = found.end()
    if all(_holds(operator, "", value) for _, operator, value in matchers):
        raise BadQuery(
            "parse error : queries require at least one regexp or equality matcher that does not have an empty-compatible "
            'value. For instance, app=~".*" does not meet this requirement, but app=~".+" will'
        )
    at += 1
    filters = []
    while text[at:].strip():
        found = _FILTER.match(text, at)
        if found is None:
            raise BadQuery(f"parse error at line 1, col {at + 1}: syntax error: the stand-in knows line filters only")
        filters.append((found[1], _literal(found[2])))
        at = found.end()
    return Query(tuple(matchers), tuple(filters))


def _literal(quoted: str) -> str:
    if quoted[0] == "`":
        return quoted[1:-1]
    try:
        return parse_labels(f"{{v={quoted}}}")["v"]
    except (BadBody, ValueError) as error:
        raise BadQuery(f"parse error: invalid string {quoted}") from error


def _holds(operator: str, have: str, want: str) -> bool:
    if operator in ("=", "!="):
        return (have == want) == (operator == "=")
    return bool(_regex(want).fullmatch(have)) == (operator == "=~")


def _filters(operator: str, line: str, want: str) -> bool:
    if operator in ("|=", "!="):
        return (want in line) == (operator == "|=")
    return bool(_regex(want).search(line)) == (operator == "|~")


def _regex(text: str) -> re.Pattern[str]:
    try:
        return re.compile(text)
    except re.error as error:
        raise BadQuery(f"parse error: error parsing regexp: {error}") from error


def parameters(query: Mapping[str, str], encoding_flags: str, limits: Limits, now_ns: int) -> Parameters:
    """From the request's query string and its X-Loki-Response-Encoding-Flags. Raises BadQuery."""
    end_ns = _time(query.get("end"), now_ns)
    start_ns = _time(query.get("start"), end_ns - 3600 * SECOND_NS)
    if end_ns <= start_ns:
        raise BadQuery("end timestamp must not be before or equal to start time")
    limit = _limit(query.get("limit", "100"))
    if limit > limits.max_query_entries:
        raise BadQuery(
            "max entries limit per query exceeded, limit > max_entries_limit_per_query "
            f"({limit} > {limits.max_query_entries})"
        )
    if end_ns - start_ns > limits.max_query_range_ns:
        hours = (end_ns - start_ns) // (3600 * SECOND_NS)
        allowed = limits.max_query_range_ns // (3600 * SECOND_NS)
        raise BadQuery(f"the query time range exceeds the limit (query length: {hours}h0m0s, limit: {allowed}h0m0s)")
    direction = query.get("direction", "backward").lower()
    if direction not in ("forward", "backward"):
        raise BadQuery(f"invalid direction '{direction}'")
    categorize = "categorize-labels" in encoding_flags.split(",")
    return Parameters(parse_query(query.get("query", "")), start_ns, end_ns, limit, direction == "forward", categorize)


def _limit(text: str) -> int:
    if not text.isdecimal():
        raise BadQuery(f'strconv.ParseUint: parsing "{text}": invalid syntax')
    if int(text) == 0:
        raise BadQuery("limit must be a positive value")
    return int(text)


def _time(text: str | None, default_ns: int) -> int:
    """Integer nanoseconds (seconds when of ten digits or fewer), decimal seconds, or RFC 3339."""
    if not text:
        return default_ns
    if text.isdecimal():
        return int(text) * (SECOND_NS if len(text) <= 10 else 1)
    try:
        if "T" not in text:
            return round(float(text) * SECOND_NS)
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise BadQuery(f"could not parse '{text}' as a time") from error
    return round(moment.replace(tzinfo=moment.tzinfo or UTC).timestamp() * SECOND_NS)


def run(streams: Iterable[Stream], wanted: Parameters) -> dict[str, object]:
    """The document of a successful `query_range`."""
    results: dict[tuple[tuple[str, str], ...], _Result] = {}
    for stream, key in _newest_or_oldest(streams, wanted):
        timestamp_ns, line, metadata = key
        pairs = {n.decode("utf-8", "replace"): v.decode("utf-8", "replace") for n, v in metadata}
        labels = dict(stream.pairs) if wanted.categorize else {**stream.pairs, **pairs}
        value: list[object] = [str(timestamp_ns), line.decode("utf-8", "replace")]
        if wanted.categorize:
            value.append({"structuredMetadata": pairs, "parsed": {}} if pairs else {})
        results.setdefault(tuple(sorted(labels.items())), _Result(labels)).values.append(value)
    data: dict[str, object] = {
        "resultType": "streams",
        "result": [{"stream": result.stream, "values": result.values} for result in results.values()],
        "stats": {},
    }
    if wanted.categorize:
        data["encodingFlags"] = ["categorize-labels"]
    return {"status": "success", "data": data}


def _newest_or_oldest(
    streams: Iterable[Stream], wanted: Parameters
) -> list[tuple[Stream, tuple[int, bytes, tuple[tuple[bytes, bytes], ...]]]]:
    """The first `limit` entries in the asked direction, over all streams."""
    query = wanted.query
    takes: Callable[[bytes], bool] = query.takes_line if query.filters else lambda _: True
    found = [
        (stream, key)
        for stream in streams
        if query.takes_stream(stream.pairs)
        for key in stream.entries
        if wanted.start_ns <= key[0] < wanted.end_ns and takes(key[1])
    ]
    found.sort(key=lambda item: item[1][0], reverse=not wanted.forward)
    return found[: wanted.limit]
