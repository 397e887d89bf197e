"""What the agent relies on Loki for, asked of the stand-in and, with LOKI_URL set, of a real Loki with default limits.

`-m real_loki` runs the second half. Each test has its own stream, so they may share a server. The cases are those that were
read in Loki 3.7 and seen against it; a difference here means the stand-in lies, or Loki has changed.
"""

import os
import re
import time
import uuid
import zlib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass

import aiohttp
import cramjam
import orjson
import pytest

from agent import wire
from agent.demo.loki import LokiStandIn

SECOND = 10**9
HOUR = 3600 * SECOND
PROTOBUF = {"Content-Type": "application/x-protobuf", "Content-Encoding": "snappy"}
REAL_LOKI = os.environ.get("LOKI_URL", "")

Entry = tuple[int, str] | tuple[int, str, Mapping[str, str]]
Row = tuple[int, str, dict[str, str]]


@dataclass(frozen=True)
class Target:
    """A Loki and a stream of this test in it."""

    session: aiohttp.ClientSession
    url: str
    labels: dict[str, str]
    now_ns: int

    def selector(self, **more: str) -> str:
        return wire.format_labels({**self.labels, **more})

    async def send(self, body: bytes, headers: Mapping[str, str] = PROTOBUF) -> tuple[int, str]:
        async with self.session.post(
            f"{self.url}/loki/api/v1/push", data=body, headers=headers, skip_auto_headers=["Content-Type"]
        ) as reply:
            return reply.status, await reply.text(errors="replace")  # Loki echoes bytes it could not read

    async def push(self, entries: Sequence[Entry], **more: str) -> tuple[int, str]:
        return await self.send(compress(stream(self.selector(**more), entries)))

    async def query(self, flags: str = "categorize-labels", **parameters: object) -> tuple[int, str]:
        asked = {"query": self.selector(), "limit": 5000, "direction": "forward", **parameters}
        asked.setdefault("start", self.now_ns - 100 * HOUR)
        asked.setdefault("end", self.now_ns + HOUR)
        headers = {"X-Loki-Response-Encoding-Flags": flags} if flags else {}
        async with self.session.get(f"{self.url}/loki/api/v1/query_range", params=asked, headers=headers) as reply:
            return reply.status, await reply.text(errors="replace")  # Loki echoes bytes it could not read

    async def rows(self, **parameters: object) -> list[Row]:
        """(timestamp, line, metadata) over all result streams, by time; without the level Loki detects."""
        status, text = await self.query(**parameters)
        assert status == 200, text
        found = []
        for result in orjson.loads(text)["data"]["result"]:
            for timestamp, line, extra in result["values"]:
                metadata = dict(extra.get("structuredMetadata", {}))
                metadata.pop("detected_level", None)
                found.append((int(timestamp), line, metadata))
        return sorted(found, key=lambda row: row[0])

    async def lines(self, **parameters: object) -> list[str]:
        return [line for _, line, _ in await self.rows(**parameters)]


def stream(labels: str, entries: Sequence[Entry]) -> bytes:
    """A PushRequest; several, one behind the other, are one request with several streams."""
    metadata = [
        wire.encode_metadata([(n.encode(), v.encode()) for n, v in entry[2].items()]) if len(entry) == 3 else b""
        for entry in entries
    ]
    return wire.encode_protobuf(labels, [e[0] for e in entries], [e[1].encode() for e in entries], metadata)


def compress(*streams: bytes) -> bytes:
    return bytes(cramjam.snappy.compress_raw(b"".join(streams)))


@pytest.fixture(params=["stand_in", pytest.param("real", marks=pytest.mark.real_loki)])
async def loki(request: pytest.FixtureRequest) -> AsyncIterator[Target]:
    labels = {"job": "contract", "test": uuid.uuid4().hex}
    async with aiohttp.ClientSession() as session:
        if request.param == "real":
            if not REAL_LOKI:
                pytest.skip("LOKI_URL is not set")
            yield Target(session, REAL_LOKI.rstrip("/"), labels, time.time_ns())
            return
        async with LokiStandIn() as stand_in:
            yield Target(session, stand_in.url, labels, time.time_ns())


# --- what is accepted -----------------------------------------------------------------------------------------------


