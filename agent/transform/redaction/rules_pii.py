"""Rules for personal data. Digits and `@` are everywhere, so these few patterns cost as much as all the others."""

from __future__ import annotations

from dataclasses import replace

from agent.transform.redaction import checks
from agent.transform.redaction.rule import Rule
from agent.transform.redaction.shapes import ADDRESS, BEHIND_ESCAPE, group

LOCAL = r"A-Za-z0-9.!#$&*+?^_{|}~\-"

# No digit or letter before, but one that may end an escape (n, r, t) or a terminal colour (m): the verifier looks closer, and
# a class of one character costs half of what a look at two does.
_EDGE = r"(?:^|[^0-9A-Za-lo-qsu-z.])"


def _at_edge(number: str) -> str:
    return rf"(?m){_EDGE}{number}"


def _behind_escape(number: str) -> str:
    """Whose last character is a letter or a digit.

    Of percent escapes those of spaces, quotes and separators: all of them would cost a third of the whole scan.
    """
    return rf"(?:\\u[0-9a-fA-F]{{4}}|%(?:2[0278Cc]|3[ADad]|5[Bb]|[Aa]0)){number}"


# Thirteen digits, in groups as on the card: twelve would be in many a UUID.
_CARD = (
    r"(?:4[0-9]|5[1-5]|2[2-7]|3[04-8]|6[0245])[0-9]{2}"
    r"(?:[0-9]{9}|[ \-][0-9]{4}[ \-][0-9]{4}[ \-][0-9]|[ \-][0-9]{6}[ \-][0-9]{4})"
)
# A list of the countries would cost five times as much as the two letters.
_IBAN = r"[A-Z]{2}[0-9]{2} ?[A-Z0-9]{4} ?[A-Z0-9]{4} ?[A-Z0-9]{3}"
_SSN = r"[0-9]{3}-[0-9]{2}-[0-9]{4}"
# What stands before is the verifier's concern. The digit behind the first hyphen is written out, for a hyphen alone is in each UUID.
_SSNS = tuple(rf"[0-9]{{3}}-{tens}[0-9]-[0-9]{{4}}" for tens in range(10))


_RULES = group(
    "pii",
    Rule(
        "email",
        "",
        "e-mail address",
        find=(r"[A-Za-z0-9_+\-.\x80-\xff](?:%40|\\u0040)[A-Za-z0-9]",),
        gated=(ADDRESS,),
        gate="@",
        scanner="email",
        action="pseudonym",
        must=("{=email}", "user «{=email}» logged in", "mailto:«{=email}»"),
        must_not=("icon@2x.png", "git@github.com:a/b.git", "react@18.2", "user@host", "Acceptor@0.0.0.0:8080"),
        traps="file names, package versions, ssh addresses",
    ),
    Rule(
        "card",
        "",
        "payment card number with a valid issuer, length and check digit",
        find=(_behind_escape(_CARD),),
        gated=(_at_edge(_CARD),),
        gate="number",
        scanner="card",
        action="partial",
        shortest=13,
        must=(
            "{=card}",
            "paid with «{=card}»",
            '{"n": "«{=card}»"}',
            "UnionPay card: «{=unionpay}»",
            "{\"m\": \"Kreditkarte {'id': 7, 'value': '«{=unionpay}»'}\"}",
            '{"card": "«{=unionpay}»", "n": 1}',
            '{"unionpay": «{=unionpay}»}',
            '{"n": 1, "card": {"number": "«{=unionpay}»", "cvc": "«{d:3}»", "brand": "unionpay"}}',
        ),
        must_not=(
            "1763461800000",
            "550e8400-e29b-41d4-a716-446655440000",
            "4111111111111112",
            "device {=unionpay} seen",
            "wildcard {=unionpay}, cardinality {=unionpay}",
            '{"id": {=unionpay}}',
            "PacketResponder 1 for block blk_{=card} terminating",
            "Verification succeeded for blk_-{=card}",
            '{"card": "eth0", "sim_card": "89490200001234567890"}',
        ),
        traps="epoch times, digits inside ids and floats; UnionPay's numbers are ids as often, so a word for a card is needed",
    ),
    Rule(
        "iban",
        "",
        "IBAN with the country's length and check digits",
        find=(_behind_escape(_IBAN),),
        gated=(_at_edge(_IBAN),),
        gate="number",
        action="partial",
        scanner="iban",
        shortest=15,
        must=("{=iban}", "to «{=iban}» sent", '{"account": "«{=iban}»"}'),
        must_not=("DE00000000000000000000", "DE12 articles", "AT123456789012345"),
    ),
    Rule(
        "us-ssn",
        "",
        "US social security number",
        find=_SSNS,
        pattern=rf"(?:(?<![0-9A-Za-z\-])|{BEHIND_ESCAPE})(?P<secret>{_SSN})(?![0-9A-Za-z\-])",
        check=checks.ssn,
        shortest=11,
        must=(
            "123-45-{n:4}",
            "ssn «234-56-{n:4}»",
            "«345-67-{n:4}» on file",
            "no.«456-78-{n:4}»",
            r"a\x20«567-89-{n:4}»",
        ),
        must_not=("000-12-3456", "666-12-3456", "2024-01-15"),
    ),
)
RULES = tuple(replace(rule, preset="pii") for rule in _RULES)
