"""The Redactor as the agent uses it: chunks, lines, settings, and what happens when it cannot decide."""

from __future__ import annotations

import json
import os
import random
import re
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import BaseModel, Field, SecretStr, ValidationError

from agent import config
from agent.keys import own_secrets
from agent.transform.redact import BadRule, Redactor
from agent.transform.redaction import samples

KEY = b"0123456789abcdef0123456789abcdef"


def build(own_secrets: tuple[str, ...] = (), **settings) -> Redactor:
    """With the stdlib's finder, which is made in no time; all finders give the same output."""
    return Redactor.build(config.Redact(**settings), pseudonym_key=KEY, own_secrets=own_secrets, engine="re")


def text(redactor: Redactor, line: str) -> str:
    return redactor.line(line.encode())[0].decode()


def test_only_lines_with_a_secret_change_and_only_where_it_stands(redactor):
    lines = [b'{"a":1.0, "b" : "x\\u00e9"}', b'{"a":1.0, "password" : "hunter2","n":NaN}', b"plain", b"pwd=hunter2 ok"]
    data = b"\n".join(lines) + b"\n"
    out = list(lines)
    facts = redactor.chunk(data, out)
    assert out == [
        lines[0],
        b'{"a":1.0, "password" : "[REDACTED:password]","n":NaN}',
        b"plain",
        b"pwd=[REDACTED:password] ok",
    ]
    assert facts.changed == [1, 3]
    assert facts.flagged == 2
    assert facts.failed == 0
    assert facts.hits == {"password": 2}
    assert facts.dropped == []


def test_findings_name_the_bytes_of_the_input_and_never_the_secret(redactor):
    line = 'é {"password"} password=hunter2'.encode()
    _, findings = redactor.line(line)
    assert [(f.rule, line[f.start : f.end]) for f in findings] == [("password", b"hunter2")]
    assert "hunter2" not in repr(findings)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('{"otp": 123456}', '{"otp": "[REDACTED:one-time-code]"}'),
        ('{"token": 5}', '{"token": 5}'),
        ('{"password": null}', '{"password": null}'),
        (
            '{"credentials": {"user": "bob", "pin": [1, "y7"]}}',
            '{"credentials": {"user": "[REDACTED:credential]", "pin": ["[REDACTED:credential]", "[REDACTED:credential]"]}}'.replace(
                '["[REDACTED:credential]", "[REDACTED:credential]"]',
                '["[REDACTED:credential]", "[REDACTED:credential]"]',
            ),
        ),
        ('{"a":"{\\"otp\\": 123456}"}', '{"a":"{\\"otp\\": \\"[REDACTED:one-time-code]\\"}"}'),
        ('{"password":"a","password":"b"}', '{"password":"[REDACTED:password]","password":"[REDACTED:password]"}'),
        ('{"authorization": "Bearer abcdefgh1"}', '{"authorization": "Bearer [REDACTED:authorization]"}'),
        ('{"cookie": "a=b1; c=d2"}', '{"cookie": "a=[REDACTED:cookie]; c=[REDACTED:cookie]"}'),
        ("User credentials: bob:hunter2", "User credentials: bob:[REDACTED:credentials-pair]"),
        ("redis://:s3cret@cache:6379/0", "redis://:[REDACTED:url-userinfo]@cache:6379/0"),
        ("postgres://u:p@ss@h/db", "postgres://u:[REDACTED:url-userinfo]@h/db"),
        ("GET /p?token=abc123def&a=1", "GET /p?token=[REDACTED:token]&a=1"),
        ("Set-Cookie: sid=abc123; Path=/; HttpOnly", "Set-Cookie: sid=[REDACTED:cookie]; Path=/; HttpOnly"),
        ('{"loc":["body","password"],"input":"hunter2"}', '{"loc":["body","password"],"input":"[REDACTED:password]"}'),
        ('{"value":"hunter2","name":"password"}', '{"value":"[REDACTED:password]","name":"password"}'),
        ('{"kty":"oct","k":"abc"}', '{"kty":"oct","k":"[REDACTED:jwk-private]"}'),
        ("[(b'cookie', b'a=b1')]", "[(b'cookie', b'a=[REDACTED:cookie]')]"),
        ('password: str = "hunter2"', 'password: str = "[REDACTED:password]"'),
        ("{'password': ['hunter2', 'x y']}", "{'password': ['[REDACTED:password]', '[REDACTED:password]']}"),
        ("mysql -u root -phunter2 app", "mysql -u root -p[REDACTED:cli-password] app"),
        ("\x1b[1mpassword\x1b[0m=\x1b[31mhunter2\x1b[0m", "\x1b[1mpassword\x1b[0m=\x1b[31m[REDACTED:password]\x1b[0m"),
        ("pass\u200bword=hunter2", "pass\u200bword=[REDACTED:password]"),
        ("\uff50assword\uff1dhunter2", "\uff50assword\uff1d[REDACTED:password]"),
        ("card 4111 1111 1111 1111 ok", "card [REDACTED:card:1111] ok"),
        ("card 3056 930902 5904 ok", "card [REDACTED:card:5904] ok"),
        ("card 4222222222222 ok", "card [REDACTED:card:2222] ok"),
        ("trace: on, card 4111111111111111 ok", "trace: on, card [REDACTED:card:1111] ok"),
        ('{"traced":4111111111111111}', '{"traced":"[REDACTED:card:1111]"}'),
        ('{"span_id":"4111-1111-1111-1111"}', '{"span_id":"[REDACTED:card:1111]"}'),
        ('{"n":4111111111111111}', '{"n":"[REDACTED:card:1111]"}'),
        ("DE89 3704 0044 0532 0130 00", "[REDACTED:iban:3000]"),
        ("name\ninput_value='hunter2', input_type=str", "name\ninput_value='hunter2', input_type=str"),
        (
            "1 error\npassword\n  too short [input_value='hunter2', x]",
            "1 error\npassword\n  too short [input_value='[REDACTED:password]', x]",
        ),
    ],
)
def test_each_shape_keeps_all_but_the_secret(redactor, line, expected):
    assert text(redactor, line) == expected


