"""What a rule does with what it finds: by id or group, in configuration, for all lines or only counted."""

from __future__ import annotations

import datetime as dt
import json
import re

import pytest

from agent import config
from agent.keys import ValuesUnusable, own_secrets, value_list
from agent.model import Chunk, FileId, Origin, Position, Span
from agent.tail.framing import frame
from agent.transform.chain import Transform
from agent.transform.redact import BadRule, Redacted, Redactor
from agent.wire import decode_metadata

KEY = b"0123456789abcdef0123456789abcdef"
TODAY = dt.date(2026, 1, 15)


def build(key: bytes = KEY, values: tuple[str, ...] = (), **settings) -> Redactor:
    return Redactor.build(config.Redact(**settings), pseudonym_key=key, values=values, engine="re", today=TODAY)


def text(redactor: Redactor, line: str) -> str:
    return redactor.line(line.encode())[0].decode()


def chunk(redactor: Redactor, *lines: str) -> tuple[list[str], Redacted]:
    data = [line.encode() for line in lines]
    facts = redactor.chunk(b"".join(line + b"\n" for line in data), data)
    return [line.decode() for line in data], facts


@pytest.mark.parametrize(
    ("actions", "line", "expected"),
    [
        ({"email": "mask"}, "to john@example.com", r"to \[REDACTED:email\]"),
        ({"pii": "mask"}, "to john@example.com", r"to \[REDACTED:email\]"),
        ({"pii": "off", "card": "mask"}, "john@example.com 4111111111111111", r"john@example.com \[REDACTED:card\]"),
        ({"password": "pseudonym"}, "password=hunter2", r"password=\[password:[0-9a-f]{12}\]"),
        ({"keys": "off"}, "password=hunter2", "password=hunter2"),
        (
            {"password": "off"},
            "password=hunter2 api_key=abc123def",
            r"password=hunter2 api_key=\[REDACTED:secret-key\]",
        ),
        ({"token": "partial"}, "token=abcdefgh12345678wxyz", r"token=\[REDACTED:token:wxyz\]"),
        ({"token": "partial"}, "token=abcdefgh1234", r"token=\[REDACTED:token\]"),
        ({"password": "tag_only"}, "password=hunter2", "password=hunter2"),
    ],
)
def test_an_action_is_chosen_by_id_before_group(actions, line, expected):
    redactor = build(actions=actions)
    assert re.fullmatch(expected, text(redactor, line))
    assert text(redactor, text(redactor, line)) == text(redactor, line)


def test_what_helps_to_guess_is_never_kept_in_part():
    with pytest.raises(BadRule, match="'password' cannot be partial"):
        build(actions={"password": "partial"})


@pytest.mark.parametrize("where", ["actions", "enable", "disable"])
def test_an_unknown_rule_or_group_is_refused_with_the_nearest(where):
    names = {"emial": "mask"} if where == "actions" else ("emial",)
    with pytest.raises(BadRule, match=rf"redact\.{where}.*did you mean 'email'"):
        build(**{where: names})


def test_a_rule_may_order_a_line_out_and_the_line_is_counted():
    redactor = build(actions={"card": "drop_line"})
    lines, facts = chunk(
        redactor, "card 4111111111111111 of bob", "fine", '{"a": "4111111111111111", "password": "hunter2"}'
    )
    assert facts.dropped == [0, 2]
    assert not [line for line in lines if "4111111" in line or "hunter2" in line]
    transform = Transform(config.Parse(), config.Labels(), config.Metadata(), redactor, host="h")
    entries = transform(whole(b"card 4111111111111111\nfine\n"))
    assert entries.dropped == {"redaction_rule": 1}
    assert entries.streams[0].lines == [b"fine"]


def whole(data: bytes) -> Chunk:
    origin = Origin("app", "/a.log")
    return Chunk(origin, Span(FileId(1, 2), 0, Position(0, 0, b"", b"", 0, origin)), data, 10**18)


