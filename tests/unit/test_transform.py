"""agent.transform: chunk → entries."""

import json
import os
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent import config, wire
from agent.model import Chunk, Entries, FileId, Origin, Position, Span
from agent.observe.events import Event, ParsingFailed
from agent.pipeline import report
from agent.transform.chain import Transform
from agent.transform.label import metadata_name
from agent.transform.look import Looker
from agent.transform.redact import Redactor
from agent.transform.redaction.places import Flags, lines_in

NOW_NS = 1763461800 * 10**9
ORIGIN = Origin("app", "/var/log/greenstack/app.log")


class Untouched:
    """A redactor with nothing to do, but the line numbers it is told to drop."""

    def __init__(self, dropped: Sequence[int] = ()) -> None:
        self.dropped = dropped
        self.hits: dict[str, int] = {}
        self.failed = 0
        self.seen: dict[str, int] = {}
        self.tags: dict[int, str] = {}
        self.open_key = False
        self.changed: tuple[int, ...] = ()

    def split(self, data: bytes) -> tuple[list[bytes], Flags]:
        return lines_in(data), {}

    def chunk(self, data: bytes, lines: list[bytes], flags: Flags, *, open_key: bool) -> "Untouched":
        return self

    def text(self, value: str) -> str:
        return value


def chunk(*lines: bytes, **extra: object) -> Chunk:
    after = Position(0, 0, b"", b"", 0, ORIGIN)
    data = b"".join(line + b"\n" for line in lines)
    return Chunk(origin=ORIGIN, span=Span(FileId(1, 2), 0, after), data=data, read_ns=NOW_NS, **extra)  # type: ignore[arg-type]


def transform(
    *, labels: config.Labels | None = None, parse: config.Parse | None = None, redactor: Untouched | None = None
) -> Transform:
    return Transform(
        parse or config.Parse(),
        labels or config.Labels(),
        config.Metadata(),
        redactor or Untouched(),
        host="web-1",
    )


def only(entries: Entries) -> tuple[list[int], list[bytes], list[list[tuple[bytes, bytes]]]]:
    (stream,) = entries.streams
    return stream.timestamps_ns, stream.lines, [wire.decode_metadata(meta) for meta in stream.metadata]


def test_a_greenstack_line_becomes_an_entry_with_its_own_time_and_request_id() -> None:
    line = b'{"timestamp": 1763461800.000294, "level": "INFO", "message": "hi", "request_id": "r-1"}'
    entries = transform()(chunk(line))
    assert only(entries) == ([1763461800000294000], [line], [[(b"request_id", b"r-1")]])
    assert entries.parsed == {"json": 1, "lenient": 0, "text": 0, "failed": 0}
    assert wire.parse_labels(entries.group) == {
        "environment": "production",
        "filename": "/var/log/greenstack/app.log",
        "host": "web-1",
        "job": "greenstack-agent",
        "service_name": "greenstack",
    }


def test_lines_leave_byte_for_byte() -> None:
    odd = [
        b'{ "a":1.0e5 ,"timestamp":1763461800}',
        b'{"timestamp":1763461800,"t":"\\u00e9\xc3\xa9"}',
        b"\xff\xfe\x00 not text",
    ]
    assert only(transform()(chunk(*odd)))[1] == odd


@pytest.mark.parametrize(
    ("line", "kind", "ns"),
    [
        (b'{"timestamp": 1763461799.5, "x": NaN}', "lenient", 1763461799500000000),
        (b'{"timestamp": 1763461799.5, "x": "\\ud800"}', "lenient", 1763461799500000000),
        (b'{"timestamp": 1763461799.5, "request_id": {"a": 1}}', "lenient", 1763461799500000000),
        (b'{"timestamp": 1763461799.5, "x": ' + b"9" * 5000 + b"}", "json", 1763461799500000000),
        (b"[" * 10_000 + b"]" * 10_000, "text", NOW_NS),
        (b'{"a":' * 10_000 + b"1" + b"}" * 10_000, "text", NOW_NS),
        (b"Traceback (most recent call last):", "text", NOW_NS),
        (b'{"timestamp": 1763461799.5, "level": "INF', "text", 1763461799500000000),
        (b"\x00\x01\x02", "text", NOW_NS),
        (b"[1, 2]", "text", NOW_NS),
    ],
)
def test_a_line_of_any_kind_is_kept_and_counted_by_kind(line: bytes, kind: str, ns: int) -> None:
    entries = transform()(chunk(line))
    times, lines, _ = only(entries)
    assert (times, lines, entries.parsed[kind]) == ([ns], [line], 1)


