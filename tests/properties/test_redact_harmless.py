"""Values that the short road passes over by their form alone: no procedure of the built-in rules finds anything in them."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from agent.transform.redact import Redactor
from agent.transform.redaction import flat
from agent.transform.redaction.verify import Verifier

# Words that rules look for, where a file may be named after one.
WORDS = st.sampled_from(
    [
        "password",
        "passwd",
        "token",
        "secret",
        "apikey",
        "credentials",
        "login",
        "auth",
        "session",
        "cookie",
        "bearer",
        "pin",
    ]
)
ENDINGS = st.sampled_from(["xml", "json", "csv", "txt", "pdf", "eds"])
NAMED_FILES = st.tuples(WORDS, st.integers(0, 999_999), ENDINGS).map(lambda parts: f"{parts[0]}{parts[1]}.{parts[2]}")


@settings(max_examples=500, deadline=None)
@given(value=st.from_regex(flat._HARMLESS, fullmatch=True) | NAMED_FILES)
def test_what_is_passed_over_by_its_form_holds_nothing(redactor: Redactor, value: str) -> None:
    assert flat._HARMLESS.fullmatch(value)
    assert redactor._parts is not None
    tools = redactor._parts.tools

    assert Verifier(tools, len(value)).plain(value, tools.built_in) == []
