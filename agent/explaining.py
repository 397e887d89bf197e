"""`explain`: what the agent would make of a line, and why; and `redact rules`. Never shows what a rule took out."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any, BinaryIO, TextIO

import orjson

from agent import config, wire
from agent.failures import OK
from agent.filtering import key_of, lines_of
from agent.model import Chunk, Entries, FileId, Origin, Position, Span
from agent.patterns import NotKept
from agent.transform import timestamp
from agent.transform.chain import Transform
from agent.transform.redact import Redactor


def explain_stream(
    settings: config.Config | None, lines_in: BinaryIO, out: TextIO, *, path: str, host: str, as_json: bool
) -> int:
    """One answer a line, as JSON Lines or as text for people."""
    known = settings or config.Config()
    redactor = Redactor.build(known.redact, pseudonym_key=key_of(settings), store=NotKept())
    for _warning in redactor.warnings:
        pass
    transform = Transform(known.parse, known.labels, known.metadata, redactor, host=host)
    for number, line in enumerate(lines_of(lines_in), 1):
        answer = explanation(line, known, redactor, transform, path)
        if as_json:
            print(json.dumps({"line": number, **answer}, ensure_ascii=False), file=out)
        else:
            print("\n".join(_for_people(number, answer)), file=out)
        out.flush()
    return OK


def explanation(
    line: bytes, settings: config.Config, redactor: Redactor, transform: Transform, path: str
) -> dict[str, Any]:
    """What becomes of the line; spans are bytes of the input."""
    read_ns = time.time_ns()
    entries = transform(_chunk(line, path, read_ns))
    redacted, findings = redactor.line(line)
    answer: dict[str, Any] = {
        "dropped": next(iter(entries.dropped), None),
        "rules": [{"rule": f.rule, "start": f.start, "end": f.end, "action": f.action} for f in findings],
        "seen": [{"rule": rule, "count": count} for rule, count in entries.redactions_seen.items()],
        "near_misses": [m._asdict() for m in redactor.near_misses(line)],
    }
    if entries.streams:
        stream = entries.streams[0]
        answer |= {
            "stream": wire.parse_labels(stream.labels),
            "timestamp_ns": stream.timestamps_ns[0],
            "timestamp_from": _time_source(redacted, settings, entries, read_ns),
            "metadata": {
                name.decode(): value.decode("utf-8", "replace")
                for name, value in wire.decode_metadata(stream.metadata[0])
            },
            "parsed_as": next((kind for kind, count in entries.parsed.items() if count), "text"),
            "text": stream.lines[0].decode("utf-8", "replace"),
        }
    return answer


def _chunk(line: bytes, path: str, read_ns: int) -> Chunk:
    origin = Origin("stdin", path)
    after = Position(len(line) + 1, 0, b"", b"", 0, origin)
    return Chunk(origin, Span(FileId(0, 0), 0, after), line + b"\n", read_ns)


def _time_source(line: bytes, settings: config.Config, entries: Entries, read_ns: int) -> str:
    """Which field gave the time, or why it is the time of reading."""
    if entries.clamped:
        return "time of reading: the line's own is out of range (parse.max_age, parse.max_future)"
    try:
        record = orjson.loads(line)
    except orjson.JSONDecodeError:
        record = None
    stamp = entries.streams[0].timestamps_ns[0]
    if isinstance(record, dict):
        for name in settings.parse.timestamp_fields:
            if name in record:
                return f"field {name!r}" if stamp != read_ns else f"time of reading: field {name!r} holds no time"
        return "time of reading: the line has none of parse.timestamp_fields"
    return "time of reading: the line holds none" if timestamp.from_torn(line) is None else "the text of the line"


def _for_people(number: int, answer: dict[str, Any]) -> Iterator[str]:
    yield f"line {number}"
    if answer["dropped"]:
        yield f"  dropped    {answer['dropped']}"
    else:
        labels = ", ".join(f'{name}="{value}"' for name, value in answer["stream"].items())
        yield f"  stream     {{{labels}}}"
        yield f"  timestamp  {answer['timestamp_ns']} ({answer['timestamp_from']})"
        metadata = ", ".join(f"{name}={value}" for name, value in answer["metadata"].items())
        yield f"  metadata   {metadata or 'none'}"
        yield f"  read as    {answer['parsed_as']}"
    for rule in answer["rules"]:
        yield f"  redacted   bytes {rule['start']}-{rule['end']} by {rule['rule']} ({rule['action']})"
    for rule in answer["seen"]:
        yield f"  seen only  {rule['rule']} ({rule['count']})"
    for miss in answer["near_misses"]:
        yield f"  not        bytes {miss['start']}-{miss['end']} by {miss['rule']}: {miss['why']}"
    if not answer["dropped"]:
        yield f"  text       {answer['text']}"


def list_rules(settings: config.Config | None, out: TextIO, *, as_json: bool) -> int:
    """Every rule with its group, action and whether it is on."""
    redactor = Redactor.build((settings or config.Config()).redact, pseudonym_key=bytes(32), engine="re")
    rules = redactor.rules()
    if as_json:
        members = [
            {
                "id": r.id,
                "group": r.group,
                "on": r.on,
                "action": r.action,
                "description": r.description,
                "traps": r.traps,
            }
            for r in rules
        ]
        print(json.dumps(members, indent=1, ensure_ascii=False), file=out)
        return OK
    width = max(len(rule.id) for rule in rules)
    for rule in rules:
        print(
            f"{rule.id:<{width}}  {rule.group:<14}  {rule.action if rule.on else 'off':<10}  {rule.description}",
            file=out,
        )
    return OK
