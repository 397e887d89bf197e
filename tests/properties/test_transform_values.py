"""Whatever stands under the names that are looked at: one line in, one entry out, and nothing is raised."""

from __future__ import annotations

import time

from hypothesis import example, given, settings
from hypothesis import strategies as st

from agent import config
from agent.model import Chunk, FileId, Origin, Position, Span
from agent.transform.chain import Transform
from agent.transform.redact import Redactor

ORIGIN = Origin("test", "/logs/app.log")
LEFT = Position(
    offset=1, prefix_length=0, prefix_digest=b"", anchor_digest=b"", part=0, origin=ORIGIN, generation=0, mtime_ns=0
)

_DIGITS = st.text(st.characters(categories=["Nd", "No", "Nl"]), min_size=1, max_size=12)
_LONG = st.sampled_from(["9" * 5000, "1" + "0" * 400, "0" * 5000])
_NUMBERS = (
    st.integers().map(str)
    | _LONG
    | st.from_regex(r"-?(0|[1-9][0-9]{0,20})(\.[0-9]{1,20})?([eE][+-]?[0-9]{1,4})?", fullmatch=True)
    | st.sampled_from(["NaN", "Infinity", "-Infinity", "-0", "1e999", "1e-999"])
)
_TEXTS = (_DIGITS | _LONG | st.text(max_size=20).filter(lambda text: text.isprintable())).map(
    lambda text: '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
)
_OTHERS = st.sampled_from(["true", "false", "null", "[]", '{"a":1}', '"\\ud800"', '"\\u0000"', '""'])
VALUES = _NUMBERS | _TEXTS | _OTHERS


@settings(max_examples=400, deadline=None)
@given(level=VALUES, stamp=VALUES, request=VALUES, label=VALUES)
@example(level='"²"', stamp="1763461800.5", request='"r"', label='"x"')
@example(level="1" + "0" * 400, stamp="1763461800.5", request='"r"', label='"x"')
def test_any_value_makes_an_entry(level: str, stamp: str, request: str, label: str) -> None:
    labels = config.Labels(from_fields={"tenant": "tenant"})
    transform = Transform(config.Parse(), labels, config.Metadata(), Redactor(None, []), host="host")
    line = f'{{"timestamp":{stamp},"level":{level},"request_id":{request},"tenant":{label},"message":"some words"}}'
    data = line.encode("utf-8", "replace") + b"\n"

    (entries,) = transform.turn([Chunk(ORIGIN, Span(FileId(1, 2), 0, LEFT), data, time.time_ns())])

    assert entries.lines == 1
    assert sum(len(stream.lines) for stream in entries.streams) == 1
