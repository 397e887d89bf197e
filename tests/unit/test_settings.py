"""Loading: what is written becomes a Config, and every mistake is told once, at its place."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from agent import config, settings
from agent.environment import merged
from agent.settings import ConfigInvalid, Problem, load, schema

P = settings.PREFIX


@pytest.fixture
def write(tmp_path: Path) -> Any:
    def write(text: str | bytes) -> Path:
        path = tmp_path / "config.toml"
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path

    return write


@pytest.fixture
def loaded(write: Any) -> Any:
    return lambda text="", **environ: load(write(text), environ)


@pytest.fixture
def told(write: Any, tmp_path: Path) -> Any:
    """What is told about a text, without the directory."""

    def told(text: str | bytes = "", **environ: str) -> list[str]:
        with pytest.raises(ConfigInvalid) as invalid:
            load(write(text), environ)
        return [str(problem).replace(f"{tmp_path}/", "") for problem in invalid.value.problems]

    return told


# ── What is right ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_empty_file_is_the_default_configuration(loaded: Any) -> None:
    assert loaded("") == config.Config()


@pytest.mark.parametrize(
    "written",
    [
        {},
        {"batch": {"max_wait": "250ms"}, "source": [{"include": ["/a/*.log"]}, {"name": "b"}]},
        {"loki": {"headers": {"X-A": "b", "X-C": {"env": "D"}}, "timeout": 3}, "nonsense": 1},
        {"source": [], "server": {"listen": "nowhere"}, "Agent": {}, "redact": {"rule": [{"id": "x"}]}},
    ],
)
def test_a_file_alone_means_what_it_means_beneath_an_environment_without_a_word(written: dict[str, Any]) -> None:
    """A start without variables does not load what merges them."""

    def outcome(load: Callable[[], config.Config]) -> object:
        try:
            return load()
        except ValidationError as error:
            return error.errors(include_url=False, include_context=False)

    assert outcome(lambda: merged({}, written)) == outcome(lambda: config.Config.model_validate(written))


def test_sizes_and_durations_become_bytes_and_seconds(loaded: Any) -> None:
    batch = loaded('[batch]\nmax_bytes = "2MiB"\nmax_wait = "250ms"\n').batch
    assert (batch.max_bytes, batch.max_wait) == (2 * config.MIB, 0.25)


def test_tables_in_lists_become_tuples(loaded: Any) -> None:
    one = loaded('[[source]]\nname = "a"\n[[source]]\nname = "b"\n[[redact.rule]]\nid = "x"\npattern = "x+"\n')
    assert [source.name for source in one.source] == ["a", "b"]
    assert one.redact.rule == (config.RedactRule(id="x", pattern="x+"),)
    assert hash(one.source[0].include)


def test_a_byte_order_mark_and_windows_line_ends_are_no_mistake(loaded: Any) -> None:
    assert loaded('\ufeff[batch]\r\nmax_wait = "2s"\r\n').batch.max_wait == 2


def test_the_environment_wins_over_the_file_and_the_file_over_the_default(loaded: Any) -> None:
    text = '[batch]\nmax_wait = "2s"\nmax_entries = 5\n'
    batch = loaded(text, **{f"{P}BATCH__MAX_WAIT": "3s"}).batch
    assert (batch.max_wait, batch.max_entries, batch.max_bytes) == (3, 5, config.MIB)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("LOKI__URL", "https://loki:3100", lambda c: c.loki.url == "https://loki:3100"),
        ("LOKI__MAX_IN_FLIGHT", "9", lambda c: c.loki.max_in_flight == 9),
        ("BATCH__MAX_BYTES", "1048576", lambda c: c.batch.max_bytes == 1048576),
        ("BATCH__MAX_BYTES", "64KiB", lambda c: c.batch.max_bytes == 65536),
        ("REDACT__ENABLED", "False", lambda c: c.redact.enabled is False),
        ("METADATA__FIELDS", '["a", "b"]', lambda c: c.metadata.fields == ("a", "b")),
        ("METADATA__FIELDS", "[]", lambda c: c.metadata.fields == ()),
        ("LABELS__STATIC__TEAM", "storage", lambda c: c.labels.static["team"] == "storage"),
        ("LABELS__STATIC", '{"only": "this"}', lambda c: c.labels.static["only"] == "this"),
        ("LABELS__HOST", "node-1", lambda c: c.labels.host == "node-1"),
        ("LOKI__RETRY__MAX_DELAY", "1m", lambda c: c.loki.retry.max_delay == 60),
        ("LOKI", '{"retry": {"max_delay": "2m"}}', lambda c: c.loki.retry.max_delay == 120),
        ("SOURCE", '[{"name": "x", "include": ["/x/*.log"]}]', lambda c: c.source[0].include == ("/x/*.log",)),
        ("LOKI__HEADERS__TEAM", "x", lambda c: c.loki.headers == {"team": "x"}),
        ("LOKI__HEADERS__TEAM", '{"env": "HOME"}', lambda c: c.loki.headers == {"team": config.Secret(env="HOME")}),
    ],
)
def test_a_variable_of_the_environment_sets_an_option(loaded: Any, name: str, value: str, expected: Any) -> None:
    assert expected(loaded("", **{f"{P}{name}": value, "HOME": "/root"}))


def test_a_label_of_the_environment_joins_those_of_the_file(loaded: Any) -> None:
    text = '[labels]\nstatic = { environment = "production", job = "x" }\n'
    static = loaded(text, **{f"{P}LABELS__STATIC__ENVIRONMENT": "staging"}).labels.static
    assert static == {"environment": "staging", "job": "x"}


def test_a_secret_of_the_environment_replaces_the_reference_of_the_file(loaded: Any) -> None:
    text = '[loki]\nbearer_token = { file = "/not/there" }\nheaders = { team = { file = "/not/there" } }\n'
    loki = loaded(
        text, **{f"{P}LOKI__BEARER_TOKEN__ENV": "TOKEN", f"{P}LOKI__HEADERS__TEAM__ENV": "TOKEN", "TOKEN": "s3cret"}
    ).loki
    assert loki.bearer_token == config.Secret(env="TOKEN")
    assert loki.headers == {"team": config.Secret(env="TOKEN")}


def test_variables_of_a_kubernetes_service_of_our_name_are_not_ours(loaded: Any) -> None:
    environ = {"GREENSTACK_AGENT_PORT": "tcp://10.0.0.1:80", "GREENSTACK_AGENT_SERVICE_HOST": "10.0.0.1"}
    assert loaded("", **environ) == config.Config()


def test_the_process_environment_is_not_looked_at(write: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"{P}BATCH__MAX_WAIT", "9s")
    monkeypatch.setenv(f"{P}NONSENSE", "9s")
    assert load(write(""), {}) == config.Config()


def test_a_key_named_like_an_argument_of_the_library_is_only_an_unknown_key(told: Any) -> None:
    first, second = told('_env_prefix = "X"\nlayers = 1\n')
    assert first.startswith('config.toml:1: _env_prefix: unknown key "_env_prefix" (known are agent, source, parse,')
    assert second == 'config.toml:2: layers: unknown key "layers" (did you mean "labels"?)'


# ── The file itself ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_missing_file_is_told_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ConfigInvalid, match=r"none\.toml:1: file: there is no such file; begin with config\.example"):
        load(tmp_path / "none.toml", {})


def test_a_directory_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigInvalid, match="is a directory"):
        load(tmp_path, {})


def test_a_file_behind_a_file_cannot_be_read(write: Any) -> None:
    with pytest.raises(ConfigInvalid, match="cannot be read: Not a directory"):
        load(write("") / "x", {})


def test_a_name_no_file_can_have_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigInvalid, match="cannot be read: embedded null"):
        load(tmp_path / "a\0b", {})


def test_a_file_that_may_not_be_read_is_told(write: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(ConfigInvalid, match="may not be read; give the agent's user read access"):
        load(write(""), {})


def test_a_file_that_is_not_utf8_is_told_with_the_line(told: Any) -> None:
    assert told(b'# caf\xc3\xa9\n[labels]\nhost = "caf\xe9"\n') == [
        "config.toml:3: file: is not UTF-8 (byte 0xe9); save it as UTF-8"
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[batch]\nmax_wait = 1s\n", "config.toml:2: syntax: Expected newline or end of document after a statement"),
        ("[batch]\nmax_wait\n", "config.toml:2: syntax: Expected '=' after a key in a key/value pair"),
        ('[loki]\nurl = "x\n', "config.toml:2: syntax: Illegal character '\\n'"),
        ("a = [1,\n\n", "config.toml:1: syntax: Invalid value: something is not closed"),
        ("[loki.tls]\n[loki.tls]\n", "config.toml:2: syntax: Cannot declare [loki.tls] twice"),
        ("[loki]\n[loki]\n", "config.toml:2: syntax: Cannot declare [loki] twice"),
    ],
)
def test_a_syntax_error_is_told_at_its_line(told: Any, text: str, expected: str) -> None:
    (problem,) = told(text)
    assert problem.startswith(expected)


def test_a_syntax_error_has_a_column(write: Any) -> None:
    with pytest.raises(ConfigInvalid) as invalid:
        load(write("[batch]\nmax_wait = 1s\n"), {})
    assert (invalid.value.problems[0].line, invalid.value.problems[0].column) == (2, 13)


def test_a_syntax_error_does_not_hide_unknown_variables(told: Any) -> None:
    problems = told("=", **{f"{P}LOKI__TIMOUT": "1s"})
    assert [problem.split(":")[0] for problem in problems] == ["config.toml", "environment"]


def test_bottomless_nesting_is_told(told: Any) -> None:
    assert told("a = " + "[" * 5000) == ["config.toml:1: file: is nested too deeply"]


def test_a_number_with_thousands_of_digits_is_told(told: Any) -> None:
    (problem,) = told("a = " + "9" * 5000)
    assert problem.startswith("config.toml:1: syntax: ")


# ── Each kind of mistake ──────────────────────────────────────────────────────────────────────────────────────────────

SECRET_WAYS = '{ file = "…" }, { env = "…" } or { credential = "…" }'
MISTAKES = {
    "unknown key": ('[loki]\ntimout = "1s"', '2: loki.timout: unknown key "timout" (did you mean "timeout"?)'),
    "unknown table": ("[lokki]", '1: lokki: unknown key "lokki" (did you mean "loki"?)'),
    "wrong case": ("[Loki]", '1: Loki: unknown key "Loki" (did you mean "loki"?)'),
    "key of another table": (
        '[loki]\nmax_wait = "1s"',
        '2: loki.max_wait: unknown key "max_wait" here (it belongs to [batch])',
    ),
    "key far from any": (
        "[server]\nzzz = 1",
        '2: server.zzz: unknown key "zzz" (known are listen)',
    ),
    "one bracket": ('[source]\nname = "x"', "1: source: there may be several: write [[source]] with two brackets"),
    "one bracket below": (
        "[redact.rule]",
        "1: redact.rule: there may be several: write [[redact.rule]] with two brackets",
    ),
    "no source": ("source = []", "1: source: needs at least one"),
    "no include": ("[[source]]\ninclude = []", "2: source[0].include: needs at least one"),
    "text for a list": (
        '[metadata]\nfields = "a"',
        '2: metadata.fields: write a list such as ["…", "…"], not "a"',
    ),
    "number for text": ("[labels]\nhost = 5", '2: labels.host: write text in quotes, such as "…", not 5'),
    "number in a list": ("[metadata]\nfields = [5]", '2: metadata.fields[0]: write text in quotes, such as "…", not 5'),
    "text for a number": ('[loki]\nmax_in_flight = "4"', '2: loki.max_in_flight: write a whole number, not "4"'),
    "fraction": ("[loki]\nmax_in_flight = 4.5", "2: loki.max_in_flight: write a whole number, not 4.5"),
    "truth for a number": ("[loki]\nmax_in_flight = true", "2: loki.max_in_flight: write a whole number, not true"),
    "text for truth": ('[redact]\nenabled = "no"', '2: redact.enabled: write true or false, not "no"'),
    "number for truth": ("[redact]\nenabled = 1", "2: redact.enabled: write true or false, not 1"),
    "value for a table": ("loki = 5", "1: loki: write a table, not 5"),
    "value for a map": ("[labels]\nstatic = 5", "2: labels.static: write a table, not 5"),
    "size without unit": (
        '[batch]\nmax_bytes = "8 potatoes"',
        '2: batch.max_bytes: write a size as a number and a unit, such as "512KiB", "1MiB" or "2GiB"',
    ),
    "truth for a size": ("[batch]\nmax_bytes = true", '2: batch.max_bytes: write a size such as "1MiB", not true'),
    "list for a size": ("[batch]\nmax_bytes = [1]", '2: batch.max_bytes: write a size such as "1MiB", not a list'),
    "bare duration": (
        "[batch]\nmax_wait = 5",
        '2: batch.max_wait: a duration needs a unit, such as "5s" or "5ms"',
    ),
    "truth for a duration": (
        "[batch]\nmax_wait = true",
        '2: batch.max_wait: write a duration as a number and a unit, such as "200ms", "1s", "5m", "2h" or "7d"',
    ),
    "too small": (
        '[batch]\nmax_bytes = "1B"',
        "2: batch.max_bytes: 1B is impossible: it must be at least 4KiB",
    ),
    "too large": ('[batch]\nmax_wait = "1h"', "2: batch.max_wait: 1h is impossible: it must be at most 1m"),
    "not more than": ('[parse]\nmax_age = "0s"', "2: parse.max_age: 0s is impossible: it must be more than 0s"),
    "negative": (
        "[buffer]\nmin_free_bytes = -1",
        "2: buffer.min_free_bytes: -1B is impossible: it must be at least 0B",
    ),
    "no such choice": (
        '[agent]\nlog_level = "warn"',
        '2: agent.log_level: "warn" is not one of "debug", "info", "warning", "error" (did you mean "warning"?)',
    ),
    "no such choice in a list": (
        '[redact]\npresets = ["pii", "x"]',
        '2: redact.presets[1]: "x" is not one of "secrets", "pii"',
    ),
    "bad name": ('[[source]]\nname = "a b"', '2: source[0].name: "a b" must match ^[A-Za-z0-9_-]{1,64}$'),
    "empty name in a list": ('[metadata]\nfields = [""]', "2: metadata.fields[0]: must not be empty"),
    "long tenant": (
        f'[loki]\ntenant_id = "{"x" * 151}"',
        "2: loki.tenant_id: is longer than 150 characters",
    ),
    "tenant that is a path": ('[loki]\ntenant_id = ".."', '2: loki.tenant_id: ".." is no tenant name'),
    "two segments": (
        '[buffer]\nmax_bytes = "1MiB"',
        "1: buffer: max_bytes (1MiB) must hold at least two segments (segment_bytes = 16MiB)",
    ),
    "retry shrinks": (
        '[loki.retry]\nmax_delay = "100ms"',
        "1: loki.retry: first_delay (500ms) is longer than max_delay (100ms)",
    ),
    "relative glob": (
        '[[source]]\ninclude = [\n  "/ok/*.log",\n  "var/log/*.log",\n]',
        '4: source[0].include[1]: "var/log/*.log" is not an absolute path (did you mean "/var/log/*.log"?)',
    ),
    "relative exclude": (
        '[[source]]\nexclude = ["*.gz"]',
        '2: source[0].exclude[0]: "*.gz" is not an absolute path (did you mean "/var/log/**/*.gz"?)',
    ),
    "unbalanced bracket": (
        '[[source]]\ninclude = ["/x/[a.log"]',
        '2: source[0].include[0]: "/x/[a.log": unbalanced bracket; a literal [ is written [[]',
    ),
    "backwards range": (
        '[[source]]\ninclude = ["/x/[z-a].log"]',
        '2: source[0].include[0]: "/x/[z-a].log": bad character range z-a; write it from low to high',
    ),
    "stars in a name": (
        '[[source]]\ninclude = ["/x/a**/b"]',
        '2: source[0].include[0]: "/x/a**/b": ** stands alone between slashes, such as "/var/log/**/*.log"',
    ),
    "NUL in a path": (
        '[[source]]\ninclude = ["/x/\\u0000"]',
        "2: source[0].include[0]: a path cannot hold a NUL byte",
    ),
    "directory": (
        '[[source]]\ninclude = ["/x/"]',
        '2: source[0].include[0]: "/x/" names a directory; its files are "/x/*"',
    ),
    "two dots": (
        '[[source]]\ninclude = ["/x/../y"]',
        '2: source[0].include[0]: "/x/../y": write the path without ".."',
    ),
    "braces": (
        '[[source]]\ninclude = ["/x/{a,b}.log"]',
        '2: source[0].include[0]: "/x/{a,b}.log": braces are not expanded; list two patterns instead',
    ),
    "encoding": (
        '[[source]]\nencoding = "hex"',
        '2: source[0].encoding: "hex" is no text encoding; usual ones are "utf-8", "latin-1", "cp1252", "utf-16"',
    ),
    "encoding that cannot replace": (
        '[[source]]\nencoding = "idna"',
        '2: source[0].encoding: "idna" is no text encoding; usual ones are "utf-8", "latin-1", "cp1252", "utf-16"',
    ),
    "relative state directory": (
        '[agent]\nstate_dir = "state"',
        '2: agent.state_dir: "state" is not an absolute path',
    ),
    "encoding without newline": (
        '[[source]]\nencoding = "cp037"',
        '2: source[0].encoding: "cp037" has no newline byte, so its lines cannot be told apart',
    ),
    "URL of another kind": (
        '[loki]\nurl = "ftp://x"',
        '2: loki.url: write a URL such as "http://127.0.0.1:3100" or "https://loki.example.com"',
    ),
    "URL without scheme": (
        '[loki]\nurl = "loki:3100"',
        '2: loki.url: write a URL such as "http://127.0.0.1:3100" or "https://loki.example.com"',
    ),
    "URL without host": (
        '[loki]\nurl = "http:///x"',
        '2: loki.url: write a URL such as "http://127.0.0.1:3100" or "https://loki.example.com"',
    ),
    "URL with a bad port": ('[loki]\nurl = "http://x:99999"', "2: loki.url: not a URL: Port out of range 0-65535"),
    "URL with a space": ('[loki]\nurl = "http://x y"', "2: loki.url: a URL has no spaces or control characters"),
    "URL of no host": (
        '[loki]\nurl = "http://a..b"',
        "2: loki.url: no name of a host: its parts between dots have 1 to 63 characters",
    ),
    "name of no host": (
        '[loki.tls]\nserver_name = ".loki"',
        "2: loki.tls.server_name: no name of a host: its parts between dots have 1 to 63 characters",
    ),
    "URL with a query": ('[loki]\nurl = "http://x?a=b"', "2: loki.url: a base URL has no ?query and no #fragment"),
    "URL with a password": (
        '[loki]\nurl = "http://me:hunter2@x"',
        "2: loki.url: no user name or password in the URL; use basic_auth",
    ),
    "label name": (
        '[labels.static]\n"my-label" = "x"',
        '2: labels.static.my-label: "my-label" is no label name: use letters, digits and _, not beginning with a digit',
    ),
    "label name with a space": (
        '[labels.static]\n"a b" = "x"',
        '2: labels.static."a b": "a b" is no label name: use letters, digits and _, not beginning with a digit',
    ),
    "reserved label name": (
        '[labels]\nfrom_fields = { __a = "x" }',
        '2: labels.from_fields.__a: "__a": label names beginning with __ are reserved by Loki',
    ),
    "empty label": (
        '[[source]]\nlabels = { a = "" }',
        "2: source[0].labels.a: an empty value is no label; leave the name out",
    ),
    "long label": (
        f'[labels]\nhost = "{"ü" * 1025}"',
        "2: labels.host: Loki takes label values up to 2048 bytes; this one has 2050",
    ),
    "host as a label": (
        '[labels]\nstatic = { host = "x" }',
        '2: labels.static.host: the label "host" comes by itself; set labels.host instead',
    ),
    "filename as a label": (
        '[[source]]\nlabels = { filename = "x" }',
        '2: source[0].labels.filename: the label "filename" comes by itself',
    ),
    "pod as a label of a pod's log": (
        '[[source]]\nformat = "cri"\nlabels = { pod = "x" }',
        '3: source[0].labels.pod: the label "pod" comes by itself',
    ),
    "static label from a field": (
        '[labels]\nfrom_fields = { job = "job" }',
        '2: labels.from_fields.job: "job" is a static label too',
    ),
    "source's label from a field": (
        '[[source]]\nname = "s"\nlabels = { a = "x" }\n[labels]\nfrom_fields = { a = "a" }',
        '5: labels.from_fields.a: "a" is a label of source "s" too',
    ),
    "time as metadata": (
        '[metadata]\nfields = ["request_id", "time"]',
        '2: metadata.fields[1]: "time" is read as the time of a line; leave it out here, or out of parse.timestamp_fields',
    ),
    "time as a level": (
        '[parse]\ntimestamp_fields = ["at"]\nlevel_fields = ["level", "at"]',
        '3: parse.level_fields[1]: "at" is read as the time of a line; leave it out here, or out of parse.timestamp_fields',
    ),
    "time as a label": (
        '[labels]\nfrom_fields = { when = "ts" }',
        '2: labels.from_fields.when: "ts" is read as the time of a line; leave it out here, or out of parse.timestamp_fields',
    ),
    "time twice": (
        '[parse]\ntimestamp_fields = ["ts", "time", "ts"]',
        '2: parse.timestamp_fields[2]: "ts" stands there twice; leave one out',
    ),
    "metadata as a label": (
        '[labels]\nfrom_fields = { trace = "trace_id" }',
        '2: labels.from_fields.trace: "trace_id" is sent as metadata; as a label, each of its values would be a stream',
    ),
    "metadata without a name": (
        '[metadata]\nfields = ["日本"]',
        '2: metadata.fields[0]: "日本" has no letter or digit, so Loki has no name for it',
    ),
    "metadata of one name": (
        '[metadata]\nfields = ["a.b", "a-b"]',
        '2: metadata.fields[1]: "a-b" and "a.b" would both be sent as "a_b"',
    ),
    "metadata of our own": (
        '[metadata]\nfields = ["original_timestamp"]',
        '2: metadata.fields[0]: "original_timestamp" is written by the agent itself',
    ),
    "source twice": (
        '[[source]]\nname = "a"\n[[source]]\nname = "a"',
        '4: source[1].name: "a" is used twice; each needs a name of its own',
    ),
    "source twice by default": (
        "[[source]]\n[[source]]",
        '2: source[1].name: "greenstack" is used twice; each needs a name of its own',
    ),
    "rule twice": (
        '[[redact.rule]]\nid = "a"\npattern = "x"\n[[redact.rule]]\nid = "a"\npattern = "y"',
        '5: redact.rule[1].id: "a" is used twice; each needs a name of its own',
    ),
    "rule without pattern": ('[[redact.rule]]\nid = "a"', "1: redact.rule[0].pattern: is missing"),
    "bad regex": (
        "[[redact.rule]]\nid = 'a'\npattern = '(('",
        "3: redact.rule[0].pattern: not a regular expression: missing ), unterminated subpattern at position 1",
    ),
    "look-around": (
        "[[redact.rule]]\nid = 'a'\npattern = '(?<=x)y'",
        "3: redact.rule[0].pattern: look-around is not supported; a group named `secret` marks what is to be replaced",
    ),
    "back-reference": (
        "[[redact.rule]]\nid = 'a'\npattern = '(x)\\1'",
        "3: redact.rule[0].pattern: back-references are not supported",
    ),
    "regex that matches nothing at all": (
        "[redact]\nallow = ['a', 'x*']",
        "2: redact.allow[1]: matches the empty text, so it would match everywhere",
    ),
    "header injection": (
        '[loki.headers]\nX-A = "a\\r\\nX-B: b"',
        "2: loki.headers.X-A: a header value has no line breaks or control characters",
    ),
    "header name": ('[loki.headers]\n"X A" = "a"', '2: loki.headers."X A": no header name: use letters, digits and -'),
    "our header": (
        '[loki.headers]\nX-Scope-OrgID = "a"',
        "2: loki.headers.X-Scope-OrgID: X-Scope-OrgID cannot be set here: use tenant_id",
    ),
    "secret header": (
        '[loki.headers]\nAuthorization = "Bearer hunter2"',
        f"2: loki.headers.Authorization: Authorization is a secret: use {SECRET_WAYS}",
    ),
    "number for a header": ("[loki.headers]\nX-A = 5", f"2: loki.headers.X-A: write {SECRET_WAYS}"),
    "unknown way of a header's secret": (
        '[loki.headers]\nX-A = { fil = "/hunter2" }',
        '2: loki.headers.X-A.fil: unknown key "fil" (did you mean "file"?)',
    ),
    "plain secret": (
        '[loki]\nbearer_token = "hunter2"',
        f"2: loki.bearer_token: a secret is never written into the configuration: use {SECRET_WAYS}",
    ),
    "number for a secret": ("[loki]\nbearer_token = 5", f"2: loki.bearer_token: write {SECRET_WAYS}"),
    "secret in two places": (
        '[loki]\nbearer_token = { env = "A", file = "/b" }',
        "2: loki.bearer_token: name exactly one of file, env, credential",
    ),
    "secret in none": ("[loki]\nbearer_token = {}", "2: loki.bearer_token: name exactly one of file, env, credential"),
    "relative secret": (
        '[loki]\nbearer_token = { file = "x" }',
        '2: loki.bearer_token.file: "x" is not an absolute path',
    ),
    "credential that is a path": (
        '[loki]\nbearer_token = { credential = "../x" }',
        '2: loki.bearer_token.credential: "../x" must match ^[A-Za-z0-9_][A-Za-z0-9_.-]*$',
    ),
    "two kinds of authentication": (
        '[loki]\nbearer_token = { env = "A" }\nbasic_auth = { username = "u", password = { env = "A" } }',
        "1: loki: basic_auth and bearer_token exclude each other",
    ),
    "authentication and a header": (
        '[loki]\nbearer_token = { env = "A" }\nheaders = { authorization = { env = "A" } }',
        "1: loki: a header Authorization and basic_auth or bearer_token exclude each other",
    ),
    "user without password": ('[loki]\nbasic_auth = { username = "u" }', "2: loki.basic_auth.password: is missing"),
    "key without certificate": ('[loki.tls]\nkey_file = "/k"', "1: loki.tls: key_file is of no use without cert_file"),
    "certificate without key": (
        '[loki.tls]\ncert_file = "/c"',
        "1: loki.tls: cert_file needs its key: set key_file (the same path when one file holds both)",
    ),
    "missing authority": (
        '[loki.tls]\nca_file = "/not/there"',
        "2: loki.tls.ca_file: /not/there is not there: create it, readable by the agent",
    ),
    "no port": (
        '[server]\nlisten = "localhost"',
        r'2: server.listen: "localhost" must match ^(?:\[[0-9A-Fa-f:.]+\]|[^:\[\]/\s]*):[0-9]{1,5}$',
    ),
    "port out of range": (
        '[server]\nlisten = ":65536"',
        "2: server.listen: port 65536 does not exist; ports go from 0 to 65535",
    ),
    "no IPv6 address": ('[server]\nlisten = "[::g]:1"', None),
    "no IPv6 address by meaning": ('[server]\nlisten = "[1:2]:1"', "2: server.listen: [1:2] is no IPv6 address"),
}


@pytest.mark.parametrize(("text", "expected"), MISTAKES.values(), ids=MISTAKES.keys())
def test_one_mistake_is_told_once_at_its_place(told: Any, text: str, expected: str | None) -> None:
    problems = told(text, A="hunter2-value")
    assert len(problems) == 1
    assert expected is None or problems == [f"config.toml:{expected}"]
    assert "hunter2" not in problems[0]


@pytest.mark.parametrize("listen", ["127.0.0.1:0", ":9480", "0.0.0.0:65535", "[::1]:9480", "localhost:1"])
def test_an_address_to_listen_on(loaded: Any, listen: str) -> None:
    assert loaded(f'[server]\nlisten = "{listen}"').server.listen == listen


@pytest.mark.parametrize(
    "glob", ["/a", "/**/*.log", "/a/[ab]?.log", "/a/[]].log", "/a/[!]]", "/a/[[]x", "/a/{x}", "/ö b"]
)
def test_a_glob_that_can_match(glob: str) -> None:
    assert config.Source(include=(glob,)).include == (glob,)


@pytest.mark.parametrize(
    "name", ["utf-8", "UTF8", "latin-1", "cp1252", "shift-jis", "utf-16", "utf-16-be", "utf_32_le"]
)
def test_an_encoding_whose_lines_can_be_found(name: str) -> None:
    assert config.Source(encoding=name).encoding == name


@pytest.mark.parametrize("pattern", [r"\(\?=x", "[(?=]x", r"\\1", "[[:alpha:]]+", "(?P<secret>a)", "(?:x)", "(?i)x"])
def test_a_pattern_the_matcher_can_take(pattern: str) -> None:
    assert config.RedactRule(id="a", pattern=pattern).pattern == pattern


def labels(count: int) -> str:
    return "".join(f'l{number} = "x"\n' for number in range(count))


def test_loki_takes_fifteen_labels_and_service_name(told: Any, loaded: Any) -> None:
    enough = f'[labels.static]\nservice_name = "x"\n{labels(13)}'
    assert len(loaded(enough).labels.static) == 14
    (problem,) = told(f"{enough}more = 'x'\n")
    assert problem.startswith(
        'config.toml:1: labels: streams of source "greenstack" would have 16 labels; Loki takes 15 (filename, host, l0,'
    )


def test_labels_of_a_source_and_of_its_pods_count(told: Any) -> None:
    text = f'[[source]]\nname = "p"\ninclude = ["/var/log/pods/*/*/*.log"]\nlabels = {{ a = "b" }}\n[labels.static]\n{labels(10)}'
    (problem,) = told(text)
    assert problem.startswith('config.toml:4: source[0].labels: streams of source "p" would have 16 labels')


def test_a_namespace_label_is_right_where_there_are_no_pods(loaded: Any) -> None:
    assert loaded('[labels]\nstatic = { namespace = "x" }').labels.static == {"namespace": "x"}


# ── Many mistakes ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_mistakes_of_every_kind_are_told_at_once_in_the_order_of_the_file(told: Any) -> None:
    text = """\
