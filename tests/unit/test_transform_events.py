"""agent.transform.events: lines that are one event become one entry, each redacted as if it stood alone."""

from dataclasses import replace

import pytest

from agent import config
from agent.batch.batcher import Batcher
from agent.model import Chunk, FileId, Origin, Position, Span
from agent.transform.chain import Transform
from agent.transform.events import gather
from agent.transform.redact import Redactor

ORIGIN = Origin("app", "/a.log")
LINES = ["Traceback (most recent call last):", "  send('joe@example.org')", "  password=hunter2secret", "ValueError"]
KEY = ["-----BEGIN RSA PRIVATE KEY-----", "MIIEpAIBAAKCAQEA7bq", "-----END RSA PRIVATE KEY-----"]


def chunk(lines: list[str], counts: tuple[int, ...] | None) -> Chunk:
    data = "".join(line + "\n" for line in lines).encode()
    after = Position(len(data), 0, b"", b"", 0, ORIGIN)
    return Chunk(ORIGIN, Span(FileId(1, 2), 0, after), data, 1_763_461_800 * 10**9, line_counts=counts)


@pytest.fixture
def transform(redactor: Redactor) -> Transform:
    return Transform(config.Parse(), config.Labels(), config.Metadata(), redactor, host="h")


def test_an_event_is_redacted_line_by_line_and_sent_as_one(transform: Transform) -> None:
    lines = [*LINES, "plain", *KEY]
    alone = [line for stream in transform(chunk(lines, None)).streams for line in stream.lines]
    together = transform(chunk(lines, (4, 1, 3)))
    (stream,) = together.streams
    assert stream.lines == [b"\n".join(alone[:4]), alone[4], b"\n".join(alone[5:])]
    text = b"".join(stream.lines)
    assert not any(secret in text for secret in (b"joe@", b"hunter2", b"MIIEp"))
    assert (together.lines, together.entries, sum(together.parsed.values())) == (3, 3, 3)


def test_an_empty_event_is_dropped_and_an_empty_line_in_an_event_is_not(transform: Transform) -> None:
    made = transform(chunk(["", "one", "", "two"], (1, 3)))
    (stream,) = made.streams
    assert stream.lines == [b"one\n\ntwo"]
    assert made.dropped == {"empty": 1}


def test_a_line_that_a_rule_orders_out_leaves_its_event_and_an_event_without_lines_goes() -> None:
    lines = [b"a1", b"a2", b"a3", b"b1", b"b2"]
    assert gather(list(lines), (3, 2), [1], {}) == ([b"a1\na3", b"b1\nb2"], [], {})
    assert gather(list(lines), (3, 2), [3, 4], {}) == ([b"a1\na2\na3", b""], [1], {})
    assert gather(list(lines), (3, 2), [], {0: "email", 2: "email,card", 4: "card"})[2] == {0: "email,card", 1: "card"}


def test_a_chunk_that_ends_an_earlier_generation_moves_both_files_in_one_batch(transform: Transform) -> None:
    earlier, later = FileId(1, 1), FileId(1, 2)

    def span(file: FileId, start: int, end: int) -> Span:
        return Span(file, start, Position(end, 0, b"", b"", 0, ORIGIN))

    batcher = Batcher(config.Batch())
    for made in (
        replace(chunk(["before"], None), span=span(earlier, 0, 7)),
        replace(chunk(["joined"], None), span=span(later, 0, 9), also=(span(earlier, 7, 20),)),
    ):
        batcher.add(transform(made), now=0)
    (batch,) = batcher.flush()
    assert {span.file: (span.start, span.after.offset) for span in batch.spans} == {earlier: (0, 20), later: (0, 9)}
    assert batch.entries == 2
