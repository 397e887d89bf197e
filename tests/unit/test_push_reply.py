"""Every row of the table of replies, with Loki's own words."""

import pytest

from agent.push.reply import (
    REASONS,
    Accepted,
    Misconfigured,
    Partial,
    TooLarge,
    TryLater,
    Unacceptable,
    Verdict,
    classify,
    classify_no_reply,
    parse_retry_after,
    told,
)

STREAM = '{filename="/var/log/a.log", host="h"}'


def far_behind(stamp: str) -> str:
    return (
        f"entry with timestamp {stamp} ignored, reason: 'entry too far behind, entry timestamp is: 2025-01-02T03:04:05Z, "
        "oldest acceptable timestamp is: 2025-01-02T05:04:05Z',\n"
    )


RATE = (
    "entry with timestamp 2025-01-02 03:04:05 +0000 UTC ignored, reason: 'Per stream rate limit exceeded (limit: 3MB/sec) "
    f"while attempting to ingest for stream '{STREAM}' totaling 1MB, consider splitting a stream via additional labels',\n"
)

TABLE: list[tuple[int, str, Verdict | type]] = [
    (204, "", Accepted()),
    (200, "", Accepted()),
    (
        200,
        "<html>login</html>",
        Misconfigured("what answers is not Loki: <html>login</html> (check loki.url)", "destination", None),
    ),
    # entries refused, the rest stored
    (
        400,
        f"entry for stream '{STREAM}' has timestamp too old: 2020-01-01T00:00:00Z, oldest acceptable timestamp is: …",
        Partial("greater_than_max_sample_age"),
    ),
    (400, f"entry for stream '{STREAM}' has timestamp too new: 2040-01-01T00:00:00Z\n", Partial("too_far_in_future")),
    (
        400,
        f"max entry size '262144' bytes exceeded for stream '{STREAM}' while adding an entry with length '300000' bytes",
        Partial("line_too_long"),
    ),
    (
        400,
        f"Max entry size '262144' bytes exceeded for stream '{STREAM}' while adding an entry",
        Partial("line_too_long"),
    ),
    (
        400,
        f"stream '{STREAM}' has structured metadata too large: '70000' bytes, limit: '65536' bytes. Please see `limits`",
        Partial("structured_metadata_too_large"),
    ),
    (
        400,
        f"stream '{STREAM}' has too many structured metadata labels: '200', limit: '128'. Please see `limits_config`",
        Partial("structured_metadata_too_many"),
    ),
    (
        400,
        far_behind("2025-01-02 03:04:05.123456789 +0000 UTC")
        + f"user 'fake', total ignored: 1 out of 3 for stream: {STREAM}",
        Partial("too_far_behind", 1, 3, timestamps_ns=frozenset({1735787045123456789})),
    ),
    (
        400,
        far_behind("2025-01-02 03:04:05.5 +0000 UTC")
        + far_behind("2025-01-02 03:04:05 +0000 UTC")
        + f"user 'fake', total ignored: 2 out of 3 for stream: {STREAM}",
        Partial("too_far_behind", 2, 3, timestamps_ns=frozenset({1735787045500000000, 1735787045000000000})),
    ),
    (
        400,
        far_behind("2025-01-02 03:04:05 +0000 UTC") + f"user 'fake', total ignored: 12 out of 300 for stream: {STREAM}",
        Partial("too_far_behind", 12, 300),
    ),
    (
        400,
        f"1 errors like: entry for stream '{STREAM}' has timestamp too new: X; 3 errors like: max entry size '10' bytes …",
        Partial("too_far_in_future", 4, mixed=True),
    ),
    (400, "entry out of order\n", Partial("out_of_order")),
    # the stream refused
    (400, "error at least one label pair is required per stream\n", Partial("missing_labels", whole=True)),
    (
        400,
        f"entry for stream '{STREAM}' has 16 label names; limit 15",
        Partial("max_label_names_per_series", whole=True),
    ),
    (400, f"stream '{STREAM}' has label name too long: 'aaa'", Partial("label_name_too_long", whole=True)),
    (400, f"stream '{STREAM}' has label value too long: 'aaa'", Partial("label_value_too_long", whole=True)),
    (400, f"stream '{STREAM}' has duplicate label name: 'a'", Partial("duplicate_label_names", whole=True)),
    (
        400,
        f"missing required labels 'env' for user 'fake' for stream '{STREAM}' (policy: '')",
        Partial("missing_enforced_labels", whole=True),
    ),
    # the request refused
    (400, "snappy: corrupt input\n", Unacceptable("invalid_request")),
    (
        400,
        "couldn't parse labels: 1:3: parse error: unexpected character inside braces: '-'\n",
        Unacceptable("invalid_labels"),
    ),
    (
        400,
        'loghttp.PushRequest.Streams: ReadString: expects " or n, error found in #10 byte of …',
        Unacceptable("invalid_request"),
    ),
    (400, "error found in #10 byte of ...|<html> tenant ID per stream rate limit|...", Unacceptable("invalid_request")),
    (400, "", Unacceptable("invalid_request")),
    (422, "error at least one valid stream is required for ingestion\n", Unacceptable("invalid_request")),
    (500, "label name is empty\n", Unacceptable("invalid_metadata_name")),
    (500, 'normalization for label name "_" resulted in invalid name ""\n', Unacceptable("invalid_metadata_name")),
    # too large
    (413, "request body too large: message size too large than max (200 vs 100)\n", TooLarge()),
    (413, "<html>413 Request Entity Too Large</html>", TooLarge()),
    (400, "request body too large: 200 bytes, limit: 100 bytes", TooLarge()),
    (
        500,
        "rpc error: code = ResourceExhausted desc = grpc: received message larger than max (9 vs. 4194304)\n",
        TooLarge(),
    ),
    # limits
    (
        429,
        "ingestion rate limit exceeded for user fake (limit: 4194304 bytes/sec) while attempting to ingest '1' lines",
        TryLater("destination", None, limited=True),
    ),
    (
        429,
        RATE + f"user 'fake', total ignored: 1 out of 1 for stream: {STREAM}",
        TryLater("stream", None, limited=True),
    ),
    (
        429,
        f"maximum active stream limit exceeded when trying to create stream {STREAM}, reduce the number of active streams",
        TryLater("stream", None, limited=True),
    ),
    (
        429,
        f"Maximum active stream limit exceeded when trying to create stream {STREAM}",
        TryLater("stream", None, limited=True),
    ),
    (
        400,
        RATE
        + far_behind("2025-01-02 03:04:05 +0000 UTC")
        + f"user 'fake', total ignored: 2 out of 2 for stream: {STREAM}",
        TryLater("stream", None, limited=True),
    ),
    # later
    (500, "empty ring\n", TryLater()),
    (500, "rpc error: code = Unknown desc = Ingester is shutting down\n", TryLater()),
    (500, "rpc error: code = DeadlineExceeded desc = context deadline exceeded\n", TryLater()),
    (502, "<html>Bad Gateway</html>", TryLater()),
    (503, "The server cannot accept more requests at this time.\n", TryLater()),
    (504, "", TryLater()),
    (408, "", TryLater()),
    (499, "", TryLater()),
    # an operator
    (260, "ingestion blocked for user 'fake' until '2040-01-01T00:00:00Z' with status code '260'", Misconfigured),
    (206, "", Misconfigured),
    (301, "", Misconfigured),
    (307, "", Misconfigured),
    (400, "tenant ID 'a/b' contains unsupported character '/'\n", Misconfigured),
    (400, "tenant ID is too long: max 150 characters\n", Misconfigured),
    (400, "multiple org IDs present\n", Misconfigured),
    (400, "mime: no media type\n", Misconfigured),
    (400, 'Content-Encoding "zstd" not supported\n', Misconfigured),
    (400, "<html><title>400 The plain HTTP request was sent to HTTPS port</title></html>", Misconfigured),
    (400, "Client sent an HTTP request to an HTTPS server.\n", Misconfigured),
    (401, "no org id\n", Misconfigured),
    (403, "", Misconfigured),
    (404, "404 page not found\n", Misconfigured),
    (405, "", Misconfigured),
    (418, "I am a teapot", Misconfigured),
]


