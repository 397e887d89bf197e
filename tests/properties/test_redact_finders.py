"""The three finders give identical output, whatever the bytes."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_redact_properties import NASTY_BYTES

from agent import config
from agent.transform.redact import Redactor

pytest.importorskip("re2")
ENGINES = ("hyperscan", "re2", "re")
REDACTORS = [
    Redactor.build(config.Redact(enable=("phone", "person")), pseudonym_key=b"k" * 32, engine=engine)  # type: ignore[arg-type]
    for engine in ENGINES
]


@settings(max_examples=150)
@given(st.lists(NASTY_BYTES, max_size=6))
def test_every_finder_leads_to_the_same_output(lines):
    results = []
    for redactor in REDACTORS:
        out = list(lines)
        facts = redactor.chunk(b"".join(line + b"\n" for line in lines), out)
        results.append((out, facts.hits, facts.changed, facts.dropped, facts.open_key))
    assert results[0] == results[1] == results[2]
