"""A line break within a string is written as an escape: what begins or ends a line of it is found all the same."""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Callable

import pytest

from agent.transform.redact import Redactor
from agent.transform.redaction import samples
from agent.transform.redaction.catalogue import RULES

BREAKS = ("\n", "\r\n")
AROUND = ("line one", "ran, at 4", "x=1;", "", 'it\'s "q"')


def base64_of(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


SECRET = "aB3xK9pQ2zLm"
LINES = {
    "card code": ("cvv 123", "123"),
    "code": ("TAN 123456", "123456"),
    "user and password": ("u:bob p:xK93kdL2x", "xK93kdL2x"),
    "login": (f"login {SECRET}{SECRET}", SECRET),
    "end of a line": (f"using password {SECRET}:", SECRET),
    "mail login": (base64_of(f"\0bob\0{SECRET}"), base64_of(f"\0bob\0{SECRET}")[4:]),
    "card in base64": (
        base64_of("please pay with 4111 1111 1111 1111 now"),
        base64_of("please pay with 4111 1111 1111 1111 now")[24:40],
    ),
    "command": (f"curl -u bob:{SECRET} https://x.example/", SECRET),
}
FORMS: dict[str, Callable[[str], str]] = {
    "JSON": lambda text: json.dumps({"m": text}),
    "JSON in JSON": lambda text: json.dumps({"m": json.dumps({"x": text})}),
    "base64": lambda text: f"x {base64_of(text)}",
    "percent": lambda text: "GET /x?q=" + "".join(f"%{byte:02X}" for byte in text.encode()),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", LINES)
def test_a_secret_that_is_a_line_of_a_text_goes(redactor: Redactor, name: str, form: str) -> None:
    line, secret = LINES[name]
    wrapped = FORMS[form](f"line one\n{line}\nline two")
    out = redactor.line(wrapped.encode())[0].decode()
    assert out != wrapped
    assert secret not in out


def test_a_sample_of_each_rule_is_found_as_a_line_of_a_text(redactor: Redactor) -> None:
    dice = random.Random(11)
    lost, cases = [], 0
    for rule in (rule for rule in RULES if not rule.given):
        for template in rule.must:
            text, _ = samples.split_marks(samples.expand(template, dice))
            alone = json.dumps({"m": text})
            if "\n" in text or redactor.line(alone.encode())[0] == alone.encode():
                continue
            for ending in BREAKS:
                line = json.dumps({"m": f"{dice.choice(AROUND)}{ending}{text}{ending}{dice.choice(AROUND)}"})
                cases += 1
                if redactor.line(line.encode())[0] == line.encode():
                    lost.append((rule.id, line))
    assert cases > 1_000
    assert not lost
