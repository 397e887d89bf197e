import pytest

from agent.demo.limits import SECOND_NS, Limits
from agent.demo.query import BadQuery, parameters, parse_query

NOW = 1_795_000_000 * SECOND_NS


@pytest.mark.parametrize(
    ("query", "taken"),
    [
        ('{a="1"}', True),
        ('{a="2"}', False),
        ('{a="1", b!="x"}', True),
        ('{a="1", b=""}', True),
        ('{a=~"1|2"}', True),
        ('{a=~"."}', True),
        ('{a=~"x.*"}', False),
        ('{a="1", c!~"h.*"}', False),
        ('{ a = "1" , c=`hé"llo` }', True),
        (r'{c="hé\"llo"}', True),
        ('{a="1",}', True),
    ],
)
def test_a_selector_takes_or_leaves_a_stream(query: str, taken: bool) -> None:
    assert parse_query(query).takes_stream({"a": "1", "c": 'hé"llo'}) == taken


@pytest.mark.parametrize(
    ("filters", "taken"),
    [
        ("", True),
        ('|= "world"', True),
        ('|="hello" != "world"', False),
        ('|~ "w.r" !~ "^w"', True),
        ('!= "mars" |= `hello`', True),
    ],
)
def test_line_filters_take_or_leave_a_line(filters: str, taken: bool) -> None:
    assert parse_query('{a="1"} ' + filters).takes_line(b"hello world") == taken


@pytest.mark.parametrize(
    "query",
    ["", "a", "{", '{a="1"', "{a=1}", '{a="1"} | json', '{a="1" b="2"}', "{}", '{a=~".*"}', '{a!="1"}', '{a=~"("}'],
)
def test_what_loki_would_not_run_is_refused(query: str) -> None:
    with pytest.raises(BadQuery):
        parse_query(query)


@pytest.mark.parametrize(
    ("text", "ns"),
    [
        ("1795000000", NOW),
        ("1795000000000000001", NOW + 1),
        ("1795000000.5", NOW + SECOND_NS // 2),
        ("2026-11-18T11:06:40Z", NOW),
        ("2026-11-18T12:06:40+01:00", NOW),
    ],
)
def test_times_come_in_all_forms_loki_takes(text: str, ns: int) -> None:
    asked = {"query": '{a="1"}', "start": "0", "end": text}
    wide = Limits(max_query_range_ns=1 << 63)
    assert parameters(asked, "", wide, NOW).end_ns == ns


def test_without_times_the_last_hour_is_asked() -> None:
    found = parameters({"query": '{a="1"}'}, "", Limits(), NOW)
    assert (found.start_ns, found.end_ns, found.limit, found.forward) == (NOW - 3600 * SECOND_NS, NOW, 100, False)


@pytest.mark.parametrize(
    ("more", "text"),
    [
        ({"limit": "5001"}, r"\(5001 > 5000\)"),
        ({"limit": "x"}, "ParseUint"),
        ({"limit": "0"}, "positive"),
        ({"start": "5", "end": "5"}, "end timestamp"),
        ({"start": "0"}, "the query time range exceeds the limit"),
        ({"direction": "up"}, "direction"),
        ({"start": "yesterday"}, "could not parse"),
    ],
)
def test_bad_parameters_are_refused(more: dict[str, str], text: str) -> None:
    with pytest.raises(BadQuery, match=text):
        parameters({"query": '{a="1"}', **more}, "", Limits(), NOW)