async def test_an_accepted_entry_is_in_the_next_query_with_its_metadata(loki: Target) -> None:
    entry = (loki.now_ns, "line", {"request_id": "r1", "trace_id": "t1"})
    assert await loki.push([entry]) == (204, "")
    assert await loki.rows() == [entry]


async def test_without_the_flag_metadata_is_merged_into_the_result_labels(loki: Target) -> None:
    await loki.push([(loki.now_ns, "one", {"request_id": "r1"}), (loki.now_ns + 1, "two", {"request_id": "r2"})])
    _, text = await loki.query(flags="")
    results = orjson.loads(text)["data"]["result"]
    assert sorted(result["stream"]["request_id"] for result in results) == ["r1", "r2"]
    assert all(len(value) == 2 for result in results for value in result["values"])


async def test_a_stream_gets_a_service_name_from_its_other_labels(loki: Target) -> None:
    await loki.push([(loki.now_ns, "line")])
    _, text = await loki.query()
    assert orjson.loads(text)["data"]["result"][0]["stream"]["service_name"] == "contract"


async def test_the_order_and_spacing_of_labels_make_no_other_stream(loki: Target) -> None:
    text = loki.selector()
    turned = "{ " + " ,".join(reversed(text[1:-1].split(", "))) + " , }"
    assert (await loki.send(compress(stream(text, [(loki.now_ns, "same")]))))[0] == 204
    assert (await loki.send(compress(stream(turned, [(loki.now_ns, "same")]))))[0] == 204
    assert await loki.lines() == ["same"]


async def test_a_body_sent_again_shows_once(loki: Target) -> None:
    entries = [(loki.now_ns + n, f"line {n}", {"request_id": str(n)}) for n in range(200)]
    for _ in range(3):
        assert await loki.push(entries) == (204, "")
    assert await loki.lines() == [f"line {n}" for n in range(200)]


async def test_identical_entries_of_one_body_collapse_and_a_nanosecond_keeps_them_apart(loki: Target) -> None:
    await loki.push([(loki.now_ns, "tie"), (loki.now_ns, "tie"), (loki.now_ns + 1, "tie")])
    assert await loki.lines() == ["tie", "tie"]


async def test_metadata_is_part_of_an_entrys_identity(loki: Target) -> None:
    await loki.push([(loki.now_ns, "line", {"request_id": "a"}), (loki.now_ns, "line", {"request_id": "b"})])
    assert len(await loki.rows()) == 2


async def test_metadata_order_is_no_part_of_it(loki: Target) -> None:
    await loki.push([(loki.now_ns, "line", {"a": "1", "b": "2"})])
    await loki.push([(loki.now_ns, "line", {"b": "2", "a": "1"})])
    assert len(await loki.rows()) == 1


async def test_metadata_names_are_normalised(loki: Target) -> None:
    await loki.push([(loki.now_ns, "line", {"a.b-c": "1", "9x": "2"})])
    assert await loki.rows() == [(loki.now_ns, "line", {"a_b_c": "1", "key_9x": "2"})]


async def test_lines_of_any_bytes_and_none_are_stored(loki: Target) -> None:
    body = wire.encode_protobuf(loki.selector(), [loki.now_ns, loki.now_ns + 1], [b"a\xff\x00b", b""], [b"", b""])
    assert (await loki.send(compress(body)))[0] == 204
    assert await loki.lines() == ["a\ufffd\x00b", ""]


async def test_a_line_of_exactly_the_limit_is_stored(loki: Target) -> None:
    assert await loki.push([(loki.now_ns, "x" * 262144)]) == (204, "")


async def test_entries_up_to_an_hour_behind_the_newest_are_stored_in_order_of_time(loki: Target) -> None:
    newest, near = loki.now_ns, loki.now_ns - HOUR + SECOND
    assert await loki.push([(newest, "newest"), (near, "near")]) == (204, "")
    assert await loki.lines() == ["near", "newest"]


async def test_a_new_stream_may_begin_six_days_ago(loki: Target) -> None:
    assert await loki.push([(loki.now_ns - 6 * 24 * HOUR, "old")]) == (204, "")


async def test_a_stream_without_entries_is_accepted_and_leaves_nothing(loki: Target) -> None:
    assert await loki.push([]) == (204, "")
    assert await loki.rows() == []


