"""Whatever the bytes: no exception, valid JSON stays valid, a second time changes nothing, unflagged lines are untouched."""

from __future__ import annotations

import json

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from lent_patterns import LentPatterns

from agent import config
from agent.transform.redact import Redactor


@pytest.fixture(scope="module")
def hashing(lent: LentPatterns) -> Redactor:
    return Redactor.build(config.Redact(mode="hash"), pseudonym_key=b"k" * 32, store=lent)


WORDS = st.sampled_from(
    [
        "password",
        "token",
        "secret",
        "api_key",
        "authorization",
        "cookie",
        "Bearer",
        "Basic",
        "credentials",
        "session_id",
        "otp",
        "iban",
        "pin",
        "is",
        "for",
        "=",
        ":",
        ":=",
        "=>",
        "->",
        '"',
        "'",
        "\\",
        '\\"',
        "`",
        ",",
        ";",
        "&",
        "?",
        "{",
        "}",
        "[",
        "]",
        "(",
        ")",
        "<",
        ">",
        "://",
        "@",
        "https://u:p@h/",
        "--",
        "-u",
        "hunter2",
        "aB3dE6gH9jK2",
        "none",
        "null",
        "***",
        "[REDACTED:password]",
        "[REDACTED:x]",
        "[REDACTED]",
        "[email:0123456789ab]",
        "john@example.com",
        "4111111111111111",
        "%70%61",
        "\\u0070",
        "\\n",
        "eyJhbGciOiJIUzI1NiJ9.e30.x",
        "-----BEGIN",
        "PRIVATE",
        "KEY-----",
        "INSERT",
        "INTO",
        "VALUES",
        "IDENTIFIED",
        "BY",
        "input_value=",
        "loc",
        "name",
        "value",
        "\u200b",
        "ｐ",
        "\x1b[0m",
        "\x00",
        "é",
        "🙂",
    ]
)
NASTY_TEXT = st.lists(st.one_of(WORDS, st.just(" "), st.text(max_size=4)), max_size=24).map("".join)
NASTY_BYTES = st.one_of(st.binary(max_size=200), NASTY_TEXT.map(lambda t: t.encode("utf-8", "surrogatepass"))).map(
    lambda b: b.replace(b"\n", b" ")
)
KEYS = st.one_of(
    st.sampled_from(
        [
            "password",
            "token",
            "authorization",
            "cookie",
            "credentials",
            "loc",
            "input",
            "name",
            "value",
            "kty",
            "k",
            "otp",
            "url",
            "message",
            "session_id",
            "auth",
        ]
    ),
    NASTY_TEXT,
)
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), NASTY_TEXT),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(KEYS, inner, max_size=4)),
    max_leaves=12,
)
DOCUMENTS = st.dictionaries(
    KEYS, st.one_of(VALUES, VALUES.map(lambda v: json.dumps(v, ensure_ascii=False))), max_size=5
)


@settings(max_examples=300)
@given(line=NASTY_BYTES)
def test_any_bytes_come_out_redacted_once_and_for_all(redactor, line):
    out, findings = redactor.line(line)
    assert b"\n" not in out
    if not findings:
        assert out == line
    assert redactor.line(out)[0] == out


@st.composite
def broken(draw: st.DrawFn) -> bytes:
    """A document with pieces cut out of it, put in, or said twice."""
    text = json.dumps(draw(DOCUMENTS), ensure_ascii=draw(st.booleans()))
    for _ in range(draw(st.integers(1, 4))):
        start, end = sorted((draw(st.integers(0, len(text))), draw(st.integers(0, len(text)))))
        text = text[:start] + draw(st.one_of(WORDS, st.just(text[start:end] * 2))) + text[max(start, end - 12) :]
    return text.replace("\n", " ").encode("utf-8", "surrogatepass")


# Each has text that only the words of a mark made the finder look at: a second time something else went.
@settings(max_examples=300)
@example(line=rb'{" body": "{\"password\": \"\u007\x0ew\"}", "x": ["-upassword>", "a:b"x')
@example(
    line=b"%ob', 'x') [p0assword%3Dabc eyJhbGciOiJIUzI1NiJ9.e30.x : ('a', 'b')[1\"ken\x1b[0m=abc <pasody\": \"{\\\"pasw\\d>x</password>\""
)
@given(line=broken())
def test_malformed_json_comes_out_redacted_once_and_for_all(redactor, line):
    out, findings = redactor.line(line)
    if not findings:
        assert out == line
    assert redactor.line(out)[0] == out


@settings(max_examples=300)
@given(document=DOCUMENTS, ascii_only=st.booleans())
def test_valid_json_stays_valid_with_the_same_keys(redactor, document, ascii_only):
    text = json.dumps(document, ensure_ascii=ascii_only)
    line = text.encode("utf-8", "surrogatepass")
    out = redactor.line(line)[0].decode("utf-8", "surrogatepass")
    after = json.loads(out)
    assert list(after) == list(document) or after.get("redaction") == "failed"
    assert redactor.line(out.encode("utf-8", "surrogatepass"))[0].decode("utf-8", "surrogatepass") == out


@settings(max_examples=150)
@given(lines=st.lists(NASTY_BYTES, max_size=8))
def test_a_chunk_gives_what_its_lines_give(redactor, lines):
    """Private keys over several lines apart: only a chunk can know them."""
    lines = [line.replace(b"PRIVATE", b"") for line in lines]
    out = list(lines)
    facts = redactor.chunk(b"".join(line + b"\n" for line in lines), out)
    assert out == [redactor.line(line)[0] for line in lines]
    assert facts.changed == [n for n, line in enumerate(lines) if out[n] != line]


@settings(max_examples=150)
@given(line=NASTY_BYTES)
def test_pseudonyms_are_final_too(hashing, line):
    out = hashing.line(line)[0]
    assert hashing.line(out)[0] == out
