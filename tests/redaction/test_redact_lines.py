"""Lines written down one by one: each format of the catalogue where it stands in life, and what only looks like it.

`catalogue_lines.txt` are templates (see samples.py); what is between « and » has to go. `harmless_lines.txt` stay as they are.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from agent import config
from agent.transform.redact import Redactor
from agent.transform.redaction import samples

HERE = Path(__file__).parent
TEMPLATES = (HERE / "catalogue_lines.txt").read_text().splitlines()
HARMLESS = (HERE / "harmless_lines.txt").read_text().splitlines()
CONTEXTS: dict[str, Callable[[str], str]] = {
    "message": lambda text: json.dumps({"level": "INFO", "message": text, "n": 1}),
    "non-ascii": lambda text: json.dumps({"message": "für " + text}),
    "text": lambda text: "2026-01-02 03:04:05 INFO x - " + text,
    "traceback": lambda text: json.dumps({"exc_info": f'Traceback:\n  File "/a.py", line 1\nValueError: {text}\n'}),
    "nested": lambda text: json.dumps({"a": {"b": [text]}}),
    "json in json": lambda text: json.dumps({"body": json.dumps({"x": text})}),
}
LEAST_RECALL = 0.99


@pytest.fixture(scope="module")
def redactor() -> Redactor:
    return Redactor.build(config.Redact(), pseudonym_key=b"k" * 32)


def test_the_formats_of_the_catalogue_go(redactor):
    seed = random.SystemRandom().randrange(10**9)
    dice = random.Random(seed)
    missed, cases = [], 0
    for template in TEMPLATES:
        for name, context in CONTEXTS.items():
            text, secrets = samples.split_marks(samples.expand(template, dice))
            out = redactor.line(context(text).encode())[0].decode()
            cases += 1
            if any(secret in out or json.dumps(secret)[1:-1] in out for secret in secrets):
                missed.append((name, template, out))
    assert cases > 1_500
    assert len(missed) <= (1 - LEAST_RECALL) * cases, (seed, missed[:10])


def test_everyday_lines_stay(redactor):
    changed = []
    for text in HARMLESS:
        for context in (str, *CONTEXTS.values()):
            line = context(text).encode()
            if redactor.line(line)[0] != line:
                changed.append(line)
    assert changed == []