def test_a_rule_that_only_counts_changes_nothing_and_tags_the_line():
    redactor = build(actions={"password": "tag_only"})
    line = '{"password": "hunter2", "message": "token=abc123def"}'
    lines, facts = chunk(redactor, line, "fine", line, '{"password": "hunter2"}', '{"password": "hunter2"}')
    assert lines[0] == '{"password": "hunter2", "message": "token=[REDACTED:token]"}'
    assert lines[3] == '{"password": "hunter2"}'
    assert facts.seen == {"password": 4}
    assert facts.hits == {"token": 2}
    assert facts.tags == {0: "password", 2: "password", 3: "password", 4: "password"}
    entries = Transform(config.Parse(), config.Labels(), config.Metadata(), redactor, host="h")(
        whole(line.encode() + b"\n")
    )
    assert entries.redactions_seen == {"password": 1}
    assert (b"redaction_rules", b"password") in decode_metadata(entries.streams[0].metadata[0])


def test_changed_lines_are_tagged_when_asked_for():
    _, facts = chunk(build(tag=True), "password=hunter2 of john@example.com", "fine", "to john@example.com")
    assert facts.tags == {0: "password,email", 2: "email"}
    assert chunk(build(), "password=hunter2")[1].tags == {}


def test_a_new_rule_of_the_operator_may_begin_by_counting():
    rule = config.RedactRule(id="badge", pattern="badge [0-9]{6}", enforce=False)
    lines, facts = chunk(build(rule=(rule,)), "badge 123456")
    assert lines == ["badge 123456"]
    assert facts.seen == {"badge": 1}


@pytest.mark.parametrize(
    ("rule", "line", "expected"),
    [
        ("phone", "call +4930123456789 now", r"call \[phone:[0-9a-f]{12}\] now"),
        ("ip-address", '{"client": "192.168.7.21"}', r'\{"client": "\[ip-address:[0-9a-f]{12}\]"\}'),
        ("person", '{"first_name": "Erika", "lastName": "Muster"}', r'\{"first_name": "\[REDACTED:person\]", "lastName": "\[REDACTED:person\]"\}'),
        ("geo", '{"lat": 52.52, "lon": 13.4}', r'\{"lat": "\[REDACTED:geo\]", "lon": "\[REDACTED:geo\]"\}'),
        ("national-id", "Steuer-ID 86095742719", r"Steuer-ID \[REDACTED:national-id\]"),
    ],
)  # fmt: skip
def test_rules_that_are_off_can_be_switched_on(rule, line, expected):
    assert text(build(), line) == line
    assert re.fullmatch(expected, text(build(enable=(rule,)), line))
    assert re.fullmatch(expected, text(build(actions={rule: "pseudonym" if "[0-9a-f]" in expected else "mask"}), line))


def test_random_looking_strings_are_only_counted():
    line = "token store entry Ab3dE6gH9jK2mN5pQ8rS kept"
    lines, facts = chunk(build(enable=("high-entropy",)), line)
    assert lines == [line]
    assert facts.seen == {"high-entropy": 1}


def test_a_change_of_key_shows_in_the_pseudonyms():
    first = {text(build(), f"to {name}@example.com")[10:12] for name in ("john", "jane", "jim")}
    second = {text(build(b"x" * 32), f"to {name}@example.com")[10:12] for name in ("john", "jane", "jim")}
    assert len(first) == len(second) == 1
    assert first != second


def exempt(**members) -> tuple[config.RedactExempt, ...]:
    return (config.RedactExempt(**members),)


def test_an_exemption_goes_by_rule_path_and_value():
    by_rule = build(exempt=exempt(rule="email", value=r"noreply@example\.com"))
    assert text(by_rule, "to noreply@example.com") == "to noreply@example.com"
    assert text(by_rule, "password=noreply@example.com") != "password=noreply@example.com"
    by_path = build(exempt=exempt(path="device.password"))
    line = '{"device": {"password": "abc"}, "user": {"password": "hunter2"}}'
    assert text(by_path, line) == line.replace("hunter2", "[REDACTED:password]")
    in_list = build(exempt=exempt(path="devices.token", rule="keys"))
    assert text(in_list, '{"devices": [{"token": "abcdef12"}]}') == '{"devices": [{"token": "abcdef12"}]}'
    flat = build(exempt=exempt(path="token"))
    assert (
        text(flat, '{"token": "abcdef12", "b": {"token": "abcdef12"}}')
        == '{"token": "abcdef12", "b": {"token": "[REDACTED:token]"}}'
    )


def test_an_exemption_ends_and_its_end_is_told():
    ended = build(exempt=exempt(value="hunter2", until=TODAY - dt.timedelta(days=1)))
    assert text(ended, "password=hunter2") == "password=[REDACTED:password]"
    assert "held until 2026-01-14" in ended.warnings[0]
    assert text(build(exempt=exempt(value="hunter2", until=TODAY)), "password=hunter2") == "password=hunter2"


