"""The decisions of the Loki stand-in, with time as an argument."""

import pytest

from agent import wire
from agent.demo.ingest import ACCEPTED, Ingest, byte_size, go_time, rfc3339
from agent.demo.limits import MIB, SECOND_NS, Limits
from agent.demo.store import StoredEntry
from agent.wire import Push

NOW = 1_795_000_000 * SECOND_NS
HOUR = 3600 * SECOND_NS


def push(*entries: tuple[int, bytes], labels: str = '{job="j"}', metadata: bytes = b"") -> Push:
    return Push(labels, [NOW + at for at, _ in entries], [line for _, line in entries], [metadata] * len(entries))


def lines(ingest: Ingest, user: str = "fake") -> list[bytes]:
    return [entry.line for stream in ingest.tenant(user).streams.values() for entry in stream.visible()]


@pytest.mark.parametrize(
    ("at", "stored"),
    [
        (-7 * 24 * HOUR, True),
        (-7 * 24 * HOUR - 1, False),
        (600 * SECOND_NS, True),
        (600 * SECOND_NS + 1, False),
    ],
)
def test_seven_days_back_and_ten_minutes_ahead_are_the_ends(at: int, stored: bool) -> None:
    ingest = Ingest()
    status, _ = ingest.push("fake", [push((at, b"line"))], NOW)
    assert (status, len(lines(ingest))) == ((204, 1) if stored else (400, 0))


@pytest.mark.parametrize(("at", "stored"), [(-HOUR, True), (-HOUR - 1, False)])
def test_an_hour_behind_the_newest_is_the_end_of_the_window(at: int, stored: bool) -> None:
    ingest = Ingest()
    assert ingest.push("fake", [push((0, b"newest"))], NOW) == ACCEPTED
    status, _ = ingest.push("fake", [push((at, b"line"))], NOW)
    assert status == (204 if stored else 400)


def test_too_far_behind_says_who_when_and_how_many() -> None:
    ingest = Ingest()
    ingest.push("fake", [push((0, b"newest"))], NOW)
    status, text = ingest.push("fake", [push((-2 * HOUR + 5, b"old"), (1, b"new"))], NOW)
    assert status == 400
    assert text == (
        "entry with timestamp 2026-11-18 09:06:40.000000005 +0000 UTC ignored, reason: 'entry too far behind, entry timestamp "
        "is: 2026-11-18T09:06:40Z, oldest acceptable timestamp is: 2026-11-18T10:06:40Z',\n"
        'user \'fake\', total ignored: 1 out of 2 for stream: {job="j", service_name="j"}'
    )
    assert lines(ingest) == [b"newest", b"new"]
    assert ingest.discarded == {"too_far_behind": 1}


def test_a_future_line_moves_the_window_forward() -> None:
    ingest = Ingest()
    ingest.push("fake", [push((500 * SECOND_NS, b"future"))], NOW)
    assert ingest.push("fake", [push((500 * SECOND_NS - HOUR - 1, b"late"))], NOW)[0] == 400


def test_a_tenant_over_its_rate_loses_nothing_but_time() -> None:
    ingest = Ingest(Limits(max_ingester_message_bytes=100 * MIB))
    whole = push(*((n, bytes([n]) * 250_000) for n in range(25)))
    assert ingest.push("fake", [whole], NOW) == ACCEPTED
    again = push(*((n, bytes([n]) * 250_000) for n in range(30, 45)))
    status, text = ingest.push("fake", [again], NOW)
    assert status == 429
    assert text == (
        "ingestion rate limit exceeded for user fake (limit: 4194304 bytes/sec) while attempting to ingest '15' lines totaling "
        "'3750000' bytes, reduce log volume or contact your Loki administrator to see if the limit can be increased"
    )
    assert len(lines(ingest)) == 25
    assert ingest.push("fake", [again], NOW + SECOND_NS) == ACCEPTED


def test_one_tenants_rate_is_not_anothers() -> None:
    ingest = Ingest(Limits(tenant_rate=10, tenant_burst=10))
    assert ingest.push("a", [push((0, b"x" * 10))], NOW) == ACCEPTED
    assert ingest.push("a", [push((1, b"x" * 10))], NOW)[0] == 429
    assert ingest.push("b", [push((0, b"x" * 10))], NOW) == ACCEPTED


def test_metadata_counts_towards_the_rate() -> None:
    ingest = Ingest(Limits(tenant_rate=10, tenant_burst=10))
    assert ingest.push("fake", [push((0, b"12345"), metadata=wire.encode_metadata([(b"abc", b"def")]))], NOW)[0] == 429


def test_a_stream_over_its_rate_is_refused_whole_and_can_be_sent_again() -> None:
    ingest = Ingest(Limits(stream_rate=1024, stream_burst=1000))
    entries = push(*((n, b"x" * 100 + bytes([n])) for n in range(9)))
    assert ingest.push("fake", [entries], NOW) == ACCEPTED
    later = push((20, b"y" * 99), (21, b"z"))
    status, text = ingest.push("fake", [later], NOW)
    assert status == 429
    assert (
        "reason: 'Per stream rate limit exceeded (limit: 1KB/sec) while attempting to ingest for stream "
        '\'{job="j", service_name="j"}\' totaling 99B, consider splitting a stream via additional labels or contact'
    ) in text
    assert text.endswith('total ignored: 2 out of 2 for stream: {job="j", service_name="j"}')
    assert ingest.accepted == 9
    assert ingest.push("fake", [later], NOW + SECOND_NS) == ACCEPTED


