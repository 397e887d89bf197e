"""Lines written down one by one: each format of the catalogue where it stands in life, and what only looks like it.

`catalogue_lines.txt` are templates (see samples.py); what is between « and » has to go. `harmless_lines.txt` stay as they are.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

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


def test_a_long_line_of_nothing_but_beginnings_is_given_up_and_a_run_of_letters_is_not(redactor):
    dense = b"token " * 40_000
    assert redactor.line(dense)[0].startswith(b'{"redaction":"failed"')
    run = b'{"password": "hunter2hunter", "d": "' + b"A" * 400_000 + b'"}'
    out = redactor.line(run)[0]
    assert b"[REDACTED:password]" in out
    assert len(out) > 400_000


def test_an_end_without_its_beginning_takes_the_body_before_it(redactor):
    body = b"MIIB" + b"x3Yz" * 15
    out = redactor.line(b'n", "a": "' + body + b"\\n" + body + b'\\n-----END PRIVATE KEY-----", "b": 1}')[0]
    assert body not in out
    assert out.endswith(b'", "b": 1}')
