"""Which finder is chosen, and that the three agree on what a line needs."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from types import SimpleNamespace

import pytest

from agent import config
from agent.transform.redact import Redactor
from agent.transform.redaction import engine, finder, literals

LINE = b'{"password": "hunter2x", "user": "bob@example.com", "own": "our-own-secret-1"}'


class Shelf:
    """A store in memory."""

    def __init__(self, kept: Mapping[str, bytes] | None = None) -> None:
        self.kept = dict(kept or {})
        self.saved = 0

    def load(self, key: str) -> bytes | None:
        return self.kept.get(key)

    def save(self, key: str, data: bytes) -> None:
        self.kept[key] = data
        self.saved += 1


def build(store: Shelf, *keys: str) -> Redactor:
    return Redactor.build(
        config.Redact(keys=keys), pseudonym_key=b"k" * 32, own_secrets=["our-own-secret-1"], store=store
    )


@pytest.fixture(scope="module")
def first() -> tuple[Redactor, Mapping[str, bytes]]:
    """A redactor whose patterns were compiled in a child process, and what was kept of it."""
    shelf = Shelf()
    made = build(shelf)
    assert shelf.saved == 1
    return made, shelf.kept


def test_a_working_hyperscan_is_chosen_and_redacts_as_one_compiled_here(first):
    here = Redactor.build(config.Redact(), pseudonym_key=b"k" * 32, own_secrets=["our-own-secret-1"])
    kept, _ = first
    assert kept.engine == here.engine == "hyperscan"
    assert kept.line(LINE) == here.line(LINE)
    assert b"hunter2x" not in kept.line(LINE)[0]


def test_what_was_compiled_is_not_compiled_again(first, monkeypatch):
    made, kept = first
    monkeypatch.setattr(finder, "compiled_in_child", lambda _: pytest.fail("compiled again"))
    shelf = Shelf(kept)
    again = build(shelf)
    assert shelf.saved == 0
    assert again.line(LINE)[0] == made.line(LINE)[0] != LINE


def test_other_patterns_are_compiled_anew(first):
    _, kept = first
    shelf = Shelf(kept)
    assert b"swordfish" not in build(shelf, "fish_name").line(b'{"fish_name": "swordfish"}')[0]
    assert shelf.saved == 1


@pytest.mark.parametrize("damage", [b"", b"no message pack", b"\x92\xc4\x01x\xc4\x01y"])
def test_what_cannot_be_loaded_is_compiled_anew(damage):
    """With few rules, for how many there are is not what this is about."""
    few = config.Redact(presets=("pii",))
    shelf = Shelf()
    Redactor.build(few, pseudonym_key=b"k" * 32, store=shelf)
    shelf.kept = dict.fromkeys(shelf.kept, damage)
    again = Redactor.build(few, pseudonym_key=b"k" * 32, store=shelf)
    assert shelf.saved == 2
    assert again.engine == "hyperscan"
    assert b"bob@example.com" not in again.line(LINE)[0]


def test_secrets_of_the_agents_own_are_not_kept(first):
    made, kept = first
    assert b"our-own-secret-1" not in made.line(LINE)[0]
    shelf = Shelf(kept)
    Redactor.build(config.Redact(), pseudonym_key=b"k" * 32, own_secrets=["another-secret-2"], store=shelf)
    assert shelf.saved == 0


@pytest.mark.parametrize("code", [-4, 1])
def test_a_hyperscan_that_dies_is_not_used(monkeypatch, code):
    monkeypatch.setattr(engine.subprocess, "run", lambda *_, **__: SimpleNamespace(returncode=code))
    assert build(Shelf()).engine in ("re2", "re")


def test_a_hyperscan_that_hangs_is_not_used(monkeypatch):
    def hang(*_, **__):
        raise subprocess.TimeoutExpired("x", 1)

    monkeypatch.setattr(engine.subprocess, "run", hang)
    assert build(Shelf()).engine in ("re2", "re")


def test_without_any_package_the_stdlib_does(monkeypatch):
    monkeypatch.setattr(engine.importlib.util, "find_spec", lambda _: None)
    assert build(Shelf()).engine == "re"
    assert engine.installed_engine() == "re"
    with pytest.raises(engine.Unusable):
        engine.compiled_in_child([[("a", 1)]])


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


def test_ordinary_lines_are_not_looked_at_closely(redactor):
    """A UUID whose middle is all digits begins like a card number; each such line would cost more than twenty others."""
    lines = [
        b'{"request_id": "866efb2c-a330-4847-8508-165885fad9e3"}',
        b'{"request_id": "0f4d1e5b-4f12-4847-8508-9658a5fad9e3"}',
    ]
    assert redactor.chunk(b"\n".join(lines) + b"\n", lines).flagged == 0
