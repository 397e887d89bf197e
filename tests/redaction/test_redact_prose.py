"""Sentences: a sensitive name, what is said of it, and its value; and sentences about secrets that hold none."""

from __future__ import annotations

import json
import random

import harmless_prose

from agent.transform.redact import Redactor
from agent.transform.redaction import samples

NAMES = (
    *(
        "password",
        "Password",
        "db_password",
        "DB_PASSWORD",
        "dbPassword",
        "db.password",
        "newPassword",
        "passwordConfirm",
    ),
    *(
        "smtp_pass",
        "PGPASSWORD",
        "MYSQL_PWD",
        "passphrase",
        "X-Api-Key",
        "apiKey",
        "apikey",
        "API_KEY",
        "vendor_apikey",
    ),
    *("clientSecret", "app_secret", "SECRET_KEY", "jwt_secret", "access_token", "refreshToken", "GITHUB_TOKEN"),
    *("HF_TOKEN_2", "PRIVATE-TOKEN", "private_key", "aws_secret_access_key", "csrfmiddlewaretoken", "hashed_password"),
    *("JSESSIONID", "session_id", "credentials", "password_hash", "Cookie"),
)
SENTENCES = (
    *("{n} is {v}", "the {n} is '{v}'", "invalid {n} '{v}'", 'invalid {n} "{v}"', "invalid {n} {v}", "bad {n} '{v}'"),
    *("set {n} to '{v}'", "set {n} to {v}", "{n} changed, new value {v}", "{n} was rotated; new value is '{v}'"),
    *(
        "got {n} '{v}' from env",
        "{n} was {v}",
        "using {n} {v}",
        "wrong {n} `{v}`",
        "{n} has value {v}",
        "rejected {n} ({v})",
    ),
)
VALUES = ("{pw:12}", "{b62:16}", "{b62:24}", "{b62:32}", "{hex:32}", "{b64u:20}")
LEAST_RECALL = 0.95
FEWEST_HARMLESS = 4_000


def test_a_sentence_loses_the_value_of_a_sensitive_name(redactor: Redactor) -> None:
    seed = random.SystemRandom().randrange(10**9)
    dice = random.Random(seed)
    missed, cases = [], 0
    for sentence in SENTENCES:
        for name in NAMES:
            value = samples.expand(dice.choice(VALUES), dice)
            message = sentence.format(n=name, v=value)
            line = json.dumps({"level": "INFO", "message": message}) if dice.random() < 0.7 else f"INFO {message}"
            cases += 1
            if value in redactor.line(line.encode())[0].decode():
                missed.append(message)
    assert cases > 500
    assert len(missed) <= (1 - LEAST_RECALL) * cases, (seed, missed)


def test_sentences_about_secrets_stay(redactor: Redactor) -> None:
    lines = list(harmless_prose.lines())
    assert len(lines) >= FEWEST_HARMLESS
    texts = [line.encode() for line in lines] + [
        json.dumps({"level": "INFO", "message": line}).encode() for line in lines
    ]
    assert [text for text in texts if redactor.line(text)[0] != text] == []


FOUND_ONCE_MORE = (
    "password expired; the following password was set: {}",
    "Your password has expired. The following temporary password was generated for you: {}",
    "password policy ok, generated password for root is now active: {}",
    "passphrase required. Using generated passphrase below:\\n{}",
    "db_credentials for bob: {}",
    "7_credentials for bob: {}",
    "ftp login as bob {}",
    "smtp login as bob {}; curl -u a:b https://x",
)
CODES_OF_SOMETHING_ELSE = (
    "zip code 123456, Kazakhstan 010000",
    "error code 500123 in Pakistan 74000",
    "response code is 2003; flight from Kabul, Afghanistan 123456",
    "ISO8583 STAN 123456 response code is 0000",
    "bypasskey: 123456",
    "last_error code 100452 while sending sms",
    "http_status code 404123, otp service",
    "modbus_exit code: 100452, valid for node 3",
)


def test_a_phrase_is_found_behind_another_that_begins_alike(redactor: Redactor) -> None:
    for template in FOUND_ONCE_MORE:
        line = template.format("KyEMb6I6eZ9x")
        assert "KyEMb6I6eZ9x" not in redactor.line(line.encode())[0].decode(), line


def test_numbers_that_are_no_codes_to_enter_stay(redactor: Redactor) -> None:
    for line in CODES_OF_SOMETHING_ELSE:
        assert redactor.line(line.encode())[0].decode() == line