def test_forged_marks_shield_nothing(redactor):
    assert text(redactor, "password=[REDACTED:hunter2]") == "password=[REDACTED:password]"
    assert text(redactor, "password=[REDACTED:password]hunter2") == "password=[REDACTED:password]"
    assert text(redactor, '{"password":"[REDACTED] hunter2"}') == '{"password":"[REDACTED:password]"}'
    assert text(redactor, "password=***hunter2") == "password=[REDACTED:password]"
    assert text(redactor, "password=[REDACTED:token]") == "password=[REDACTED:token]"


def test_an_address_becomes_the_same_pseudonym_on_both_roads(redactor):
    fast = text(redactor, '{"user": "john@example.com"}')
    slow = text(redactor, '{"user": "John@example.com", "password": "x1"}')
    mark = re.search(r"\[email:[0-9a-f]{12}\]", fast)
    assert mark is not None
    assert mark[0] in slow
    lines = [b'{"user": "john@example.com"}', b'{"u": "\\u0040 john@example.com"}', b'{"a":"x\\njohn@example.com."}']
    expected = [redactor.line(line)[0] for line in lines]
    redactor.chunk(b"\n".join(lines) + b"\n", lines)
    assert lines == expected
    assert mark[0].encode() in lines[0]


def test_keys_are_never_changed(redactor):
    assert text(redactor, '{"john@example.com": 1}') == '{"john@example.com": 1}'
    assert text(redactor, '{"ghp_x": "ok"}') == '{"ghp_x": "ok"}'


def test_pseudonyms_need_the_key():
    other = Redactor.build(config.Redact(), pseudonym_key=b"another key of thirty-two bytes!!", engine="re")
    assert text(other, "x john@example.com") != text(build(), "x john@example.com")


def test_hash_mode_writes_pseudonyms_for_everything():
    redactor = build(mode="hash")
    first, second = text(redactor, "password=hunter2"), text(redactor, '{"password": "hunter2"}')
    mark = re.fullmatch(r"password=(\[password:[0-9a-f]{12}\])", first)
    assert mark is not None
    assert mark[1] in second
    assert text(redactor, first) == first


def test_disabled_redaction_changes_nothing():
    redactor = build(enabled=False)
    lines = [b"password=hunter2"]
    assert redactor.chunk(b"password=hunter2\n", lines).changed == []
    assert redactor.line(lines[0]) == (b"password=hunter2", [])
    assert not any(rule.on for rule in redactor.rules())


