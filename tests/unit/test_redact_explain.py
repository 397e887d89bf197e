"""`explain`, `redact` and `redact rules`, as commands."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

LINES = (
    '{"level": "INFO", "message": "password=hunter2hunter", "request_id": "r1"}\n'
    "password: required, card 4111111111111112, xghp_aB3dE6gH9jK2mN5pQ8rS1tU4vW7xY0zA1b2\n"
    "\n"
)


def agent(*arguments: str, text: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "agent", *arguments], input=text, capture_output=True, text=True, check=False, timeout=60
    )


@pytest.fixture(scope="module")
def answers() -> list[dict[str, object]]:
    done = agent("explain", "--json", "--path", "/var/log/a.log", text=LINES)
    assert done.returncode == 0, done.stderr
    assert "hunter2hunter" not in done.stdout + done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_explain_tells_stream_time_metadata_and_the_rule(answers):
    first = answers[0]
    assert first["stream"]["filename"] == "/var/log/a.log"
    assert first["metadata"] == {"request_id": "r1"}
    assert first["timestamp_from"] == "time of reading: the line has none of parse.timestamp_fields"
    (rule,) = first["rules"]
    at = LINES.index("hunter2")
    assert rule == {"rule": "password", "start": at, "end": at + len("hunter2hunter"), "action": "mask"}


def test_explain_tells_why_not(answers):
    whys = {miss["rule"]: miss["why"] for miss in answers[1]["near_misses"]}
    assert "gate" in whys["password"]
    assert "Luhn" in whys["card"]
    assert "boundary" in whys["github-classic"]


def test_explain_tells_why_a_line_would_be_dropped(answers):
    assert answers[2]["dropped"] == "empty"


def test_explain_speaks_to_people_too():
    out = agent("explain", text=LINES).stdout
    assert "redacted   bytes" in out
    assert "by card: checksum" in out
    assert "hunter2hunter" not in out


def test_redact_is_a_filter_with_a_report(tmp_path):
    file = tmp_path / "config.toml"
    file.write_text(
        '[redact]\nactions = {password = "tag_only", card = "drop_line"}\n[agent]\nstate_dir = "'
        + str(tmp_path)
        + '"\n'
    )
    done = agent(
        "redact", "-c", str(file), "--report", text="password=hunter2\ncard 4111111111111111\nto a.b@example.com"
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.split("\n")
    assert lines[:2] == ["password=hunter2", ""]
    assert lines[2].startswith("to [email:")
    assert "1 password (seen only)" in done.stderr
    assert "1 ordered out" in done.stderr


def test_the_rules_are_listed():
    rules = json.loads(agent("redact", "rules", "--json").stdout)
    assert {"id", "group", "on", "action", "description", "traps"} == set(rules[0])
    assert len(rules) > 240
    assert "phone" in agent("redact", "rules").stdout