@pytest.mark.parametrize(("status", "body", "expected"), TABLE)
def test_a_reply_means(status: int, body: str, expected: Verdict | type) -> None:
    verdict = classify(status, body)
    assert verdict == expected if not isinstance(expected, type) else isinstance(verdict, expected)


@pytest.mark.parametrize(("status", "body", "expected"), TABLE)
def test_every_reason_is_in_the_closed_set(status: int, body: str, expected: object) -> None:
    verdict = classify(status, body)
    if isinstance(verdict, Partial | Unacceptable | TooLarge):
        assert verdict.reason in REASONS


def test_structured_metadata_that_is_not_allowed_holds_its_stream_and_says_how_to_allow_it() -> None:
    body = f"stream '{STREAM}' includes structured metadata, but this feature is disallowed. Please see `limits_config`"
    verdict = classify(400, body)
    assert isinstance(verdict, Misconfigured)
    assert verdict.scope == "stream"
    assert "allow_structured_metadata" in verdict.advice


def test_a_block_by_policy_concerns_its_streams_only() -> None:
    verdict = classify(260, "ingestion blocked for user 'fake' (policy: 'p') until '2040' with status code '260'")
    assert isinstance(verdict, Misconfigured)
    assert verdict.scope == "stream"


def test_advice_names_status_words_and_setting() -> None:
    verdict = classify(401, "no org id\n")
    assert isinstance(verdict, Misconfigured)
    assert verdict.advice == (
        "Loki answers 401: no org id (check loki.basic_auth, loki.bearer_token and loki.tenant_id)"
    )