def test_presets_choose_the_rules():
    assert (
        text(build(presets=("secrets",)), "john@example.com password=hunter2")
        == "john@example.com password=[REDACTED:password]"
    )
    only_pii = build(presets=("pii",))
    assert "password=hunter2" in text(only_pii, "john@example.com password=hunter2")
    assert "[email:" in text(only_pii, "john@example.com password=hunter2")


def test_a_rule_can_be_switched_off_by_id():
    redactor = build(disable=("email", "token"))
    assert (
        text(redactor, "john@example.com token=abc123def password=hunter2")
        == "john@example.com token=abc123def password=[REDACTED:password]"
    )
    optional = {rule.id for rule in build().rules() if not rule.on}
    assert {rule.id for rule in redactor.rules() if not rule.on} == {"email", "token"} | optional


def test_the_password_rule_off_leaves_the_other_names_on():
    assert (
        text(build(disable=("password",)), "password=hunter2 api_key=abc123def")
        == "password=hunter2 api_key=[REDACTED:secret-key]"
    )


def test_an_unknown_rule_is_refused_with_the_nearest_name():
    with pytest.raises(BadRule, match="did you mean 'email'"):
        build(disable=("emial",))


def test_allowed_values_stay_and_only_as_a_whole():
    redactor = build(allow=("test-[a-z]{3,8}", r"noreply@example\.com"))
    assert text(redactor, "password=test-abc") == "password=test-abc"
    assert text(redactor, "password=test-abc1") == "password=[REDACTED:password]"
    assert text(redactor, "to noreply@example.com") == "to noreply@example.com"
    assert (
        text(redactor, '{"password": "test-abc", "otp": 123456}')
        == '{"password": "test-abc", "otp": "[REDACTED:one-time-code]"}'
    )


def test_more_key_names_count_everywhere():
    redactor = build(keys=("badge_no", "pinkSlip"))
    assert (
        text(redactor, '{"badgeNo": "A-17", "user_badge_no": 5}')
        == '{"badgeNo": "[REDACTED:sensitive-key]", "user_badge_no": "[REDACTED:sensitive-key]"}'
    )
    assert text(redactor, "pink-slip: 'abc def'") == "pink-slip: '[REDACTED:sensitive-key]'"


def rule(**members) -> config.RedactRule:
    return config.RedactRule(**members)


def test_rules_of_the_operator_replace_their_secret_group():
    redactor = build(
        rule=(
            rule(id="badge", pattern=r"badge (?P<secret>[0-9]{6})"),
            rule(id="site", pattern=r"site-[a-z]{4}", replacement="<site>", keywords=("SITE",)),
        )
    )
    assert text(redactor, "badge 123456 at site-abcd") == "badge [REDACTED:badge] at <site>"
    assert text(redactor, "badge [REDACTED:badge] at <site>") == "badge [REDACTED:badge] at <site>"


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"id": "bad", "pattern": "(a"}, "no regular expression"),
        ({"id": "bad", "pattern": "(a+)+b"}, "linear"),
        ({"id": "bad", "pattern": r"(a)\1"}, "back-reference"),
        ({"id": "bad", "pattern": "a(?=b)"}, "look-around"),
        ({"id": "bad", "pattern": "a*"}, "empty"),
        ({"id": "bad", "pattern": "a", "replacement": '"'}, "replacement"),
        ({"id": "email", "pattern": "a"}, "another id"),
    ],
)
def test_a_bad_rule_is_refused_by_name_with_the_remedy(members, message):
    with pytest.raises(BadRule, match=message) as caught:
        Redactor.build(
            config.Redact.model_construct(
                rule=(config.RedactRule.model_construct(replacement=None, keywords=()).model_copy(update=members),)
            ),
            pseudonym_key=KEY,
        )
    assert members["id"] in str(caught.value)


def test_a_bad_allow_pattern_is_refused():
    with pytest.raises(BadRule, match=r"redact\.allow"):
        Redactor.build(config.Redact.model_construct(allow=("(a+)+",)), pseudonym_key=KEY)


def test_own_secrets_go_in_every_form():
    secret = 'Zq7"grafana+tok/en'
    redactor = build(own_secrets=(secret, "short", "password"))
    encoded = json.dumps(
        {"a": secret, "b": "WnE3ImdyYWZhbmErdG9rL2Vu", "c": "Zq7%22grafana%2Btok%2Fen", "d": "password short"}
    )
    out = text(redactor, encoded)
    assert "grafana" not in out
    assert "WnE3" not in out
    assert json.loads(out)["d"] == "password short"