def test_a_line_without_a_time_stays_behind_the_line_before_it() -> None:
    times, _, _ = only(transform()(chunk(b'{"timestamp": 1763461790.5}', b"Traceback", b"  File x")))
    assert times == [1763461790500000000] * 3


def test_times_beside_the_lines_win() -> None:
    times, _, _ = only(transform()(chunk(b'{"timestamp": 1763461790.5}', times_ns=(NOW_NS - 7,))))
    assert times == [NOW_NS - 7]


def test_a_time_that_loki_would_refuse_is_clamped_and_kept_beside_the_line() -> None:
    entries = transform()(
        chunk(b'{"timestamp": 1000000000.5}', b'{"timestamp": 1763461800}', b'{"timestamp": 1763469800}')
    )
    times, _, metadata = only(entries)
    assert times == [NOW_NS, NOW_NS, NOW_NS]
    assert metadata == [
        [(b"original_timestamp", b"1000000000500000000")],
        [],
        [(b"original_timestamp", b"1763469800000000000")],
    ]
    assert entries.clamped == 2


@pytest.mark.parametrize("moment", ["9999-12-31T23:59:59Z", "0001-01-01T00:00:00Z", "2200-01-01T00:00:00Z"])
def test_a_time_that_no_64_bits_hold_is_clamped_even_when_asked_to_send(moment: str) -> None:
    line = f'{{"timestamp": "{moment}"}}'.encode()
    times, _, metadata = only(transform(parse=config.Parse(out_of_range="send"))(chunk(line, b'{"ok": 1}')))
    assert times == [NOW_NS, NOW_NS]
    assert metadata[0][0][0] == b"original_timestamp"
    assert metadata[1] == [], "a line without a time inherits none that is impossible"


