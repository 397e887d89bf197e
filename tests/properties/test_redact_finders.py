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


@pytest.fixture(scope="module")
def redactors() -> list[Redactor]:
    """One with each finder."""
    settings = config.Redact(enable=("phone", "person"))
    return [Redactor.build(settings, pseudonym_key=b"k" * 32, engine=engine) for engine in ENGINES]  # type: ignore[arg-type]


@settings(max_examples=150)
@given(lines=st.lists(NASTY_BYTES, max_size=6))
def test_every_finder_leads_to_the_same_output(redactors, lines):
    results = []
    for redactor in redactors:
        out = list(lines)
        facts = redactor.chunk(b"".join(line + b"\n" for line in lines), out)
        results.append((out, facts.hits, facts.changed, facts.dropped, facts.open_key))
    assert results[0] == results[1] == results[2]
