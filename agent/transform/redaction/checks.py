"""Checks that tell a secret from what only looks like one: checksums, issuer tables, decoding. All linear."""

from __future__ import annotations

import base64
import binascii
import json
import re
import zlib
from hashlib import sha256
from typing import Any

UUID = re.compile(r"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}")
BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

_IBAN_LENGTHS = dict(
    re.findall(
        r"([A-Z]{2})(\d\d)",
        "AD24AE23AL28AT20AZ28BA20BE16BG22BH22BI27BR29BY28CH21CR22CY28CZ24DE22DJ27DK18DO28EE20EG29ES24FI18FK18FO18FR27GB22"
        "GE22GI23GL18GR27GT28HN28HR21HU28IE22IL23IQ23IS26IT27JO30KW30KZ20LB28LC32LI21LT20LU20LV21LY25MC27MD24ME22MK19MN20"
        "MR27MT31MU30NI28NL18NO15OM23PK24PL28PS29PT25QA29RO24RS22RU33SA24SC31SD18SE24SI19SK24SM27SO23ST25SV28TL23TN24TR26"
        "UA29VA22VG24XK20YE30",
    )
)
IBAN_COUNTRIES = tuple(_IBAN_LENGTHS)

_FILLERS = ("***", "00000000", "...", "EXAMPLE")


def looks_real(token: str) -> bool:
    """Not a documentation stand-in: enough different characters, no tail of x, * or 0, no EXAMPLE at the end."""
    return len(set(token[-32:])) >= 5 and not token.endswith(_FILLERS) and token[-5:].lower() != "xxxxx"


_DIGIT = re.compile("[0-9]")


def has_digit(token: str) -> bool:
    return _DIGIT.search(token) is not None


def has_letter(token: str) -> bool:
    return any(c.isalpha() for c in token)


def random(token: str) -> bool:
    """For what stands behind a known prefix: a digit or both cases. One random token in thirty has no digit."""
    return has_digit(token) or (token.lower() != token and token.upper() != token)


def like_no_word(token: str) -> bool:
    """For what stands anywhere: a digit, or letters in such a mixture as names do not have."""
    return has_digit(token) or _babbles(token)


def mixed(token: str) -> bool:
    """Upper, lower and digit: what a random base62 string has and a word has not."""
    return (has_digit(token) and token.lower() != token and token.upper() != token) or _babbles(token)


_HUMP = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_UNSPEAKABLE = re.compile(r"[bcdfghjklmnpqrstvwxzBCDFGHJKLMNPQRSTVWXZ]{4}|\A[^aeiouyAEIOUY]+\Z")
_TWO_LETTERS = frozenset(
    re.findall(
        "..",
        "toinisbyofonidasoratmynoifupdogodbioipuiosexreanbewemeusitfnoktxrxmsmbkbqtgltknsjstspyshaimlvmadcaec"
        "edefelenesethpiqlalelilomamimunanenintnuopotoxpapisasesosttatetiyewspcpkgbcbrcmdeqltgtgedttzcofsvs",
    )
)


def _babbles(token: str) -> bool:
    """Letters in which every other hump of the camel is no word: one identifier in a hundred, nine random tokens in ten."""
    if len(token) < 9 or token.islower() or token.isupper():
        return False
    humps = _HUMP.findall(token)
    odd = [hump for hump in humps if _is_odd(hump)]
    letters = sum(map(len, odd))
    return (len(odd) > 1 and 2 * len(odd) >= len(humps) and 10 * letters >= 3 * len(token)) or (
        len(odd) > 2 and 5 * len(odd) >= 2 * len(humps)
    )


def _is_odd(hump: str) -> bool:
    """A single letter, two that are no word, or what nobody could say."""
    if len(hump) <= 2:
        return len(hump) == 1 or hump.lower() not in _TWO_LETTERS
    return not hump.isupper() and _UNSPEAKABLE.search(hump) is not None


_JOINT = re.compile(r"[-_.:/]")


def is_a_name(token: str) -> bool:
    """Several parts in small letters and digits, four in ten characters in words: `greenstack-token-x2k4q`."""
    parts = _JOINT.split(token)
    words = sum(len(p) for p in parts if len(p) > 2 and p.isalpha())
    return len(parts) > 1 and token == token.lower() and 10 * words >= 4 * sum(map(len, parts))


def luhn(digits: str) -> bool:
    total = 0
    for place, char in enumerate(reversed(digits)):
        value = ord(char) - 48
        if place % 2:
            value = value * 2 - 9 if value > 4 else value * 2
        total += value
    return total % 10 == 0