@pytest.mark.parametrize("settings", [{"allow": (".+",)}, {"exempt": exempt(value=".{1,99}")}])
def test_an_exemption_that_matches_everything_is_warned_of(settings):
    assert "matches everything" in build(**settings).warnings[0]
    assert build(allow=("test-[a-z]+",)).warnings == ()


def test_a_rule_of_the_operator_looks_for_its_keyword_nearby_and_checks_what_it_found():
    near = config.RedactRule(id="badge", pattern="[0-9]{4}-[0-9]{2}", keywords=("badge",), within=10)
    assert text(build(rule=(near,)), "badge no 1234-56, order 1234-57") == "badge no [REDACTED:badge], order 1234-57"
    luhn = config.RedactRule(id="member", pattern="M[0-9]{8}", check="luhn")
    assert text(build(rule=(luhn,)), "M12345674 M12345675") == "[REDACTED:member] M12345675"


@pytest.mark.parametrize(
    ("samples", "message"),
    [({"must_match": ("badge 12",)}, r"matches nothing in must_match\[0\]"), ({"must_not_match": ("x", "badge 123456")}, r"matches in must_not_match\[1\]")],
)  # fmt: skip
def test_samples_are_tried_at_start(samples, message):
    with pytest.raises(BadRule, match=message):
        build(rule=(config.RedactRule(id="badge", pattern="badge [0-9]{6}", **samples),))
    build(
        rule=(
            config.RedactRule(
                id="badge", pattern="badge [0-9]{6}", must_match=("badge 123456",), must_not_match=("badge",)
            ),
        )
    )


def test_listed_values_go_in_every_form(tmp_path):
    file = tmp_path / "values"
    file.write_text("leaked value one\n\nZq7+tok/en\n")
    file.chmod(0o600)
    redactor = build(values=value_list(str(file)))
    assert (
        text(redactor, "got leaked value one and Zq7%2Btok%2Fen")
        == "got [REDACTED:value-list] and [REDACTED:value-list]"
    )
    file.chmod(0o644)
    with pytest.raises(ValuesUnusable, match="chmod 600"):
        value_list(str(file))
    with pytest.raises(ValuesUnusable, match="nowhere"):
        value_list(str(tmp_path / "nowhere"))
    assert value_list("") == ()
    assert "too short" in build(values=("short",)).warnings[0]


def test_environment_variables_named_like_secrets_are_the_agents_own():
    environ = {
        "DB_PASSWORD": "abcdefgh1", "APP_SECRET_KEY": "abcdefgh2", "SMTP_PASS": "abcdefgh3", "DATABASE_URL": "postgres://u:abcdefgh4@h/x",
        "HOME": "/home/abcdefgh5", "SSH_AUTH_SOCK": "/run/abcdefgh6", "TOKEN_COUNT": "abcdefgh7", "PWD": "/abcdefgh8",
    }  # fmt: skip
    assert set(own_secrets(config.Loki(), environ)) == {"abcdefgh1", "abcdefgh2", "abcdefgh3", "abcdefgh4"}


def test_rules_can_be_listed_with_what_they_do():
    rules = {rule.id: rule for rule in build(actions={"email": "mask", "card": "off"}).rules()}
    assert rules["email"].action == "mask"
    assert not rules["card"].on
    assert not rules["phone"].on
    assert rules["sk-generic"].traps


def test_tags_survive_json():
    assert json.loads(text(build(tag=True), '{"password": "hunter2"}')) == {"password": "[REDACTED:password]"}


@pytest.mark.parametrize("shift", range(0, 90, 7))
def test_a_secret_at_the_cut_of_an_over_long_line_goes(shift):
    redactor = build()
    line = (
        '{"text": "' + "x" * (960 + shift) + '", "password": "hunter2hunter2hunter2", "token": "abcdefgh12345678"}'
    ).encode()
    out = []
    for piece in frame(line + b"\n", 1024):
        lines = piece.data.split(b"\n")[:-1]
        redactor.chunk(piece.data, lines)
        out += lines
    joined = b"".join(out)
    assert len(out) > 1
    assert b"hunter2" not in joined
    assert b"abcdefgh" not in joined
