"""A line longer than the limit is redacted part by part: wherever it is cut, no part shows a secret."""

from __future__ import annotations

import json
import random

import pytest

from agent.tail.framing import frame
from agent.transform.redaction.samples import expand, from_class

LIMIT = 4096
SECRETS = (
    '"password": "«{b62:6}, {b62:6};{b62:5}&{b62:4}»", ',
    '"api_key": "«{b62:40}»", ',
    '"env": {"name": "DB_PASSWORD", "value": "«{b62:14}»"}, ',
    '"headers": [["x", "y"], ["authorization", "Bearer «{b62:60}»"]], ',
    '"note": "the password for bob is «{b62:12}», he said", ',
    '"note": "User credentials: bob:«{b62:12}»", ',
    '"url": "postgres://app:«{b62:16}»@db/x?a=1&b=2", ',
    '"jwt": "«{=jwt}»", ',
    '"pem": "-----BEGIN PRIVATE KEY-----\\n«{b64:64}»\\n«{b64:64}»\\n«{b64:64}»\\n-----END PRIVATE KEY-----\\n", ',
    '"body": "{\\"token\\": \\"«{b62:32}»\\", \\"n\\": 1}", ',
    '"cookie": "a=«{b62:20}»; b=«{b62:20}»; c=«{b62:20}»", ',
    "'secret': '«{b62:30}»', ",
    "client_secret=«{b62:30}»&grant=x&",
)


def filler(dice: random.Random) -> str:
    kind = dice.randrange(3)
    if kind == 0:
        return f'"f{dice.randrange(99)}": {dice.randrange(10**6)}, '
    if kind == 1:
        return f'"g": "{from_class("a", dice.randrange(3, 30), dice)} {from_class("a", 5, dice)}, and more", '
    return f'"h": {{"a": [1, 2, "{from_class("b62", 12, dice)}"]}}, '


@pytest.mark.parametrize("seed", range(60))
def test_no_cut_shows_a_secret(redactor, seed):
    dice = random.Random(seed)
    text, secrets = "{", []
    while len(text) < 5 * LIMIT:
        piece = filler(dice)
        if dice.random() < 0.3:
            sample = expand(dice.choice(SECRETS), dice)
            secrets += [part.partition("»")[0] for part in sample.split("«")[1:]]
            piece = sample.replace("«", "").replace("»", "")
        text += piece
    line = (text + '"end": 1}').encode()
    parts = frame(line + b"\n", LIMIT)
    assert len(parts) > 4
    out = b"".join(redactor.line(part.data.rstrip(b"\n"))[0] for part in parts).decode()
    for secret in secrets:
        assert secret not in out
        for half in (secret[: len(secret) // 2], secret[len(secret) // 2 :]):
            assert half not in out, json.dumps(secret)
