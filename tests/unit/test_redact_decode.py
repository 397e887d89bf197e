"""agent.transform.redaction.decode: the same text in other clothes, and the way back."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from agent.transform.redaction import decode
from agent.transform.redaction.rule import Hit


@given(st.text(alphabet='ab"\\\n\té🙂\x00', max_size=30), st.booleans(), st.data())
def test_a_part_of_a_json_string_is_found_again_in_its_content(
    text: str, ascii_only: bool, data: st.DataObject
) -> None:
    content = json.dumps(text, ensure_ascii=ascii_only)[1:-1]
    start, end = sorted((data.draw(st.integers(0, len(text))), data.draw(st.integers(0, len(text)))))
    back = decode.JsonView(content).back(Hit(start, end, "x"))
    assert decode.unescape(content[back.start : back.end]) == text[start:end]
    assert decode.unescape(content[: back.start]) == text[:start]
