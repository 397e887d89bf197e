"""Secrets that exist only for one run: built from their formats by seeded dice, so no scanner knows them and no service does.

The writer logs them where applications do by accident; the demonstration and the tests ask that none reaches Loki.
"""

from __future__ import annotations

import base64
import random
import string
import zlib
from dataclasses import dataclass

import orjson

_BASE62 = string.digits + string.ascii_uppercase + string.ascii_lowercase
_PEOPLE = ("amelia", "björn", "chen", "dmitri", "emeka", "fatima", "greta", "hiroshi")


@dataclass(frozen=True, slots=True)
class Secrets:
    """Everything secret one seed knows. `logins` are (name, password)."""

    logins: tuple[tuple[str, str], ...]
    jwt: str
    basic: str
    aws_key: str
    github_token: str
    stripe_key: str
    database_password: str
    api_key: str
    session: str


def secrets_of(seed: int) -> Secrets:
    dice = random.Random(f"planted {seed}")
    logins = tuple((name, _password(dice)) for name in _PEOPLE)
    service_password = _password(dice)
    return Secrets(
        logins=logins,
        jwt=_jwt(dice),
        basic=base64.b64encode(f"greenstack:{service_password}".encode()).decode(),
        aws_key="AKIA" + _text(dice, string.ascii_uppercase + "234567", 16),
        github_token=_github(dice),
        stripe_key="sk_live_" + _text(dice, _BASE62, 24),
        database_password=_text(dice, _BASE62, 20),
        api_key=_text(dice, string.hexdigits.lower()[:16], 32),
        session=_text(dice, _BASE62, 40),
    )


def planted_secrets(seed: int) -> list[str]:
    """Every secret text a writer of this seed may log. None of them may appear in Loki."""
    found = secrets_of(seed)
    single = (
        found.jwt,
        found.basic,
        found.aws_key,
        found.github_token,
        found.stripe_key,
        found.database_password,
        found.api_key,
        found.session,
    )
    return [password for _, password in found.logins] + list(single)


def _text(dice: random.Random, alphabet: str, length: int) -> str:
    return "".join(dice.choices(alphabet, k=length))


def _password(dice: random.Random) -> str:
    """What people choose: a word, a mark, digits; never one that needs escaping in JSON."""
    return f"{_text(dice, string.ascii_letters, 9)}{dice.choice('!#+$%')}{_text(dice, string.digits, 4)}"


def _jwt(dice: random.Random) -> str:
    def part(data: bytes) -> str:
        return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

    header = part(orjson.dumps({"alg": "HS256", "typ": "JWT"}))
    payload = part(orjson.dumps({"sub": _text(dice, string.digits, 8), "scope": "upload", "iat": 1_700_000_000}))
    return f"{header}.{payload}.{part(dice.randbytes(32))}"


def _github(dice: random.Random) -> str:
    """A prefix, 30 characters, and their CRC-32 as six base-62 digits."""
    body = _text(dice, _BASE62, 30)
    checksum = zlib.crc32(body.encode())
    digits = ""
    for _ in range(6):
        checksum, digit = divmod(checksum, 62)
        digits = _BASE62[digit] + digits
    return f"ghp_{body}{digits}"
