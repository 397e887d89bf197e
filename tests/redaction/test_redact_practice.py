"""Recall and harm on what frameworks, tools and people write, from fresh dice each run."""

from __future__ import annotations

import json
import random

import harmless
import practice
import pytest

from agent.transform.redact import _without
from agent.transform.redaction import flat
from agent.transform.redaction.verify import Verifier

LEAST_RECALL = 0.99
FEWEST_HARMLESS = 5_000


@pytest.fixture(scope="module")
def seed() -> int:
    fresh = random.SystemRandom().randrange(10**9)
    print(f"\npractice seed {fresh}")
    return fresh


def test_secrets_go_wherever_practice_puts_them(redactor, seed):
    missed, cases = [], 0
    for case in practice.positives(seed):
        cases += 1
        line = case.line.encode("utf-8", "surrogatepass")
        out = redactor.line(line)[0]
        leak = practice.leaks(case, out.decode("utf-8", "surrogatepass"))
        if leak is not None or out == line:
            missed.append((case.where, case.line, leak))
        assert practice.is_json(out) or not practice.is_json(line), case
        assert redactor.line(out)[0] == out, case
    assert cases > 3_000
    assert len(missed) <= (1 - LEAST_RECALL) * cases, missed[:10]


def test_what_only_looks_dangerous_stays(redactor, seed):
    lines = list(harmless.negatives(seed, rounds=6))
    assert len(lines) >= FEWEST_HARMLESS
    data = [line.replace("\n", " ").encode("utf-8", "surrogatepass") for line in lines]
    out = list(data)
    redactor.chunk(b"\n".join(data) + b"\n", out)
    assert [(line, changed) for line, changed in zip(data, out, strict=True) if line != changed] == []


def test_a_line_of_practice_is_json_as_often_as_it_claims(seed):
    assert sum(practice.is_json(case.line) for case in practice.positives(seed)) > 2_000
    assert json.loads(next(iter(harmless.negatives(seed))))["app"] == "greenstack"


def test_the_short_road_of_flat_objects_says_what_the_long_one_says(redactor, seed):
    parts, short = redactor._parts, 0
    lines = [case.line for case in practice.positives(seed)] + list(harmless.negatives(seed, rounds=1))
    for line in lines:
        text = line.encode("utf-8", "surrogatepass").decode("utf-8", "surrogateescape")
        scans = parts.finder.scans_of(text.encode("utf-8", "surrogateescape"))
        quick = flat.hits(text, Verifier(parts.tools, len(text)), scans) if scans else None
        if quick is not None:
            short += 1
            verifier = Verifier(parts.tools, len(text))
            found = verifier.document(text, scans)
            long = redactor._settled(text, found, verifier).decode("utf-8", "surrogateescape") if found else text
            assert _without(text, quick) == long, text
    assert short > 1_000


@pytest.mark.parametrize(
    "line",
    [
        '{"message": "password=hunter2", "message": "fine"}',
        '{"password": "hunter2", "pass\\u0077ord": "hunter3"}',
        '{"a": "x\\\\", "password": "hunter2", "a": 1}',
        '{"name": "password", "value": "hunter2"}',
        '{"note": "\\"password\\": \\"hunter2\\""}',
        '{"password" : "hunter2","password":"hunter3"}',
        '{"x": "password", "password": "hunter2"}',
    ],
)
def test_no_spelling_of_a_flat_object_hides_a_secret(redactor, line):
    assert b"hunter" not in redactor.line(line.encode())[0]
