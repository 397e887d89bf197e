"""What only some sites want out: phone numbers, IP and MAC addresses, national ids, and strings that merely look random."""

from __future__ import annotations

import ipaddress
import math
import re
from collections import Counter
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from agent.transform.redaction import checks
from agent.transform.redaction.rule import Hit

if TYPE_CHECKING:
    from agent.transform.redaction.verify import Verifier

_PHONE = re.compile(r"(?<![\w+.])\+[1-9](?:[ ()./-]{0,2}\d){7,14}(?![\w])")


def scan_phone(text: str, verifier: Verifier) -> Iterator[Hit]:
    """E.164: a plus and eight to fifteen digits."""
    for found in verifier.each(_PHONE, text):
        yield Hit(*found.span(), "phone")


_V4 = re.compile(r"(?<![\w.-])\d{1,3}(?:\.\d{1,3}){3}(?![\w-]|\.\d)")
_V6 = re.compile(r"(?<![\w:.])(?=[0-9a-fA-F:]*:[0-9a-fA-F:]*:)[0-9a-fA-F:]{2,39}(?:\.\d{1,3}){0,3}(?![\w:])")
_MAC = re.compile(r"(?<![\w:-])[0-9a-fA-F]{2}(?:[:-][0-9a-fA-F]{2}){5}(?![\w:-])")
_VERSION_BEFORE = re.compile(r"(?i)(?:\bv|version|release|build|rev)[ =:/\"']{0,3}\Z")


def scan_address(text: str, verifier: Verifier) -> Iterator[Hit]:
    """Addresses by parsing, not by shape: 1.2.3.400 is none, and neither is what follows the word version."""
    for pattern in (_V4, _V6):
        for found in verifier.each(pattern, text):
            if found[0] == "::" or _VERSION_BEFORE.search(text, max(0, found.start() - 12), found.start()):
                continue
            try:
                ipaddress.ip_address(found[0])
            except ValueError:
                continue
            yield Hit(*found.span(), "ip-address")
    for found in verifier.each(_MAC, text):
        yield Hit(*found.span(), "ip-address")


def _weighted(digits: str, weights: tuple[int, ...]) -> int:
    return sum(int(digit) * weight for digit, weight in zip(digits, weights, strict=False))


def _steuer_id(text: str) -> bool:
    digits = re.sub(r"\D", "", text)
    if len(digits) != 11 or digits[0] == "0":
        return False
    product = 10
    for digit in digits[:10]:
        total = (int(digit) + product) % 10 or 10
        product = total * 2 % 11
    return (11 - product) % 10 == int(digits[10])


def _nino(text: str) -> bool:
    compact = text.replace(" ", "").upper()
    return re.fullmatch(r"(?!BG|GB|NK|KN|TN|NT|ZZ)[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z]\d{6}[A-D]", compact) is not None


def _nhs(text: str) -> bool:
    digits = re.sub(r"\D", "", text)
    return len(digits) == 10 and (11 - _weighted(digits, (10, 9, 8, 7, 6, 5, 4, 3, 2)) % 11) % 11 == int(digits[9])


def _nir(text: str) -> bool:
    compact = text.replace(" ", "").upper().replace("2A", "19").replace("2B", "18")
    return compact.isdigit() and len(compact) == 15 and 97 - int(compact[:13]) % 97 == int(compact[13:])


def _dni(text: str) -> bool:
    compact = text.upper().replace("X", "0").replace("Y", "1").replace("Z", "2").replace("-", "")
    return (
        compact[:-1].isdigit()
        and len(compact) == 9
        and "TRWAGMYFPDXBNJZSQVHLCKE"[int(compact[:8]) % 23] == text[-1].upper()
    )


_ODD_CF = dict(zip("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ", (1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23), strict=True))  # fmt: skip


def _codice_fiscale(text: str) -> bool:
    code = text.upper()
    if re.fullmatch(r"[A-Z]{6}\d{2}[A-Z]\d{2}[A-Z]\d{3}[A-Z]", code) is None:
        return False
    total = sum(_ODD_CF[c] if n % 2 == 0 else int(c, 36) - (10 if c.isalpha() else 0) for n, c in enumerate(code[:15]))
    return chr(65 + total % 26) == code[15]