def test_a_line_that_redaction_makes_too_long_ends_at_the_limit_and_says_so() -> None:
    class Longer(Untouched):
        def chunk(self, data: bytes, lines: list[bytes], flags: Flags, *, open_key: bool) -> "Longer":
            lines[1] = lines[1].replace(b"pw", "[REDACTED:pässword]".encode())
            self.changed = (1,)
            return self

    limited = Transform(config.Parse(), config.Labels(), config.Metadata(), Longer(), host="h", max_line_bytes=100)
    line = b'{"timestamp": %d, "message": "' % (NOW_NS // 10**9) + b"x" * 50 + b'pw"}'
    entries = limited(chunk(line, line))
    _, lines, metadata = only(entries)
    whole = line.replace(b"pw", "[REDACTED:pässword]".encode())
    assert lines == [line, whole[:99]], "cut before the character that the limit would have split"
    assert metadata[1] == [(b"clipped_bytes", b"%d" % (len(whole) - 99))]
    assert entries.clipped == 1
    grown = Transform(config.Parse(), config.Labels(), config.Metadata(), Untouched(), host="h", max_line_bytes=100)
    assert only(grown(chunk("ä".encode() * 60)))[1] == ["ä".encode() * 50], "latin-1 is twice as long as UTF-8"
    assert only(limited(chunk(b"", b"pw")))[1] == ["[REDACTED:pässword]".encode()]


def test_a_time_out_of_range_is_sent_as_it_is_when_asked() -> None:
    times, _, _ = only(transform(parse=config.Parse(out_of_range="send"))(chunk(b'{"timestamp": 1000000000.5}')))
    assert times == [1000000000500000000]


@pytest.mark.parametrize(
    ("line", "detected"),
    [
        (b'{"level": "WARNING"}', None),
        (b'{"level": "info"}', None),
        (b'{"levelname": "ERROR"}', "error"),
        (b'{"level": 40}', "error"),
        (b'{"level": "NOTICE"}', "info"),
        (b'{"level": true}', None),
        (b'{"level": "30"}', "warn"),
        (b'{"level": "0000000030"}', "warn"),
        (b'{"level": 4.5}', "warn"),
        ('{"level": "²"}'.encode(), None),
        ('{"level": "①"}'.encode(), None),
        (b'{"level": "%b"}' % (b"9" * 5000), None),
        (b'{"level": %b}' % (b"9" * 5000), None),
        (b'{"level": 1%b}' % (b"0" * 400), None),
        (b'{"level": 1e300}', None),
        (b'{"level": -1}', None),
        (b'{"level": 70, "n": NaN}', None),
        (b'{"severity": 3}', "error"),
        (b"INFO:     127.0.0.1:5000 - GET /", "info"),
        (b"2025-11-18 10:30:00,123 [ERROR] x", "error"),
        (b"no error found", None),
        (b'{"message": "no level"}', None),
    ],
)
def test_a_level_is_sent_only_where_loki_would_not_find_it(line: bytes, detected: str | None) -> None:
    _, _, (metadata,) = only(transform()(chunk(line)))
    assert dict(metadata).get(b"detected_level") == (detected.encode() if detected else None)


def test_empty_lines_are_dropped_and_counted() -> None:
    entries = transform()(chunk(b"a", b"", b"b", b""))
    assert only(entries)[1] == [b"a", b"b"]
    assert (entries.lines, entries.entries, entries.dropped) == (4, 2, {"empty": 2})


def test_lines_that_a_rule_orders_out_are_dropped_and_counted() -> None:
    entries = transform(redactor=Untouched(dropped=[1]))(chunk(b"a", b"b", b"c"))
    assert only(entries)[1] == [b"a", b"c"]
    assert entries.dropped == {"redaction_rule": 1}


def test_a_private_key_that_is_cut_by_a_chunk_goes_whole(redactor: Redactor) -> None:
    body = [bytes([65 + n]) * 40 + b"q7Zk+/x9Lm2PaB4c" for n in range(6)]
    begin, end = (b"-----%s RSA PRIVATE KEY-----" % word for word in (b"BEGIN", b"END"))
    whole = Transform(config.Parse(), config.Labels(), config.Metadata(), redactor, host="h")
    first, second = whole(chunk(b"before", begin, *body[:3])), whole(chunk(*body[3:], end, b"after"))
    left = b"\n".join(only(first)[1] + only(second)[1])
    assert not any(line in left for line in body)
    assert left.startswith(b"before")
    assert left.endswith(b"after")


def test_parts_of_a_long_line_are_numbered() -> None:
    _, _, metadata = only(transform()(chunk(b"end of it", b"x", b"begin", first_part=3, last_part=1)))
    assert metadata == [[(b"part", b"3")], [], [(b"part", b"1")]]


def test_fields_make_streams_and_the_group_stays_one() -> None:
    labels = config.Labels(from_fields={"event": "event"})
    lines = [b'{"event": "upload"}', b'{"event": "parse"}', b'{"event": "upload", "n": 2}', b"text"]
    entries = transform(labels=labels)(chunk(*lines))
    by_event = {wire.parse_labels(s.labels).get("event"): s.lines for s in entries.streams}
    assert by_event == {"upload": [lines[0], lines[2]], "parse": [lines[1]], None: [lines[3]]}
    assert "event" not in wire.parse_labels(entries.group)


def test_too_many_values_of_a_label_become_other() -> None:
    labels = config.Labels(from_fields={"event": "event"}, max_streams=3)
    lines = [json.dumps({"event": f"e{i}"}).encode() for i in range(10)]
    entries = transform(labels=labels)(chunk(*lines))
    events = [wire.parse_labels(s.labels).get("event") for s in entries.streams]
    assert events == ["e0", "e1", "e2", "other"]
    assert entries.entries == 10


@pytest.mark.parametrize(
    ("field", "name"),
    [("request_id", "request_id"), ("a.b-c", "a_b_c"), ("9x", "key_9x"), ("日本", "field"), ("_", "field")],
)
def test_metadata_names_are_what_loki_would_make_of_them(field: str, name: str) -> None:
    assert metadata_name(field) == name


@given(st.lists(st.binary(max_size=60).map(lambda data: data.replace(b"\n", b"")), max_size=8))
def test_nothing_in_a_line_raises_or_is_lost(lines: list[bytes]) -> None:
    entries = transform()(chunk(*lines))
    assert entries.entries + sum(entries.dropped.values()) == entries.lines == len(lines)
    kept = [line for stream in entries.streams for line in stream.lines]
    assert kept == [line for line in lines if line]


@pytest.mark.parametrize("field", ["request_id", "level", "levelname"])
@pytest.mark.parametrize("time", ["1763461800.5", "4611686019.5"])
def test_a_field_that_is_no_utf8_makes_a_line_of_text(field: str, time: str) -> None:
    good = b'{"timestamp": 1763461800.25, "level": "INFO", "request_id": "r-1"}'
    bad = f'{{"timestamp": {time}, "{field}": "a'.encode() + b'\xff"}'
    entries = transform()(chunk(good, bad, good))
    assert entries.parsed["text"] == 1
    assert [only(entries)[1][n] for n in (0, 1, 2)] == [good, bad, good]


def test_without_names_for_the_time_each_line_has_that_of_reading() -> None:
    parse = config.Parse(timestamp_fields=())
    entries = transform(parse=parse)(chunk(b'{"timestamp": 1763461700.5, "level": "INFO", "request_id": "r-1"}'))
    assert only(entries)[0] == [NOW_NS]
    assert only(entries)[2] == [[(b"request_id", b"r-1")]]


# --- bugs ----------------------------------------------------------------------------------------------------------

NOT_COMPILED = pytest.mark.skipif(
    "GREENSTACK_AGENT_COMPILED" in os.environ, reason="a compiled method cannot be replaced"
)


@NOT_COMPILED
@pytest.mark.parametrize("labels", [{}, {"level": "level"}])
def test_a_line_that_meets_a_bug_is_sent_as_it_is_and_the_others_as_ever(
    monkeypatch: pytest.MonkeyPatch, labels: dict[str, str]
) -> None:
    """Or the agent would end with it, and meet it again after each start."""
    lines = [
        b'{"timestamp": %d, "level": "INFO", "request_id": "r-%d", "x": {}}' % (1763461790 + number, number)
        for number in range(4)
    ]
    lines[2:2] = [b'{"timestamp": 1763461799, "level": "INFO", "bug": {}}', b"no JSON"]
    made = transform(labels=config.Labels(from_fields=labels))
    as_ever = made(chunk(*lines))
    decode = made._looker._decoder.decode

    def buggy(line: bytes) -> object:
        if b"bug" in line:
            raise ZeroDivisionError(line)
        return decode(line)

    monkeypatch.setattr(made._looker._decoder, "decode", buggy)
    entries = made(chunk(*lines))

    assert entries.parsed == {"json": 4, "lenient": 0, "text": 1, "failed": 1}
    assert entries.parse_failures == 1
    assert entries.parse_failure.startswith("ZeroDivisionError in test_transform.py:")
    told = {line: meta for stream in entries.streams for line, meta in zip(stream.lines, stream.metadata, strict=True)}
    wanted = {
        line: meta for stream in as_ever.streams for line, meta in zip(stream.lines, stream.metadata, strict=True)
    }
    assert told == wanted | {lines[2]: b""}
    times = {
        line: ns for stream in entries.streams for line, ns in zip(stream.lines, stream.timestamps_ns, strict=True)
    }
    assert [times[line] // 10**9 for line in lines] == [
        1763461790,
        1763461791,
        1763461791,
        1763461791,
        1763461792,
        1763461793,
    ]
    # The bug is told, and nothing of the line.
    told_of: list[Event] = []
    report(entries, told_of.append)
    (failed,) = [event for event in told_of if isinstance(event, ParsingFailed)]
    assert (failed.path, failed.count, failed.bug) == (ORIGIN.path, 1, entries.parse_failure)
    assert "request_id" not in failed.bug


@NOT_COMPILED
def test_a_bug_that_only_common_lines_meet_costs_time_and_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    line = b'{"timestamp": 1763461800.000294, "level": "INFO", "message": "hi", "request_id": "r-1"}'
    wanted = transform()(chunk(line, line))

    def buggy(*_: object) -> int:
        raise IndexError("bug")

    monkeypatch.setattr(Looker, "_skim", buggy)
    entries = transform()(chunk(line, line))
    assert only(entries) == only(wanted)
    assert entries.parse_failures == 0
    assert entries.parse_failure.startswith("IndexError in test_transform.py:")


@NOT_COMPILED
def test_a_line_of_a_container_keeps_its_time_where_it_meets_a_bug(monkeypatch: pytest.MonkeyPatch) -> None:
    made = transform()
    monkeypatch.setattr(made._looker._decoder, "decode", lambda _: 1 / 0)
    entries = made(chunk(b"{}", b'{"a": 1}', times_ns=(NOW_NS - 2, NOW_NS - 1)))
    assert only(entries)[0] == [NOW_NS - 2, NOW_NS - 1]
    assert entries.parsed["failed"] == 2


@NOT_COMPILED
def test_an_empty_line_is_dropped_also_where_it_meets_a_bug(monkeypatch: pytest.MonkeyPatch) -> None:
    made = transform()
    monkeypatch.setattr(made._looker._decoder, "decode", lambda _: 1 / 0)
    entries = made(chunk(b"{}", b"", b"{}"))
    assert only(entries)[1] == [b"{}", b"{}"]
    assert (entries.dropped, entries.lines, entries.parse_failures) == ({"empty": 1}, 3, 3)