def issuer(digits: str) -> bool:
    """Issuer prefix and length as the card networks publish them. UnionPay's own (62…) are no proof: see unionpay."""
    n, p2, p3, p4, p6 = len(digits), int(digits[:2]), int(digits[:3]), int(digits[:4]), int(digits[:6])
    if digits[0] == "4":
        return n in (13, 16, 19)
    if p2 in (34, 37):
        return n == 15
    if 300 <= p3 <= 305 or p2 in (36, 38):
        return n == 14
    return n == 16 and (
        51 <= p2 <= 55
        or 2221 <= p4 <= 2720
        or p4 == 6011
        or 644 <= p3 <= 649
        or p2 == 65
        or 622126 <= p6 <= 622925
        or 3528 <= p4 <= 3589
    )


def card(text: str) -> bool:
    digits = re.sub(r"[ -]", "", text)
    return len(set(digits)) > 1 and issuer(digits) and luhn(digits)


def unionpay(text: str) -> bool:
    """A number of UnionPay. Among ids that begin with 62 one in ten is one too."""
    digits = re.sub(r"[ -]", "", text)
    return digits.startswith("62") and 16 <= len(digits) <= 19 and len(set(digits)) > 2 and luhn(digits)


_CARD_NUMBER = re.compile(r"[0-9](?:[ -]?[0-9]){12,18}")


def any_card(text: str) -> bool:
    """The whole text is the number of a card, of whatever network."""
    return _CARD_NUMBER.fullmatch(text) is not None and (card(text) or unionpay(text))


def iban(text: str) -> bool:
    compact = text.replace(" ", "").upper()
    if str(len(compact)) != _IBAN_LENGTHS.get(compact[:2]):
        return False
    turned = compact[4:] + compact[:4]
    return int("".join(str(int(c, 36)) for c in turned)) % 97 == 1


def ssn(text: str) -> bool:
    area, group, serial = text.split("-")
    return area not in ("000", "666") and area < "900" and group != "00" and serial != "0000"


def crc32_base62(text: str, width: int = 6) -> str:
    """The checksum GitHub and npm append: CRC32 in base62, zero-padded."""
    value, out = zlib.crc32(text.encode()), ""
    while value:
        value, digit = divmod(value, 62)
        out = BASE62[digit] + out
    return out.rjust(width, "0")


def wif(token: str) -> bool:
    """A private key of Bitcoin ends with four bytes of its double SHA-256."""
    number = 0
    for char in token:
        number = number * 58 + BASE58.index(char)
    data = number.to_bytes(39)
    data = data[-37:] if token[0] == "5" else data[-38:]
    return data[0] == 0x80 and sha256(sha256(data[:-4]).digest()).digest()[:4] == data[-4:]


def npm(token: str) -> bool:
    """npm tokens are digits and letters without structure; `npm_config_cache` is an environment variable."""
    return has_digit(token) and looks_real(token)


def unbase64(text: str) -> bytes | None:
    """Standard or URL alphabet, with or without padding; None when it is no base64."""
    body = text.rstrip("=").replace("-", "+").replace("_", "/")
    if len(body) % 4 == 1:
        return None
    try:
        return base64.b64decode(body + "=" * (-len(body) % 4), validate=True)
    except (binascii.Error, ValueError):
        return None


_NO_BREAKS = dict.fromkeys(map(ord, "\r\n\t"))


def printable(data: bytes) -> str | None:
    """The text, if that is what the bytes are."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return None
    return text if text.translate(_NO_BREAKS).isprintable() else None


def basic_pair(token: str) -> bool:
    """Basic credentials decode to `user:password`."""
    data = unbase64(token)
    text = printable(data) if data else None
    return text is not None and ":" in text


_SASL_PLAIN = re.compile(rb"[^\x00-\x20\x7f]{0,128}\x00[^\x00-\x20\x7f]{1,128}\x00[^\x00-\x1f\x7f]{4,256}")


def sasl_plain(token: str) -> bool:
    """Whom to act for, the user and the password, with a zero byte between them."""
    if len(token) < 12 or "-" in token or "_" in token:
        return False
    data = unbase64(token)
    return data is not None and _SASL_PLAIN.fullmatch(data) is not None and data.decode("utf-8", "replace").isascii()


def decodes_to_json(segment: str) -> Any:
    data = unbase64(segment)
    if data is None or data[:1] not in (b"{", b"["):
        return None
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None


def jose_header(segment: str) -> bool:
    """The first segment of a JWT or JWE names an algorithm."""
    header = decodes_to_json(segment)
    return isinstance(header, dict) and not {"alg", "enc", "typ", "kid"}.isdisjoint(header)


def discord(token: str) -> bool:
    """The first part of a Discord token is a number in base64."""
    data = unbase64(token.partition(".")[0])
    return data is not None and data.isdigit() and 17 <= len(data) <= 20


def bedrock(token: str) -> bool:
    return b"edrock" in (unbase64(token.removeprefix("ABSK")[:40]) or b"")


def lower_word(text: str) -> bool:
    """A plain word such as `required`, of any script, or several joined by - or _."""
    return text == text.lower() and text.replace("-", "").replace("_", "").isalpha()