def test_own_secrets_may_be_no_text():
    """As the environment gives them; lines have U+FFFD where they are no UTF-8, or what JSON makes of Python's surrogate."""
    kept = os.fsdecode(b"caf\xe9-secretvalue")
    redactor = build(own_secrets=own_secrets(config.Loki(), {"DB_PASSWORD": kept}))
    seen = os.fsencode(kept).decode("utf-8", "replace")
    for given in (
        f"got {seen}",
        json.dumps({"n": kept}),
        json.dumps({"n": seen}),
        "got caf%E9-secretvalue",
        "got Y2Fm6S1zZWNyZXR2YWx1ZQ==",
    ):
        out = text(redactor, given)
        assert "secretvalue" not in out
        assert "Y2Fm" not in out


@pytest.fixture
def with_a_bug(redactor) -> Redactor:
    """Whose procedures raise what nobody has thought of."""

    def broken(_text, _verifier):
        raise RuntimeError("bug")

    parts = redactor._parts
    tools = replace(parts.tools, scans=tuple(scan and broken for scan in parts.tools.scans))
    return Redactor(replace(parts, tools=tools), redactor.rules())


def test_a_bug_in_the_verifier_ships_a_stub(with_a_bug):
    line = b'{"timestamp": 1763461800.25, "level": "INFO", "message": "password=hunter2"}'
    lines = [line, b"fine"]
    facts = with_a_bug.chunk(b"\n".join(lines) + b"\n", lines)
    assert json.loads(lines[0]) == {
        "redaction": "failed",
        "timestamp": 1763461800.25,
        "level": "INFO",
        "bytes": len(line),
    }
    assert lines[1] == b"fine"
    assert facts.failed == 1
    assert facts.changed == [0]
    assert with_a_bug.line(line)[1][0].rule == "redaction-failed"


@pytest.mark.parametrize("stamp", ['"2026-01-02T03:04:05.123Z"', "1763461800", '"password=hunter2"'])
def test_a_stub_holds_no_words_of_the_line(with_a_bug, stamp):
    out = with_a_bug.line(f'{{"timestamp": {stamp}, "level": "my password", "message": "password=hunter2"}}'.encode())[
        0
    ]
    assert b"password" not in out
    assert json.loads(out)["redaction"] == "failed"


def test_too_deep_json_in_json_is_given_up():
    inner = '{"password": "hunter2"}'
    for _ in range(7):
        inner = json.dumps({"a": inner})
    out = text(build(), inner)
    assert json.loads(out)["redaction"] == "failed"


def test_too_many_findings_are_given_up(redactor):
    out = text(redactor, "password=x1, " * 20_000)
    assert json.loads(out)["redaction"] == "failed"


def test_a_hopeless_line_does_not_spoil_its_chunk(redactor):
    lines = [b"a@b.c " * 20_000, b"password=hunter2", b"fine"]
    facts = redactor.chunk(b"\n".join(lines) + b"\n", lines)
    assert json.loads(lines[0])["redaction"] == "failed"
    assert lines[1:] == [b"password=[REDACTED:password]", b"fine"]
    assert facts.failed == 1


def private_key_lines() -> list[bytes]:
    body = [samples.from_class("b64", 64, random.Random(n)).encode() for n in range(4)]
    return [b"-----BEGIN RSA PRIVATE KEY-----", *body, b"-----END RSA PRIVATE KEY-----"]


def test_a_private_key_over_several_lines_goes_whole(redactor):
    lines = [b"before", *private_key_lines(), b"after"]
    redactor.chunk(b"\n".join(lines) + b"\n", lines)
    assert lines == [b"before", *[b"[REDACTED:pem-private-key]"] * 6, b"after"]


@pytest.mark.parametrize("cut", [1, 2, 4, 5])
def test_a_private_key_cut_by_a_chunk_goes_whole(redactor, cut):
    lines = private_key_lines()
    first, second = [b"before", *lines[:cut]], [*lines[cut:], b"after"]
    facts = redactor.chunk(b"\n".join(first) + b"\n", first)
    assert facts.open_key
    facts = redactor.chunk(b"\n".join(second) + b"\n", second, open_key=facts.open_key)
    assert not facts.open_key
    assert {*first[1:], *second[:-1]} == {b"[REDACTED:pem-private-key]"}
    assert (first[0], second[-1]) == (b"before", b"after")


