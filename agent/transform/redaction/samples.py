"""Samples written as templates, so that no source file holds a token.

{b62:36}   36 random characters of a class     {=name}   a named generator: card, iban, uuid, jwt, basic
{given}    what the configuration adds for the samples of a rule, see `with_given`
«…»        marks the secret itself; without marks the whole sample is the secret
"""

from __future__ import annotations

import base64
import json
import random
import re
from collections.abc import Callable
from hashlib import sha256
from urllib.parse import quote

from agent.transform.redaction.checks import BASE58, BASE62, crc32_base62, luhn

LOWER = "abcdefghijklmnopqrstuvwxyz"
CLASSES = {
    "b62": BASE62,
    "b64": BASE62 + "+/",
    "b64u": BASE62 + "-_",
    "b32": LOWER.upper() + "234567",
    "b58": BASE58,
    "b36": LOWER + "0123456789",
    "hex": "0123456789abcdef",
    "hexl": "0123456789abcdef",
    "HEX": "0123456789ABCDEF",
    "d": "0123456789",
    "n": "123456789",
    "a": LOWER,
    "A": LOWER.upper(),
    "aA": LOWER + LOWER.upper(),
    "bech": "QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L",
    "pw": BASE62 + "!#%*+-.?^_~",
}
_FIELD = re.compile(r"\{(?:=(?P<named>[a-z0-9_]+)|(?P<cls>[A-Za-z0-9]+):(?P<length>\d+))\}")


def from_class(name: str, length: int, dice: random.Random) -> str:
    """Random characters; a digit and a letter among them where the class has both, as long tokens always have."""
    alphabet = CLASSES[name]
    text = "".join(dice.choice(alphabet) for _ in range(length))
    if length >= 8 and name in ("b62", "b64", "b64u", "b36", "hex", "HEX", "pw"):
        at = dice.sample(range(1, length - 1), 3)
        letters = [c for c in alphabet if c.isalpha()]
        lower = [c for c in letters if c.islower()] or letters
        upper = [c for c in letters if c.isupper()] or letters
        pieces = list(text)
        pieces[at[0]], pieces[at[1]], pieces[at[2]] = dice.choice("23456789"), dice.choice(lower), dice.choice(upper)
        text = "".join(pieces)
    return text


def segment(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value, separators=(",", ":")).encode()).rstrip(b"=").decode()


def jwt(dice: random.Random) -> str:
    claims = {"sub": str(dice.randrange(10**6)), "exp": 1763461800 + dice.randrange(10**6)}
    return f"{segment({'alg': 'HS256', 'typ': 'JWT'})}.{segment(claims)}.{from_class('b64u', 43, dice)}"


def card(dice: random.Random) -> str:
    prefix, length = dice.choice((("4", 16), ("51", 16), ("2221", 16), ("37", 15), ("6011", 16), ("36", 14)))
    body = prefix + from_class("d", length - 1 - len(prefix), dice)
    return next(body + str(d) for d in range(10) if luhn(body + str(d)))


def unionpay(dice: random.Random) -> str:
    body = "62" + from_class("d", dice.choice((13, 14, 15, 16)), dice)
    number = next(body + str(d) for d in range(10) if luhn(body + str(d)))
    grouped = " ".join(number[at : at + 4] for at in range(0, 16, 4))
    return grouped if len(number) == 16 and dice.random() < 0.2 else number


def iban(dice: random.Random) -> str:
    body = from_class("d", 18, dice)
    turned = int(body + "131400")  # D = 13, E = 14
    return f"DE{98 - turned % 97:02d}{body}"


def uuid(dice: random.Random) -> str:
    h = from_class("hex", 32, dice).lower()
    return f"{h[:8]}-{h[8:12]}-4{h[13:16]}-a{h[17:20]}-{h[20:]}"


def basic(dice: random.Random) -> str:
    return base64.b64encode(f"user{dice.randrange(1000)}:{from_class('b62', 12, dice)}".encode()).decode()


def sasl(dice: random.Random) -> str:
    return base64.b64encode(f"\0user{dice.randrange(1000)}\0{from_class('b62', 12, dice)}".encode()).decode()


def wif(dice: random.Random) -> str:
    key = b"\x80" + dice.randbytes(32) + dice.choice((b"", b"\x01"))
    number = int.from_bytes(key + sha256(sha256(key).digest()).digest()[:4])
    text = ""
    while number:
        number, digit = divmod(number, 58)
        text = BASE58[digit] + text
    return text


def github_checksum(dice: random.Random) -> str:
    body = from_class("b62", 30, dice)
    return body + crc32_base62(body)


def discord(dice: random.Random) -> str:
    ident = base64.b64encode(from_class("n", 18, dice).encode()).decode()
    return f"{ident}.{from_class('b62', 6, dice)}.{from_class('b64u', 38, dice)}"


def bedrock(dice: random.Random) -> str:
    return "ABSK" + base64.b64encode(b"BedrockAPIKey-" + from_class("b62", 90, dice).encode()).decode().rstrip("=")


def wrapped(dice: random.Random) -> str:
    return base64.b64encode(f"user=bob&password={from_class('b62', 12, dice)}&n=1".encode()).decode()


def email(dice: random.Random) -> str:
    return f"{from_class('a', 6, dice)}.{from_class('a', 7, dice)}@{from_class('a', 8, dice)}.{dice.choice(('com', 'de', 'io'))}"


NAMED: dict[str, Callable[[random.Random], str]] = {
    "jwt": jwt,
    "card": card,
    "unionpay": unionpay,
    "iban": iban,
    "uuid": uuid,
    "basic": basic,
    "sasl": sasl,
    "wif": wif,
    "ghcrc": github_checksum,
    "discord": discord,
    "bedrock": bedrock,
    "email": email,
    "b64pw": wrapped,
}


def expand(template: str, dice: random.Random) -> str:
    """A text from a template; « and » stay for `secret_of`."""

    def field(match: re.Match[str]) -> str:
        if match["named"]:
            return NAMED[match["named"]](dice)
        return from_class(match["cls"], int(match["length"]), dice)

    return _FIELD.sub(field, template)


def with_given(template: str, given: str) -> str:
    """A template with what the configuration adds put in: as it is, half of it, or as URLs and base64 spell it."""
    return (
        template.replace("{given}", given)
        .replace("{given:half}", given[: len(given) // 2])
        .replace("{given:percent}", quote(given, safe=""))
        .replace("{given:base64}", base64.b64encode(given.encode()).decode().rstrip("="))
    )


def split_marks(sample: str) -> tuple[str, list[str]]:
    """The text without « and », and the secrets in it."""
    if "«" not in sample:
        return sample, [sample]
    return sample.replace("«", "").replace("»", ""), re.findall(r"«([^»]*)»", sample)