[agent]
log_level = "loud"
[[source]]
name = "a"
include = ["x"]
[[source]]
name = "a"
[batch]
max_bytes = "8 potatoes"
[loki]
timout = "1s"
bearer_token = { file = "/not/there" }
[loki.retry]
first_delay = "50s"
[server]
listen = ":99999"
"""
    problems = told(text, **{f"{P}LABELS__MAX_STREAMS": "0", f"{P}LOKY__URL": "x"})
    assert [problem.split(": ")[0] + " " + problem.split(": ")[1] for problem in problems] == [
        "config.toml:2 agent.log_level",
        "config.toml:5 source[0].include[0]",
        "config.toml:7 source[1].name",
        "config.toml:9 batch.max_bytes",
        "config.toml:11 loki.timout",
        "config.toml:12 loki.bearer_token",
        "config.toml:13 loki.retry",
        "config.toml:16 server.listen",
        f"environment {P}LABELS__MAX_STREAMS",
        f"environment {P}LOKY__URL",
    ]


def test_what_may_only_follow_from_another_mistake_is_not_told(told: Any) -> None:
    assert len(told('[buffer]\nmax_bytes = "x"\nsegment_bytes = "1GiB"\n')) == 2 - 1
    assert len(told('[buffer]\nmax_byte = "9GiB"\nsegment_bytes = "1GiB"\n')) == 1
    assert len(told('[[source]]\nname = "a b"\n[[source]]\nname = "greenstack"\n')) == 1


def test_the_message_of_the_exception_is_all_problems() -> None:
    problems = (Problem("f", 1, None, "a", "b"), Problem("environment", None, None, "C", "d"))
    assert str(ConfigInvalid(problems)) == "f:1: a: b\nenvironment: C: d"


# ── Places ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("text", "line", "column"),
    [
        ("x = 1", 1, 1),
        ("[loki]\n  x = 1", 2, 3),
        ("loki.x = 1", 1, 1),
        ("loki.retry.x = 1", 1, 1),
        ("[loki]\nretry.x = 1", 2, 1),
        ("\n[loki.retry]\n# c\nx = 1", 4, 1),
        ("[loki]\nretry = { x = 1 }", 2, 11),
        ('[loki]\nretry = { first_delay = "1s", x = 1 }', 2, 31),
        ("[loki]\n'x' = 1", 2, 1),
        ('[loki]\n"x\\u0041" = 1', 2, 1),
        ("[[source]]\n[[source]]\nname='b'\nx = 1", 4, 1),
        ('[[redact.rule]]\nid="a"\npattern="a"\n[[redact.rule]]\nid="b"\npattern="b"\nx = 1', 7, 1),
        ('redact.rule = [\n  { id = "a", pattern = "a" }, # c\n  { id = "b", pattern = "b", x = 1 },\n]', 3, 30),
        ('source = [{ x = 1, name = "u" }]', 1, 13),
        ('source = [{ name = "a" }, {\tx = 1 }]', 1, 29),
        ('[labels]\nstatic = { a = "üüü", b = 5 }', 2, 23),
    ],
)
def test_a_mistake_is_told_at_its_line_and_column(write: Any, text: str, line: int, column: int) -> None:
    with pytest.raises(ConfigInvalid) as invalid:
        load(write(text), {})
    (problem,) = invalid.value.problems
    assert (problem.line, problem.column) == (line, column)


def test_a_table_below_the_last_of_a_list_belongs_to_that_one(told: Any) -> None:
    text = '[[source]]\nname = "a"\n[source.labels]\na = "x"\n[[source]]\nname = "b"\n[source.labels]\na = ""\n'
    assert told(text) == ["config.toml:8: source[1].labels.a: an empty value is no label; leave the name out"]


def test_a_mistake_of_the_environment_names_the_variable(told: Any) -> None:
    name = f"{P}BATCH__MAX_WAIT"
    assert told('[batch]\nmax_wait = "1s"\n', **{name: "2"}) == [
        f'environment: {name}: write a duration as a number and a unit, such as "200ms", "1s", "5m", "2h" or "7d"'
    ]


def test_a_mistake_inside_a_variable_of_json_names_the_option_too(told: Any) -> None:
    name = f"{P}SOURCE"
    assert told("", **{name: '[{"name": "a"}, {"name": "b", "formt": "cri"}]'}) == [
        f'environment: {name}: source[1].formt: unknown key "formt" (did you mean "format"?)'
    ]


def test_a_conflict_that_only_the_environment_made_names_the_variable(told: Any) -> None:
    name = f"{P}BUFFER__MAX_BYTES"
    (problem,) = told("", **{name: "1MiB"})
    assert problem.startswith(f"environment: {name}: buffer: max_bytes (1MiB) must hold")


def test_a_conflict_in_a_table_of_the_file_is_told_there(told: Any) -> None:
    (problem,) = told('[buffer]\nsegment_bytes = "16MiB"\n', **{f"{P}BUFFER__MAX_BYTES": "1MiB"})
    assert problem.startswith("config.toml:1: buffer: max_bytes (1MiB) must hold")


# ── Unknown variables ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (f"{P}LOKI__TIMOUT", f'unknown variable (did you mean "{P}LOKI__TIMEOUT"?)'),
        (f"{P}LOKI_URL", f'unknown variable (did you mean "{P}LOKI__URL"?)'),
        (f"{P}BUFER", f'unknown variable (did you mean "{P}BUFFER"?)'),
        (f"{P}LOKI__URL__X", f'unknown variable (did you mean "{P}LOKI__URL"?)'),
        (f"{P}LABELS__STATIC__A__B", f'unknown variable (did you mean "{P}LABELS__STATIC"?)'),
        (f"{P}SOURCE__0__NAME", f"a list is set as a whole: {P}SOURCE takes a JSON list"),
        (f"{P}METADATA__FIELDS__0", f"a list is set as a whole: {P}METADATA__FIELDS takes a JSON list"),
        ("GREENSTACK_AGENT_LOKI__URL", f'ignored: the prefix ends in two underscores (did you mean "{P}LOKI__URL"?)'),
    ],
)
def test_a_misspelt_variable_does_not_pass_in_silence(told: Any, name: str, message: str) -> None:
    assert told("", **{name: "1"}) == [f"environment: {name}: {message}"]


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("METADATA__FIELDS", "a,b", 'write a list such as ["…", "…"], not "a,b"'),
        ("LOKI", "garbage", 'write a table, not "garbage"'),
        ("LOKI__TLS", "[" * 100_000, 'write a table, not "[[[[[[[[[[[…"'),
        ("LOKI__MAX_IN_FLIGHT", "four", 'write a whole number, not "four"'),
        ("REDACT__ENABLED", "nope", 'write true or false, not "nope"'),
        ("LOKI__BEARER_TOKEN", "hunter2", f"a secret is never written into the configuration: use {SECRET_WAYS}"),
    ],
)
def test_a_variable_that_cannot_be_understood_is_told(told: Any, name: str, value: str, message: str) -> None:
    assert told("", **{P + name: value}) == [f"environment: {P}{name}: {message}"]


# ── Secrets and files that are named ──────────────────────────────────────────────────────────────────────────────────


def test_secrets_that_are_there_are_not_read_into_the_configuration(loaded: Any, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("hunter2\n")
    one = loaded(f'[loki]\nbearer_token = {{ file = "{tmp_path}/token" }}')
    assert one.loki.bearer_token == config.Secret(file=f"{tmp_path}/token")
    assert "hunter2" not in repr(one)


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        ('{ file = "/not/there" }', ["file /not/there", "not there", "create it"]),
        ('{ env = "NO_SUCH" }', ["environment variable NO_SUCH", "not set", "set it"]),
        ('{ env = "EMPTY" }', ["environment variable EMPTY", "empty", "write the secret into it"]),
        ('{ credential = "token" }', ["credential token", "LoadCredential=token:"]),
        ('{ env = "LINES" }', ["several lines"]),
    ],
)
def test_a_secret_that_is_not_there_is_told_with_the_place_and_the_remedy(
    told: Any, reference: str, words: list[str]
) -> None:
    (problem,) = told(f"[loki]\nbearer_token = {reference}\n", EMPTY=" ", LINES="a\nb")
    assert problem.startswith("config.toml:2: loki.bearer_token: ")
    assert all(word in problem for word in words)


def test_a_credential_is_looked_for_where_systemd_puts_it(loaded: Any, told: Any, tmp_path: Path) -> None:
    text = '[loki]\nbearer_token = { credential = "token" }'
    assert "create it" in told(text, CREDENTIALS_DIRECTORY=str(tmp_path))[0]
    (tmp_path / "token").write_text("hunter2")
    assert loaded(text, CREDENTIALS_DIRECTORY=str(tmp_path)).loki.bearer_token is not None


def test_every_place_a_secret_can_be_named_in_is_looked_at(told: Any) -> None:
    text = """\
