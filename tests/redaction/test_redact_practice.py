"""Recall and harm on what frameworks, tools and people write, from fresh dice each run."""

from __future__ import annotations

import json
import random

import harmless
import practice
import pytest

from agent import config
from agent.transform.redact import Redactor

LEAST_RECALL = 0.99
FEWEST_HARMLESS = 5_000


@pytest.fixture(scope="module")
def redactor() -> Redactor:
    return Redactor.build(config.Redact(), pseudonym_key=b"k" * 32)


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