# --- what is refused ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Refusal:
    """An entry or labels that Loki refuses. `text` is a regular expression."""

    name: str
    status: int
    text: str
    age_ns: int = 0
    line: str = "bad"
    metadata: tuple[tuple[str, str], ...] = ()
    more_labels: tuple[tuple[str, str], ...] = ()


REFUSALS = [
    Refusal("too_old", 400, r"has timestamp too old: \S+Z, oldest acceptable timestamp is: \S+Z", age_ns=169 * HOUR),
    Refusal("too_new", 400, r"has timestamp too new: \S+Z", age_ns=-HOUR // 4),
    Refusal(
        "line_too_long",
        400,
        r"max entry size '262144' bytes exceeded for stream '\{.*\}' while adding an entry with length '262145' bytes",
        line="x" * 262145,
    ),
    Refusal(
        "metadata_too_many",
        400,
        r"has too many structured metadata labels: '129', limit: '128'",
        metadata=tuple((f"n{n}", "v") for n in range(129)),
    ),
    Refusal(
        "metadata_too_large",
        400,
        r"has structured metadata too large: '65537' bytes, limit: '65536' bytes",
        metadata=(("n", "v" * 65536),),
    ),
    Refusal(
        "labels_too_many",
        400,
        r"entry for stream '\{.*\}' has 16 label names; limit 15",
        more_labels=tuple((f"l{n}", "v") for n in range(13)),
    ),
    Refusal("label_name_too_long", 400, r"has label name too long: 'n{1025}'", more_labels=(("n" * 1025, "v"),)),
    Refusal("label_value_too_long", 400, r"has label value too long: 'v{2049}'", more_labels=(("n", "v" * 2049),)),
]


@pytest.mark.parametrize("case", REFUSALS, ids=lambda case: case.name)
async def test_what_is_refused_is_named_and_the_good_entry_beside_it_is_stored(loki: Target, case: Refusal) -> None:
    good = stream(loki.selector(kind="good"), [(loki.now_ns, "good")])
    bad_labels = loki.selector(kind="bad", **dict(case.more_labels))
    bad = stream(bad_labels, [(loki.now_ns - case.age_ns, case.line, dict(case.metadata))])
    status, text = await loki.send(compress(bad, good))
    assert status == case.status
    assert re.search(case.text, text)
    assert await loki.lines() == ["good"]


async def test_a_label_given_twice_refuses_its_stream(loki: Target) -> None:
    doubled = loki.selector()[:-1] + ', test="again"}'
    status, text = await loki.send(compress(stream(doubled, [(loki.now_ns, "line")])))
    assert status == 400
    assert "has duplicate label name: 'test'" in text


async def test_equal_problems_are_counted_together(loki: Target) -> None:
    entries: list[Entry] = [(loki.now_ns - 169 * HOUR, f"old {n}") for n in range(3)]
    status, text = await loki.push(entries)
    assert status == 400
    assert text.startswith("3 errors like: entry for stream ")
    assert text.endswith("\n")


@pytest.mark.parametrize(
    ("labels", "problem"),
    [
        ('{a-b="x"}', "1:3: parse error: unexpected character inside braces: '-'"),
        ('{9a="x"}', "1:2: parse error: unexpected character inside braces: '9'"),
        ('{a.b="x"}', "1:3: parse error: unexpected character inside braces: '.'"),
        ('{a="x"', ""),
    ],
)
async def test_labels_that_cannot_be_parsed_refuse_the_whole_request(loki: Target, labels: str, problem: str) -> None:
    good = stream(loki.selector(), [(loki.now_ns, "good")])
    status, text = await loki.send(compress(good, stream(labels, [(loki.now_ns, "bad")])))
    assert status == 400
    assert text.startswith("couldn't parse labels: ")
    assert problem in text
    assert await loki.rows() == []


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("", "label name is empty"),
        ("_", 'normalization for label name "_" resulted in invalid name "_"'),
        ("日本", 'resulted in invalid name "_"'),
        ("--", 'resulted in invalid name "_"'),
    ],
)
async def test_a_poisonous_metadata_name_fails_the_whole_request(loki: Target, name: str, text: str) -> None:
    good = stream(loki.selector(), [(loki.now_ns, "good")])
    bad = stream(loki.selector(kind="bad"), [(loki.now_ns, "bad", {name: "v"})])
    status, answer = await loki.send(compress(good, bad))
    assert status == 500
    assert text in answer
    assert await loki.rows() == []


