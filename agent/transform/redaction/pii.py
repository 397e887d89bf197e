"""E-mail addresses and IBANs in text: the two kinds of personal data that need more than a pattern."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from agent.transform.redaction import checks, traces
from agent.transform.redaction.rule import Hit
from agent.transform.redaction.shapes import BEHIND_ESCAPE

if TYPE_CHECKING:
    from agent.transform.redaction.verify import Verifier

LOCAL_CHARACTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.!#$&*+?^_{|}~-"
DOMAIN = re.compile(r"(?:[A-Za-z0-9][A-Za-z0-9\-]{0,62}\.){1,7}[A-Za-z]{2,24}(?![A-Za-z0-9@])")
DOMAIN_BYTES = re.compile(DOMAIN.pattern.encode())
NOT_TLD = frozenset(
    [
        "png",
        "jpg",
        "jpeg",
        "gif",
        "svg",
        "webp",
        "ico",
        "js",
        "ts",
        "css",
        "html",
        "py",
        "json",
        "yaml",
        "yml",
        "xml",
        "txt",
        "log",
        "md",
        "service",
        "timer",
        "socket",
        "mount",
        "target",
    ]
)
_NO_USER = re.compile(r"[/?#\s\"'<>]")
_LONGEST_LOCAL = 64
_EDGES = ".!#$&*+?^{|}~-"


def domain_is_real(domain: str) -> bool:
    """It ends like a domain and not like a file or a unit."""
    return domain.rpartition(".")[2].lower() not in NOT_TLD


def scan_email(text: str, verifier: Verifier) -> Iterator[Hit]:
    at = text.find("@")
    while at >= 0:
        verifier.step()
        domain = DOMAIN.match(text, at + 1)
        if domain is not None and domain_is_real(domain[0]):
            start = local_start(text, at)
            if start < at and text[start:at] != "git" and not _in_authority(text, start):
                yield Hit(start, domain.end(), "email")
        at = text.find("@", at + 1)


def _in_authority(text: str, at: int) -> bool:
    """`user@host` of a URL is no address."""
    slashes = text.rfind("//", max(0, at - 256), at)
    return slashes > 0 and text[slashes - 1] == ":" and _NO_USER.search(text, slashes + 2, at) is None


def local_start(text: str, at: int) -> int:
    """Where the part before the @ begins; letters of any script count."""
    low = max(0, at - _LONGEST_LOCAL)
    left = text[low:at]
    kept = left.rstrip(LOCAL_CHARACTERS)
    while kept and ord(kept[-1]) > 0x7F and kept[-1].isalpha():
        kept = kept[:-1].rstrip(LOCAL_CHARACTERS)
    local = left[len(kept) :]
    return at - len(local.lstrip(_EDGES))


_CARD = re.compile(
    rf"(?:(?<![0-9A-Za-z.])(?<![0-9][ -])|{BEHIND_ESCAPE})"
    r"(?P<secret>(?:[0-9]{13,19}|[0-9]{4}(?P<s>[ -])[0-9]{4}(?P=s)[0-9]{4}(?P=s)[0-9]{1,7}|[0-9]{4}[ -][0-9]{6}[ -][0-9]{4,5}))(?![0-9A-Za-z]|[.-][0-9])"
)
_CARD_WORD = re.compile(
    r"(?<![A-Za-z])(?i:(?:credit|debit|bank|payment)?[ _\-]?cards?|union[ _\-]?pay|tarjeta|carte|carta|kaart)(?![a-z])|(?<=[a-z])Cards?(?![a-z])|(?i:karten?(?![a-z])|kartennummer)|银联|卡号|银行卡"
)
_CARD_WORD_WITHIN = 80
_OTHER_ID = re.compile(
    r"(?<![A-Za-z])(?:blk|block|chunk|job|task|attempt|application|container|part|segment|shard|region|event|seq)_-?\Z"
)


def scan_card(text: str, verifier: Verifier) -> Iterator[Hit]:
    """Card numbers by issuer, length and check digit; those of UnionPay only behind a word for a card. Ids of traces, and of
    blocks and jobs (`blk_4568377692254637284`), are none."""
    for found in verifier.each(_CARD, text):
        number, start = found["secret"], found.start("secret")
        if not checks.card(number) and not checks.unionpay(number):
            continue
        may_be_another = (
            not checks.card(number)
            or traces.is_named_before(text, start)
            or _OTHER_ID.search(text, max(0, start - 16), start) is not None
        )
        if not may_be_another or _CARD_WORD.search(text, max(0, start - _CARD_WORD_WITHIN), start):
            yield Hit(*found.span("secret"), "card")


_IBAN = re.compile(
    rf"(?:(?<![A-Za-z0-9])|{BEHIND_ESCAPE})(?:{'|'.join(checks.IBAN_COUNTRIES)})[0-9]{{2}}(?: ?[A-Z0-9]{{4}}){{2,7}}(?: ?[A-Z0-9]{{1,4}})?"
)


def scan_iban(text: str, verifier: Verifier) -> Iterator[Hit]:
    """The longest beginning of the run that is an IBAN: words in capitals may follow."""
    for found in verifier.each(_IBAN, text):
        run = found[0]
        for end in range(len(run), 14, -1):
            if (end == len(run) or run[end] == " ") and not run[:end].endswith(" ") and checks.iban(run[:end]):
                yield Hit(found.start(), found.start() + end, "iban")
                break