def test_retry_after_is_passed_on() -> None:
    assert classify(429, "", 7.0) == TryLater("destination", 7.0, limited=True)
    assert classify(503, "", 7.0) == TryLater("destination", 7.0)
    held = classify(403, "", 7.0)
    assert isinstance(held, Misconfigured)
    assert held.retry_after_s == 7.0


def test_a_certificate_holds_and_everything_else_is_tried_again() -> None:
    assert isinstance(classify_no_reply("tls", "certificate has expired"), Misconfigured)
    for kind in ("timeout", "connect", "dns", "reset"):
        assert classify_no_reply(kind, "") == TryLater()


def test_words_for_a_message_are_one_bounded_line_without_quoted_content() -> None:
    assert told("a\nb\t c\n") == "a b c"
    assert len(told("x" * 1000)) == 300
    assert told('expects ", error found in #10 byte of ...|secret line|...') == 'expects ",'


NOW_S = 1_735_787_045.0  # Thu, 02 Jan 2025 03:04:05 GMT


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        ("7", 7.0),
        (" 1.5 ", 1.5),
        ("0", 0.0),
        ("-5", 0.0),
        ("1000000000", 600.0),
        ("inf", 600.0),
        ("nan", None),
        ("soon", None),
        ("", None),
        ("Thu, 02 Jan 2025 03:04:15 GMT", 10.0),
        ("Thu, 02 Jan 2025 03:04:15 -0000", 10.0),
        ("Thu, 02 Jan 2025 03:03:05 GMT", 0.0),
        ("Thu, 02 Jan 2055 03:03:05 GMT", 600.0),
        ("Thu, 99 Jan 2025 03:03:05 GMT", None),
    ],
)
def test_retry_after_is_seconds_or_a_date_within_bounds(value: str | None, expected: float | None) -> None:
    assert parse_retry_after(value, NOW_S) == expected


def test_a_200_that_is_cut_off_before_it_says_anything_is_not_lokis() -> None:
    assert isinstance(classify(200, " " * 65536), Misconfigured)


@pytest.mark.parametrize("count", ["9" * 5000, "9" * 10])
def test_a_count_that_nobody_has_is_none(count: str) -> None:
    for said in (
        f"entry too far behind, total ignored: {count} out of 3",
        f"{count} errors like: entry too far behind",
    ):
        assert classify(400, said) == Partial("too_far_behind")


def test_what_may_not_be_told_decides_nothing_and_is_not_told() -> None:
    said = "entry too far behind, total ignored: 1 out of 3 for stream: {}"
    assert classify(400, said, words=said.replace("entry", "[REDACTED]")) == classify(400, said)
    hold = classify(401, "no s3cr3t", words="no [REDACTED]")
    assert isinstance(hold, Misconfigured)
    assert "no [REDACTED]" in hold.advice
    assert "s3cr3t" not in hold.advice