[redact]
hash_key = { env = "A" }
[loki]
basic_auth = { username = "u", password = { env = "B" } }
[loki.headers]
X-A = { env = "C" }
"""
    assert [problem.split(":")[1] for problem in told(text)] == ["2", "4", "6"]


def test_places_need_not_hold_anything_when_only_the_text_is_checked(write: Any) -> None:
    path = write('[loki]\nbearer_token = { file = "/not/there" }\ntls = { ca_file = "/not/there" }')
    assert load(path, {}, secrets=False).loki.bearer_token == config.Secret(file="/not/there")


def test_a_certificate_file_must_hold_something(told: Any, tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    assert told(f'[loki.tls]\nca_file = "{tmp_path}/empty"')[0].endswith("empty is empty")
    assert "cannot be read: Is a directory" in told(f'[loki.tls]\nca_file = "{tmp_path}"')[0]


def test_a_certificate_file_must_be_readable(told: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path, mode: str) -> None:
        raise PermissionError(13, "Permission denied", str(self))

    (tmp_path / "ca").write_text("x")
    monkeypatch.setattr(settings, "Path", type("Shut", (type(tmp_path),), {"open": refuse}))
    assert "ca may not be read" in told(f'[loki.tls]\nca_file = "{tmp_path}/ca"')[0]


# ── Whatever is written ───────────────────────────────────────────────────────────────────────────────────────────────

KEYS = st.sampled_from(
    [
        "agent",
        "source",
        "loki",
        "labels",
        "static",
        "headers",
        "retry",
        "rule",
        "redact",
        "name",
        "include",
        "url",
        "x",
        '"a b"',
    ]
)
VALUES = st.sampled_from(
    ['"x"', "5", "true", "[]", "{}", '["/x"]', '{ file = "/x" }', "1.5", "1979-05-27", '"1s"', "[{}]"]
)
LINES = st.one_of(
    st.builds("[{}]".format, KEYS),
    st.builds("[[{}]]".format, KEYS),
    st.builds("[{}.{}]".format, KEYS, KEYS),
    st.builds("[[{}.{}]]".format, KEYS, KEYS),
    st.builds("{} = {}".format, KEYS, VALUES),
    st.builds("{}.{} = {}".format, KEYS, KEYS, VALUES),
    st.builds("{} = {{ {} = {} }}".format, KEYS, KEYS, VALUES),
)


def problems_of(path: Path, environ: Mapping[str, str] | None = None) -> tuple[Problem, ...] | None:
    try:
        load(path, environ or {})
    except ConfigInvalid as invalid:
        return invalid.problems
    return None


@given(lines=st.lists(LINES, max_size=8))
def test_any_text_is_a_configuration_or_has_problems_at_its_lines(
    tmp_path_factory: pytest.TempPathFactory, lines: list[str]
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.toml"
    path.write_text("\n".join(lines), encoding="utf-8")
    problems = problems_of(path)
    assert problems != ()
    for problem in problems or ():
        assert problem.file == str(path)
        assert problem.line is not None
        assert 1 <= problem.line <= max(len(lines), 1)
        assert problem.message


@given(data=st.binary(max_size=60))
def test_any_bytes_are_a_configuration_or_have_problems(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "bytes.toml"
    path.write_bytes(data)
    assert problems_of(path) != ()


ANY_VALUE = st.one_of(
    st.text(max_size=20), st.sampled_from(["[]", "{}", "null", "[1]", '{"file": 1}', "[{}]", "true", "1"])
)


@given(environ=st.dictionaries(st.sampled_from(settings._all_variables()), ANY_VALUE, max_size=4))
def test_any_environment_makes_a_configuration_or_has_problems(
    tmp_path_factory: pytest.TempPathFactory, environ: dict[str, str]
) -> None:
    path = tmp_path_factory.getbasetemp() / "empty.toml"
    path.touch()
    assert problems_of(path, environ) != ()


@given(size=st.integers(0, 1 << 50))
def test_a_size_is_read_as_it_is_written(size: int) -> None:
    assert config.parse_size(config.format_size(size)) == size


@given(milliseconds=st.integers(0, 10**9))
def test_a_duration_is_read_as_it_is_written(milliseconds: int) -> None:
    seconds = config.parse_duration(config.format_duration(milliseconds / 1000))
    assert seconds == pytest.approx(milliseconds / 1000, rel=1e-5)


# ── The schema ────────────────────────────────────────────────────────────────────────────────────────────────────────


def definitions() -> dict[str, Any]:
    made = schema()
    return {"Config": made, **made["$defs"]}


def test_the_schema_knows_and_describes_every_option() -> None:
    made = definitions()
    for name, table in vars(config).items():
        if isinstance(table, type) and issubclass(table, BaseModel) and table not in {BaseModel, config.Table}:
            assert list(made[name]["properties"]) == list(table.model_fields)
            assert made[name]["additionalProperties"] is False
            assert name == "Config" or all(option["description"] for option in made[name]["properties"].values()), name


def test_the_schema_writes_quantities_as_the_file_does() -> None:
    made = definitions()
    batch = made["Batch"]["properties"]
    assert batch["max_bytes"]["default"] == "1MiB"
    assert batch["max_wait"]["default"] == "1s"
    assert batch["max_wait"]["type"] == "string"
    assert {option["type"] for option in batch["max_bytes"]["anyOf"]} == {"string", "integer"}
    assert re.search(batch["max_wait"]["pattern"], "200ms")
    assert not re.search(batch["max_wait"]["pattern"], "200")
    assert all(re.search(batch["max_bytes"]["anyOf"][0]["pattern"], size) for size in ("1MiB", "5 kb", "1.5TiB", "9B"))


def test_the_schema_takes_one_way_to_a_secret() -> None:
    secret = definitions()["Secret"]
    assert list(secret["properties"]) == ["file", "env", "credential"]
    assert (secret["minProperties"], secret["maxProperties"]) == (1, 1)
    assert all(option["type"] == "string" for option in secret["properties"].values())


def test_the_schema_has_no_null_for_toml_has_none() -> None:
    assert "null" not in json.dumps(schema())


@pytest.mark.parametrize(
    ("multiline", "problem"),
    [
        ('{ start = "(?=a)b" }', "look-around is not supported"),
        ('{ start = "(" }', "not a regular expression"),
        ('{ start = "a*" }', "matches the empty text"),
        ('{ start = "a\\\\nb" }', "cannot hold a line break"),
        ('{ timeout = "2s" }', "start"),
        ('{ start = "a", timeout = "1h" }', "timeout"),
        ('{ start = "a", max_line = 3 }', "max_lines"),
        ('{ start = "a", max_lines = 1 }', "max_lines"),
    ],
)
def test_a_mistake_in_multiline_is_told_at_its_place(told: Any, multiline: str, problem: str) -> None:
    (message,) = told(f"[[source]]\nmultiline = {multiline}\n")
    assert message.startswith("config.toml:2: source[0].multiline") or "source.multiline" in message
    assert problem in message
