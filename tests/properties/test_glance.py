"""What is told at a glance is what a whole parser says, whatever stands in the line and in the lines before."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from agent.transform.glance import Glancer, values_of
from agent.transform.parse import LineDecoder

NAMES = ("level", "request_id", "trace_id", "a_name_of_more_than_16_bytes", "n")
names = st.sampled_from(
    (*NAMES, "message", "logger", "lever", "request_ix", "a_name_of_more_than_16_bytez", "", "größe", "m")
)
texts = st.text(alphabet=st.characters(codec="utf-8"), max_size=40) | st.text(alphabet='ab0 "\\/\n\x1fé', max_size=20)
plain = st.text(alphabet=st.characters(min_codepoint=0x20, max_codepoint=0x7E, exclude_characters='"\\'), max_size=40)
scalars = texts | plain | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.booleans() | st.none()
values = scalars | st.lists(scalars, max_size=2) | st.dictionaries(names, scalars, max_size=2)
objects = st.dictionaries(names, values, max_size=8)
separators = st.sampled_from(((", ", ": "), (",", ":"), (" ,  ", " : ")))


@st.composite
def lines(draw: st.DrawFn) -> bytes:
    text = json.dumps(draw(objects), ensure_ascii=draw(st.booleans()), separators=draw(separators))
    return text.encode()


@st.composite
def spoilt(draw: st.DrawFn) -> bytes:
    """A line of which a few bytes are others, more, or fewer."""
    line = bytearray(draw(lines()))
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(line)))
        line[at : at + draw(st.integers(0, 2))] = draw(
            st.binary(max_size=2) | st.sampled_from((b'"', b"\\", b",", b"0", b"."))
        )
    return bytes(line)


def whole(line: bytes, known: tuple[str, ...] = NAMES) -> tuple[object, ...] | None:
    """What msgspec says; None for no JSON object."""
    decoder = LineDecoder((), known, known)
    try:
        return decoder.glanced(decoder.glance(line))
    except msgspec.DecodeError:
        return None


@given(st.lists(lines() | spoilt(), max_size=6))
@example([b'{"level": "INFO", "n": "1"}', b'{"level": "WARN", "n": 1}', b'{"n": "1", "m": "x"}'])
@example([b'{"level": "INFO", "lev\\u0065l": "x"}', b'{"request_id": "1", "request_i\\u0064": "x"}'])
@example([b'{"level": "INFO", "level": "x"}', b'{"m": "\\ud800", "n": "x"}', b'{"m": "\\q", "n": "x"}'])
@example([b'{"level": "INFO"}' + b" ", b'{"level": "INFO",}', b'{"level": "INFO"}}', b'{"level": "INFO" "n": ""}'])
@example(
    [
        b'{"level": "INFO", "m": 01}',
        b'{"level": "INFO", "m": 1.}',
        b'{"level": "INFO", "m": -}',
        b'{"level": "A", "m": -0}',
    ]
)
@example(
    [b'{"level": "INFO", "m": tru}', b'{"level": "INFO", "m": falsy}', b'{"level": "INFO", "m": nullx}', b'{"m": true}']
)
def test_what_is_told_is_what_a_parser_says(several: list[bytes]) -> None:
    glancer = Glancer(NAMES)
    for line in several:
        key = glancer.look(line, 0)
        if key is not None:
            assert values_of(key) == whole(line)


flat = st.dictionaries(
    st.sampled_from((*NAMES, "message", "größe", "m")),
    plain | st.integers() | st.booleans() | st.none(),
    min_size=2,
    max_size=8,
)


@given(st.lists(st.tuples(flat, st.sampled_from(((", ", ": "), (",", ":"))), st.booleans()), min_size=1, max_size=6))
def test_common_lines_are_told(several: list[tuple[dict[str, object], tuple[str, str], bool]]) -> None:
    glancer = Glancer(NAMES)
    for members, marks, ascii_only in several:
        for name in NAMES:
            if not isinstance(members.get(name, ""), str):
                del members[name]
        if ascii_only:
            members.pop("größe", None)  # a name with escapes is left to the parser
        line = json.dumps(members, ensure_ascii=ascii_only, separators=marks).encode()
        key = glancer.look(line, 0)
        if len(line) < 17:
            assert key is None
            continue
        assert key is not None
        assert values_of(key) == tuple(members.get(name) for name in NAMES)
        assert glancer.look(line, 0) is key


@pytest.mark.parametrize(
    "message", ["x" * size for size in range(20)] + ["tab\t", 'a "word"', "back\\slash", "ü", "/", "\u20ac" * 9]
)
@pytest.mark.parametrize(
    "last", ["1", "12345678901234567890", '"x"', "true", "false", "null", "-1.25", '"' + "y" * 30 + '"']
)
def test_a_value_may_end_anywhere_in_eight_bytes(message: str, last: str) -> None:
    line = f'{{"message": {json.dumps(message)}, "level": "INFO", "line": {last}}}'.encode()
    key = Glancer(("level",)).look(line, 0)
    assert key is not None
    assert values_of(key) == ("INFO",)


def test_the_first_member_may_be_left_out() -> None:
    line = b'{"timestamp": 1763461805.849400, "level": "INFO", "message": "x"}'
    glancer = Glancer(("level",))
    assert glancer.look(line, line.index(b",")) == b"INFO"
    assert glancer.look(line, line.index(b",") + 1) is None
    assert glancer.look(line, len(line) - 1) is None


def test_more_names_than_bits_are_left_to_the_parser() -> None:
    assert Glancer([f"name{n}" for n in range(63)]).look(b'{"name1": "x", "name2": "y"}', 0) is None
    assert Glancer(("", "level")).look(b'{"level": "x", "": "y"}', 0) is None


def test_sixty_two_names_are_told_apart() -> None:
    many = [f"name{n}" for n in range(62)]
    line = json.dumps({name: name.upper() for name in many}).encode()
    key = Glancer(many).look(line, 0)
    assert key is not None
    assert values_of(key) == tuple(name.upper() for name in many)