async def test_too_far_behind_is_counted_and_the_rest_is_stored(loki: Target) -> None:
    await loki.push([(loki.now_ns, "newest")])
    behind: list[Entry] = [(loki.now_ns - 2 * HOUR - n, f"behind {n}") for n in range(12)]
    status, text = await loki.push([*behind, (loki.now_ns + 1, "good")])
    assert status == 400
    assert text.count("ignored, reason: 'entry too far behind, entry timestamp is: ") == 10
    assert "total ignored: 12 out of 13 for stream: {" in text
    assert await loki.lines() == ["newest", "good"]


async def test_a_204_hides_what_an_earlier_stream_of_the_request_lost(loki: Target) -> None:
    await loki.push([(loki.now_ns, "newest")], kind="a")
    lost = stream(loki.selector(kind="a"), [(loki.now_ns - 2 * HOUR, "lost")])
    good = stream(loki.selector(kind="b"), [(loki.now_ns, "good")])
    assert await loki.send(compress(lost, good)) == (204, "")
    assert "lost" not in await loki.lines()
    status, text = await loki.send(compress(good, lost))
    assert status == 400
    assert "too far behind" in text


async def test_more_than_four_mebibytes_are_refused_with_500_whole(loki: Target) -> None:
    status, text = await loki.push([(loki.now_ns + n, f"{n:x<250000}") for n in range(18)])
    assert status == 500
    assert re.search(r"ResourceExhausted desc = grpc: received message larger than max \(\d+ vs. 4194304\)", text)
    assert await loki.rows() == []


async def test_more_than_the_burst_is_429_and_hides_every_other_problem(loki: Target) -> None:
    too_old = stream(loki.selector(kind="old"), [(loki.now_ns - 169 * HOUR, "old")])
    large = stream(loki.selector(), [(loki.now_ns + n, f"{n:x<250000}") for n in range(26)])
    status, text = await loki.send(compress(too_old, large))
    assert status == 429
    assert re.match(
        r"ingestion rate limit exceeded for user fake \(limit: 4194304 bytes/sec\) while attempting to ingest "
        r"'26' lines totaling '6500000' bytes, reduce log volume",
        text,
    )
    assert await loki.rows() == []


async def test_a_request_without_streams_is_422(loki: Target) -> None:
    assert await loki.send(compress(b"")) == (422, "error at least one valid stream is required for ingestion\n")


# --- bodies and routes ----------------------------------------------------------------------------------------------


def json_body(loki: Target, *value: object) -> bytes:
    return orjson.dumps({"streams": [{"stream": loki.labels, "values": [[str(loki.now_ns), "line", *value]]}]})


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


def gzipped(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=31)
    return packer.compress(data) + packer.flush()


@pytest.mark.parametrize(
    ("encoding", "pack", "status", "text"),
    [
        ("", bytes, 204, ""),
        ("gzip", gzipped, 204, ""),
        ("deflate", raw_deflate, 204, ""),
        ("deflate", zlib.compress, 400, ""),
        ("snappy", bytes, 204, ""),
        ("zstd", bytes, 400, 'Content-Encoding "zstd" not supported'),
        ("br", bytes, 400, 'Content-Encoding "br" not supported'),
        ("GZIP", gzipped, 400, 'Content-Encoding "GZIP" not supported'),
    ],
)
async def test_json_comes_plain_or_in_the_few_encodings(loki: Target, encoding, pack, status, text) -> None:
    headers = {"Content-Type": "application/json; charset=utf-8"} | ({"Content-Encoding": encoding} if encoding else {})
    answered, answer = await loki.send(pack(json_body(loki, {"request_id": "r"})), headers)
    assert answered == status, answer
    assert text in answer
    assert [metadata for _, _, metadata in await loki.rows()] == ([{"request_id": "r"}] if status == 204 else [])


@pytest.mark.parametrize("value", [{"n": 1}, {"n": True}, {"n": {"m": "x"}}, "text", [1]])
async def test_json_metadata_must_be_flat_text(loki: Target, value: object) -> None:
    assert (await loki.send(json_body(loki, value), {"Content-Type": "application/json"}))[0] == 400
    assert await loki.rows() == []