def _bsn(text: str) -> bool:
    digits = re.sub(r"\D", "", text)
    return len(digits) == 9 and _weighted(digits, (9, 8, 7, 6, 5, 4, 3, 2, -1)) % 11 == 0


def _pesel(text: str) -> bool:
    return (
        len(text) == 11
        and text.isdigit()
        and (10 - _weighted(text, (1, 3, 7, 9, 1, 3, 7, 9, 1, 3)) % 10) % 10 == int(text[10])
    )


def _cpf(text: str) -> bool:
    digits = re.sub(r"\D", "", text)
    if len(digits) != 11 or len(set(digits)) == 1:
        return False
    first = _weighted(digits, (10, 9, 8, 7, 6, 5, 4, 3, 2)) * 10 % 11 % 10
    second = _weighted(digits, (11, 10, 9, 8, 7, 6, 5, 4, 3, 2)) * 10 % 11 % 10
    return digits[9:] == f"{first}{second}"


_NATIONAL: tuple[tuple[str, str, Callable[[str], bool]], ...] = (
    (r"(?i:steuer-?(?:id|nummer|identifikationsnummer)|idnr|tax[ _-]?id)", r"\d{2} ?\d{3} ?\d{3} ?\d{3}", _steuer_id),
    (r"(?i:nino|national insurance|ni[ _-]?number)", r"[A-Za-z]{2} ?\d{2} ?\d{2} ?\d{2} ?[A-Da-d]", _nino),
    (r"(?i:nhs)", r"\d{3}[ -]?\d{3}[ -]?\d{4}", _nhs),
    (r"(?i:\bnir\b|s.curit. sociale|insee)", r"[12] ?\d{2} ?\d{2} ?[\dAB]{2} ?\d{3} ?\d{3} ?\d{2}", _nir),
    (r"(?i:\bdni\b|\bnie\b|\bnif\b)", r"[XYZxyz\d]\d{7}-?[A-Za-z]", _dni),
    (r"(?i:codice[ _-]?fiscale|\bcf\b)", r"[A-Za-z]{6}\d{2}[A-Za-z]\d{2}[A-Za-z]\d{3}[A-Za-z]", _codice_fiscale),
    (r"(?i:\bbsn\b|burgerservice)", r"\d{3}[ .]?\d{3}[ .]?\d{3}", _bsn),
    (r"(?i:pesel)", r"\d{11}", _pesel),
    (r"(?i:\bcpf\b)", r"\d{3}\.?\d{3}\.?\d{3}-?\d{2}", _cpf),
)
_IDS = tuple(
    (re.compile(rf"(?:{word})(?s:.){{0,30}}?(?<![\w])(?P<secret>{shape})(?![\w])"), check)
    for word, shape, check in _NATIONAL
)


def scan_national_id(text: str, verifier: Verifier) -> Iterator[Hit]:
    """An identity number with its check digits, within 30 characters of the word for it."""
    for pattern, check in _IDS:
        for found in verifier.each(pattern, text):
            if check(found["secret"]):
                yield Hit(*found.span("secret"), "national-id")


_NEAR_WORD = re.compile(
    r"(?i)(?:password|passwd|secret|token|api[ _-]?key|credential|private[ _-]?key)[^\n]{0,30}?(?<![\w/+-])(?P<secret>[A-Za-z0-9_-]{20,128})(?![\w/+-])"
)
_LEAST_ENTROPY = 4.0


def scan_entropy(text: str, verifier: Verifier) -> Iterator[Hit]:
    """Looks random and stands near a sensitive word, with nothing between them that says more."""
    for found in verifier.each(_NEAR_WORD, text):
        value = found["secret"]
        if checks.mixed(value) and not checks.UUID.fullmatch(value) and entropy(value) >= _LEAST_ENTROPY:
            yield Hit(*found.span("secret"), "high-entropy")


def entropy(text: str) -> float:
    """Bits a character, by how often each occurs."""
    return -sum(n / len(text) * math.log2(n / len(text)) for n in Counter(text).values())