def test_an_end_without_its_begin_takes_the_lines_before_it(redactor):
    lines = [*private_key_lines()[2:], b"after"]
    redactor.chunk(b"\n".join(lines) + b"\n", lines)
    assert lines == [*[b"[REDACTED:pem-private-key]"] * 4, b"after"]


@pytest.mark.parametrize(
    "line",
    [
        "took 3 ms dd.trace_id=4111111111111111 dd.span_id=4222222222222 x",
        "trace f63ad6b3bf652e3624a842ed0677879a span 4111111111111111: done",
        '{"dd.trace_id": "4111111111111111", "dd.span_id": 4222222222222, "m": "x"}',
        '{"a": {"traceId": "4111111111111111", "parentSpanId": 4111111111111111, "parent_id": "4222222222222"}}',
    ],
)
def test_ids_of_traces_are_no_cards(redactor, line):
    assert redactor.line(line.encode())[0].decode() == line


@pytest.mark.parametrize(
    "text",
    [
        "2026-01-01 12:00:00 TRACE 4111111111111111 charged",
        "level=trace 4111111111111111",
        '{"trace":"4111111111111111","amount":12}',
        "card trace_id=4111111111111111",
    ],
)
def test_a_card_beside_the_word_trace_goes(redactor, text):
    assert b"4111111111111111" not in redactor.line(text.encode())[0]


@pytest.mark.parametrize("number", ["4111111111111111", "DE89370400440532013000", "123-45-6789"])
@pytest.mark.parametrize(
    "text",
    ['{{"m": "Zahlung\\u00a0{} ok"}}', 'msg="Zahlung\\u20ac{} ok"', "GET /a?x=key%20{}", "x=%5B{}%5D", "%C2%A0{}"],
)
def test_a_number_behind_an_escape_goes(redactor, text, number):
    line = text.format(number).encode()
    lines = [line]
    redactor.chunk(line + b"\n", lines)
    assert number.encode() not in lines[0]
    assert lines[0] == redactor.line(line)[0]


@pytest.mark.parametrize(
    "line",
    ["bob@example\uff0ecom", '{"u":"bob@example.com","v":"eve\uff20example.com"}', "bob\uff20ex.com bob@example.com"],
)
def test_full_width_addresses_go_in_a_chunk_too(redactor, line):
    data = line.encode()
    lines = [data]
    redactor.chunk(data + b"\n", lines)
    assert lines[0] == redactor.line(data)[0] != data
    assert "\uff20" not in lines[0].decode()


def test_what_was_clean_under_a_name_is_judged_anew_in_a_list(redactor):
    redactor.line(b'{"a":{"log":"DB_PASSWORD=blue.sky.river"}}')
    assert b"blue.sky" not in redactor.line(b'{"pod":["a"],"env":["DB_PASSWORD=blue.sky.river"]}')[0]


@pytest.mark.parametrize("column", ["session_id", "cookie", "authorization"])
def test_literals_of_an_insert_go_by_any_sensitive_column(redactor, column):
    line = f"INSERT INTO t (user, {column}) VALUES ('bob', 'tR5hT8sSttH593eJxWc4EFlD7iD')"
    assert b"tR5hT8s" not in redactor.line(line.encode())[0]


@pytest.mark.parametrize(
    "line",
    [
        "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABgQoavr1/Pw== operator@host",
        "integrity sha512-abcdEFGH1234abcdEFGHavr1/Pw== react@18.2.0",
        "token_type=bearer req-12345678",
        "token_type: Bearer eu-west-1a",
    ],
)
def test_what_only_ends_or_begins_like_a_secret_stays(redactor, line):
    assert redactor.line(line.encode())[0].decode() == line


def test_a_number_beside_the_surroundings_of_a_hit_stays(redactor):
    """They are read by themselves, and half a number is another."""
    words, number = "the pump ran at speed slowly and stopped, ", "47877893287921707312"
    for before, behind in ((f"{(words * 200)[:4078]} {number} ", ""), ("", f"{number} {(words * 200)[:4075]} ")):
        line = f"X {words * 1200} {behind}password=hunter2x9 {before}{words * 1200}".encode()
        out = redactor.line(line)[0]
        assert number.encode() in out
        assert b"hunter2x9" not in out