def test_the_last_stream_speaks_for_all() -> None:
    ingest = Ingest(Limits(max_streams=1))
    first, second = push((0, b"a"), labels='{job="a"}'), push((0, b"b"), labels='{job="b"}')
    ingest.push("fake", [first], NOW)
    assert ingest.push("fake", [second, first], NOW) == ACCEPTED
    assert ingest.discarded == {"stream_limit": 1}
    status, text = ingest.push("fake", [first, second], NOW)
    assert status == 429
    assert text == (
        'maximum active stream limit exceeded when trying to create stream {job="b", service_name="b"}, reduce the number of '
        "active streams (reduce labels or reduce label values), or contact your Loki administrator to see if the limit can be "
        "increased, user: 'fake'"
    )


def test_an_ingester_error_hides_a_validation_error() -> None:
    ingest = Ingest()
    ingest.push("fake", [push((0, b"newest"))], NOW)
    status, text = ingest.push("fake", [push((-2 * HOUR, b"behind"), (HOUR, b"future"))], NOW)
    assert status == 400
    assert "too far behind" in text
    assert "too new" not in text


def test_different_problems_are_listed_with_their_numbers() -> None:
    status, text = Ingest().push("fake", [push((HOUR, b"a"), (HOUR, b"b"), (0, b"x" * 262145))], NOW)
    stream = '{job="j", service_name="j"}'
    assert status == 400
    assert text == (
        f"2 errors like: entry for stream '{stream}' has timestamp too new: 2026-11-18T12:06:40Z; "
        f"1 errors like: max entry size '262144' bytes exceeded for stream '{stream}' "
        "while adding an entry with length '262145' bytes"
    )


def test_an_ingester_takes_four_mebibytes_with_what_loki_adds() -> None:
    ingest = Ingest(Limits(max_ingester_message_bytes=1000))
    assert ingest.push("fake", [push((0, b"x" * 953))], NOW) == ACCEPTED
    status, text = ingest.push("fake", [push((1, b"x" * 954))], NOW)
    assert (status, text) == (
        500,
        "rpc error: code = ResourceExhausted desc = grpc: received message larger than max (1001 vs. 1000)",
    )


def test_poison_in_an_entry_that_is_refused_anyway_harms_nobody() -> None:
    ingest = Ingest()
    poison = wire.encode_metadata([(b"", b"v")])
    assert ingest.push("fake", [push((HOUR, b"x"), metadata=poison), push((0, b"y"))], NOW)[0] == 400
    assert ingest.push("fake", [push((0, b"x"), metadata=poison), push((0, b"z"))], NOW) == (500, "label name is empty")
    assert lines(ingest) == [b"y"]


def test_repeats_are_counted_and_not_shown() -> None:
    ingest = Ingest()
    body = push((0, b"a"), (1, b"b"), (2, b"c"))
    for _ in range(3):
        assert ingest.push("fake", [body], NOW) == ACCEPTED
    assert (ingest.accepted, ingest.repeats) == (3, 6)
    assert lines(ingest) == [b"a", b"b", b"c"]


def test_entries_keep_the_order_of_their_first_acceptance() -> None:
    ingest = Ingest()
    ingest.push("fake", [push((5, b"first"))], NOW)
    ingest.push("fake", [push((3, b"second"), (5, b"first"), (4, b"third"))], NOW)
    assert lines(ingest) == [b"first", b"second", b"third"]


def test_a_listener_hears_new_entries_once() -> None:
    ingest = Ingest()
    heard: list[tuple[str, list[bytes]]] = []
    ingest.on_entries = lambda labels, entries: heard.append((labels, [e.line for e in entries]))
    ingest.push("fake", [push((0, b"a"))], NOW)
    ingest.push("fake", [push((0, b"a"), (1, b"b"))], NOW)
    ingest.push("fake", [push((0, b"a"))], NOW)
    assert heard == [('{job="j", service_name="j"}', [b"a"]), ('{job="j", service_name="j"}', [b"b"])]


@pytest.mark.parametrize(
    ("line", "sent", "level"),
    [
        (b'{"level":"WARNING"}', (), b"warn"),
        (b"no level here", (), b"unknown"),
        (b"info before error", (), b"info"),
        (b"error", ((b"detected_level", b"fatal"),), b"fatal"),
    ],
)
def test_the_level_is_found_when_asked_for(line: bytes, sent: tuple[tuple[bytes, bytes], ...], level: bytes) -> None:
    ingest = Ingest(Limits(detect_level=True))
    ingest.push("fake", [push((0, line), metadata=wire.encode_metadata(sent))], NOW)
    (entry,) = ingest.tenant("fake").streams['{job="j", service_name="j"}'].visible()
    assert entry == StoredEntry(entry.labels, NOW, line, ((b"detected_level", level),))


@pytest.mark.parametrize(
    ("timestamp_ns", "short", "long"),
    [
        (0, "1970-01-01T00:00:00Z", "1970-01-01 00:00:00 +0000 UTC"),
        (1_500_000_000, "1970-01-01T00:00:01Z", "1970-01-01 00:00:01.5 +0000 UTC"),
        (-1, "1969-12-31T23:59:59Z", "1969-12-31 23:59:59.999999999 +0000 UTC"),
        (-62_135_596_800 * SECOND_NS, "0001-01-01T00:00:00Z", "0001-01-01 00:00:00 +0000 UTC"),
        (10**30, "9999-12-31T23:59:59Z", "9999-12-31 23:59:59 +0000 UTC"),
    ],
)
def test_times_are_written_as_go_writes_them(timestamp_ns: int, short: str, long: str) -> None:
    assert (rfc3339(timestamp_ns), go_time(timestamp_ns)) == (short, long)


@pytest.mark.parametrize(("count", "text"), [(0, "0B"), (401, "401B"), (3 * MIB, "3MB"), (1536 * 1024, "1536KB")])
def test_sizes_are_written_as_datasize_writes_them(count: int, text: str) -> None:
    assert byte_size(count) == text
