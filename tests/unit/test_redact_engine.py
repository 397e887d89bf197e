"""Which finder is chosen, and that the three agree on what a line needs."""

from __future__ import annotations

import subprocess
from types import SimpleNamespace

import pytest

from agent.transform.redaction import engine, literals


@pytest.fixture(autouse=True)
def forget():
    engine.select_engine.cache_clear()
    yield
    engine.select_engine.cache_clear()


def test_a_working_hyperscan_is_chosen():
    assert engine.select_engine() == "hyperscan"


@pytest.mark.parametrize("code", [-4, 1])
def test_a_hyperscan_that_dies_is_not(monkeypatch, code):
    monkeypatch.setattr(engine.subprocess, "run", lambda *_, **__: SimpleNamespace(returncode=code))
    assert engine.select_engine() in ("re2", "re")


def test_a_hyperscan_that_hangs_is_not(monkeypatch):
    def hang(*_, **__):
        raise subprocess.TimeoutExpired("x", 1)

    monkeypatch.setattr(engine.subprocess, "run", hang)
    assert engine.select_engine() in ("re2", "re")


def test_without_any_package_the_stdlib_does(monkeypatch):
    monkeypatch.setattr(engine.importlib.util, "find_spec", lambda _: None)
    assert engine.select_engine() == "re"
    assert engine.installed_engine() == "re"


@pytest.mark.parametrize(
    ("pattern", "needed"),
    [
        ("ghp_[a-z]{3}", (b"ghp_",)),
        ("(?:abc|de)x", (b"abc", b"de")),
        ("[0-9]+", ()),
        ("a?bcd", (b"bcd",)),
        ("(?i)ABC", (b"abc",)),
    ],
)
def test_required_literals_are_read_off_the_pattern(pattern, needed):
    assert tuple(sorted(literals.required(pattern))) == tuple(sorted(needed))


@pytest.mark.parametrize(
    ("pattern", "fine"), [("[a-z]+@x", True), ("(?:a+b)+", False), ("(?:a{1,3}){2}", True), ("a*b*c*d*", False)]
)
def test_patterns_that_may_backtrack_badly_are_known(pattern, fine):
    assert (literals.not_linear(pattern) is None) is fine