def test_a_value_that_is_to_go_goes_under_the_name_of_a_trace_too():
    redactor = Redactor.build(config.Redact(), pseudonym_key=b"k" * 32, values=["4111111111111111"])
    for line in ('{"trace_id": "4111111111111111"}', '{"a": {"trace_id": "4111111111111111"}}'):
        assert b"4111111111111111" not in redactor.line(line.encode())[0]


def test_what_looks_like_a_short_prefix_inside_of_base64_stays(redactor):
    """An image of some megabytes has `cio` and 32 letters and digits behind it somewhere."""
    token = "cioT4pQ7mZ2xW9vB6nK3jH8gF5dS1aL0eRy"
    run = "iVBORw0KGgo" + "aB3x/Yz+" * 10
    for left, right in ((run + "/", "/x3Yz=="), (run + "+", "+/")):
        line = f"image data:image/png;base64,{left}{token}{right}"
        assert redactor.line(line.encode())[0].decode() == line
    assert b"cio" not in redactor.line(f"cargo login {token}aB".encode())[0]
    for left in ("cargo login ", "https://host.example/a/b/", "q=a+", "data:;base64,"):
        assert token not in redactor.line(f"{left}{token}".encode())[0].decode()


def test_a_certificate_stays(redactor):
    lines = [line.replace(b"RSA PRIVATE KEY", b"CERTIFICATE") for line in private_key_lines()]
    out = list(lines)
    redactor.chunk(b"\n".join(lines) + b"\n", out)
    assert out == lines


def test_bytes_that_are_no_text_stay_as_they_are(redactor):
    assert redactor.line(b"\xff\xfe password=hunter2 \xc3") == (
        b"\xff\xfe password=[REDACTED:password] \xc3",
        redactor.line(b"\xff\xfe password=hunter2 \xc3")[1],
    )
    assert (
        redactor.line(b'{"a": "\xff", "password": "hunter2"}')[0] == b'{"a": "\xff", "password": "[REDACTED:password]"}'
    )


def test_a_label_value_is_redacted_too(redactor):
    assert redactor.text("bob password=hunter2") == "bob password=[REDACTED:password]"
    assert redactor.text("plain") == "plain"


def test_threads_may_share_a_redactor(redactor):
    lines = [b'{"password": "hunter%d"}' % n for n in range(300)]
    results: list[list[bytes]] = []

    def work() -> None:
        own = list(lines)
        for _ in range(5):
            own = list(lines)
            redactor.chunk(b"\n".join(lines) + b"\n", own)
        results.append(own)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [[b'{"password": "[REDACTED:password]"}'] * 300] * 4


def test_an_empty_chunk_is_no_trouble(redactor):
    assert redactor.chunk(b"", []).flagged == 0
    assert redactor.chunk(b"\n", [b""]).flagged == 0


class Login(BaseModel):
    username: str
    password: str = Field(min_length=20)
    api_key: SecretStr = SecretStr("")


def test_the_errors_of_the_real_pydantic_lose_their_input(redactor):
    with pytest.raises(ValidationError) as caught:
        Login(username="bob", password="hunter2hunter")
    error = caught.value
    as_json = json.dumps({"detail": error.errors(include_url=False), "body": "x"})
    as_text = json.dumps({"message": "invalid", "exc_info": str(error)})
    as_repr = f"errors={error.errors(include_url=False)!r}"
    for line in (as_json, as_text, as_repr):
        assert "hunter2hunter" in line
        assert "hunter2hunter" not in text(redactor, line)
    missing = json.dumps(
        {"detail": [{"type": "missing", "loc": ["body", "username"], "input": {"password": "hunter2hunter"}}]}
    )
    assert "hunter2hunter" not in text(redactor, missing)


def test_the_documentation_lists_every_rule(redactor):
    manual = (Path(__file__).parents[2] / "docs" / "redaction.md").read_text()
    assert [rule.id for rule in redactor.rules() if f"`{rule.id}`" not in manual] == []


@pytest.mark.parametrize("line", [b"4111111111111111", b"  4111111111111111 ", b"[4111111111111111]"])
def test_a_line_that_is_a_number_is_json_without_it_too(redactor, line):
    redacted, findings = redactor.line(line)
    assert [finding.rule for finding in findings] == ["card"]
    assert "REDACTED" in str(json.loads(redacted))
    assert redactor.line(redacted)[0] == redacted