@pytest.mark.parametrize("timestamp", [1_700_000_000_000_000_000, "2026-01-01T00:00:00Z", "1.5", "", None])
async def test_json_timestamps_must_be_integers_in_text(loki: Target, timestamp: object) -> None:
    good = [str(loki.now_ns), "good"]
    body = orjson.dumps({"streams": [{"stream": loki.labels, "values": [good, [timestamp, "bad"]]}]})
    assert (await loki.send(body, {"Content-Type": "application/json"}))[0] == 400
    assert await loki.rows() == []


async def test_json_ignores_a_fourth_element(loki: Target) -> None:
    assert (await loki.send(json_body(loki, {}, "more"), {"Content-Type": "application/json"}))[0] == 204


@pytest.mark.parametrize(
    ("headers", "status", "text"),
    [
        ({"Content-Type": "application/x-protobuf"}, 204, ""),
        ({"Content-Type": "text/plain"}, 204, ""),
        ({"Content-Type": "application/octet-stream", "Content-Encoding": "snappy"}, 204, ""),
        ({}, 400, "mime: no media type"),
        ({"Content-Type": "application/json"}, 400, ""),
    ],
)
async def test_any_named_type_but_json_is_protobuf(loki: Target, headers, status, text) -> None:
    answered, answer = await loki.send(compress(stream(loki.selector(), [(loki.now_ns, "line")])), headers)
    assert answered == status
    assert text in answer


@pytest.mark.parametrize("pack", [bytes, gzipped, lambda data: bytes(cramjam.snappy.compress(data))])
async def test_protobuf_without_block_snappy_is_corrupt(loki: Target, pack) -> None:
    body = pack(stream(loki.selector(), [(loki.now_ns, "a line of some length")]))
    assert await loki.send(body, {"Content-Type": "application/x-protobuf"}) == (400, "snappy: corrupt input\n")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/loki/api/v1/push", 405),
        ("POST", "/loki/api/v1/push/", 404),
        ("GET", "/nowhere", 404),
        ("GET", "/ready", 200),
    ],
)
async def test_routes_answer_as_loki_does(loki: Target, method: str, path: str, status: int) -> None:
    async with loki.session.request(method, loki.url + path) as reply:
        assert reply.status == status
        assert await reply.text() == {404: "404 page not found\n", 405: "", 200: "ready\n"}[status]


# --- queries --------------------------------------------------------------------------------------------------------


async def test_a_window_includes_its_start_and_excludes_its_end(loki: Target) -> None:
    await loki.push([(loki.now_ns + n, str(n)) for n in range(5)])
    assert await loki.lines(start=loki.now_ns + 1, end=loki.now_ns + 3) == ["1", "2"]


async def test_disjoint_windows_together_give_every_entry_once(loki: Target) -> None:
    await loki.push([(loki.now_ns + n, str(n)) for n in range(100)])
    windows = [await loki.lines(start=loki.now_ns + n, end=loki.now_ns + n + 7) for n in range(0, 100, 7)]
    assert [line for window in windows for line in window] == [str(n) for n in range(100)]


@pytest.mark.parametrize(("direction", "lines"), [("forward", ["0", "1"]), ("backward", ["8", "9"])])
async def test_the_limit_keeps_the_first_in_the_direction(loki: Target, direction: str, lines: list[str]) -> None:
    await loki.push([(loki.now_ns + n, str(n)) for n in range(10)])
    assert await loki.lines(limit=2, direction=direction) == lines


async def test_too_high_a_limit_is_refused(loki: Target) -> None:
    status, text = await loki.query(limit=5001)
    assert status == 400
    assert "max entries limit per query exceeded, limit > max_entries_limit_per_query (5001 > 5000)" in text


async def test_selectors_and_line_filters_choose(loki: Target) -> None:
    await loki.push([(loki.now_ns, "red one"), (loki.now_ns + 1, "blue one")], kind="a")
    await loki.push([(loki.now_ns + 2, "red two")], kind="b")
    mine = loki.selector()[:-1]
    assert await loki.lines(query=mine + ', kind!="a"}') == ["red two"]
    assert await loki.lines(query=mine + ', kind=~"a|b"} |= "red"') == ["red one", "red two"]
    assert await loki.lines(query=mine + ', kind!~"b.*"} != "red"') == ["blue one"]
    assert await loki.lines(query=mine + '} |~ "t.o"') == ["red two"]
