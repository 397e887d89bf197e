"""A third corpus, invented from what protocols, drivers, routers and languages write, without a look at the other two.

Each line of `invented_lines.txt` is a template with its secrets in « »; `invented_harmless.txt` holds what must stay. Both
go through every envelope, with fresh values at each run. A new idea is one line there.
"""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import pytest

from agent.transform.redaction.samples import expand, from_class, split_marks

HERE = Path(__file__).parent
SECRET_LINES = (HERE / "invented_lines.txt").read_text().splitlines()
HARMLESS_LINES = (HERE / "invented_harmless.txt").read_text().splitlines()
LEAST_RECALL = 0.99
WORDS = ("tiger", "horse", "staple", "winter", "coffee", "garden", "purple", "rocket")

Envelope = Callable[[str], str]


def nested(text: str, depth: int) -> str:
    return text if depth == 0 else nested(json.dumps({"body": text, "n": depth}), depth - 1)


# Each takes a text to where it stands in a line; a secret goes the same way, to be looked for.
ENVELOPES: dict[str, tuple[Envelope, Envelope]] = {
    "text": (lambda t: t.replace("\n", "\\n"), lambda s: s),
    "text behind a logger": (lambda t: "2026-03-17 12:46:45 ERROR svc - " + t.replace("\n", "\\n"), lambda s: s),
    "message": (lambda t: json.dumps({"level": "INFO", "message": t}), lambda s: json.dumps(s)[1:-1]),
    "message as it is": (
        lambda t: json.dumps({"message": t}, ensure_ascii=False),
        lambda s: json.dumps(s, ensure_ascii=False)[1:-1],
    ),
    "json in json": (lambda t: nested(t, 3), lambda s: s),
    "behind a word": (lambda t: json.dumps({"message": "resp=" + json.dumps({"x": t})}), lambda s: s),
    "percent": (lambda t: f"GET /cb?data={quote(t, safe='')} HTTP/1.1", lambda s: quote(s, safe="")),
    "base64": (lambda t: f"blob {base64.b64encode(t.encode()).decode()} end", lambda s: s),
}


def a_word(dice: random.Random) -> str:
    """What people choose, and what generators do."""
    if dice.random() < 0.5:
        return f"{dice.choice(WORDS)}-{dice.choice(WORDS)}-{dice.randrange(10, 99)}"
    return from_class("b62", dice.randrange(9, 20), dice)


def filled(template: str, dice: random.Random) -> str:
    while "{w}" in template:
        template = template.replace("{w}", a_word(dice), 1)
    return expand(template.replace("\\n", "\n").replace("\\r", "\r"), dice)


@pytest.fixture(scope="module")
def dice() -> random.Random:
    seed = random.SystemRandom().randrange(10**9)
    print(f"\ninvented seed {seed}")
    return random.Random(seed)


def test_secrets_go_in_lines_that_nobody_tuned_for(redactor, dice):
    missed, count = [], 0
    for template in SECRET_LINES:
        for name, (envelope, spelled) in ENVELOPES.items():
            text, secrets = split_marks(filled(template, dice))
            line = envelope(text).encode()
            out = redactor.line(line)[0]
            count += 1
            if out == line or any(spelled(secret).encode() in out for secret in secrets):
                missed.append((name, template, out[:200]))
            assert is_json(out) or not is_json(line), out
            assert b'"redaction":"failed"' not in out, line
    assert count > 1_500
    assert len(missed) <= (1 - LEAST_RECALL) * count, missed[:20]


def test_lines_that_only_speak_of_secrets_stay(redactor, dice):
    changed = []
    for template in HARMLESS_LINES:
        for envelope, _ in ENVELOPES.values():
            line = envelope(filled(template, dice)).encode()
            out = redactor.line(line)[0]
            if out != line:
                changed.append((line, out))
    assert changed == []


def is_json(data: bytes) -> bool:
    try:
        json.loads(data)
    except ValueError:
        return False
    return True
