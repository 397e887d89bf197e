"""Private keys in PEM and PuTTY form, also cut off, also with their line ends escaped, also spread over text lines."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from agent.transform.redaction.rule import Hit

if TYPE_CHECKING:
    from agent.transform.redaction.verify import Verifier

_EDGE = re.compile(
    r"-{2,5} ?(?P<kind>BEGIN|END)(?: |%20|\+)(?:[A-Z0-9]{1,12}(?: |%20|\+)){0,4}PRIVATE(?: |%20|\+)KEY(?:(?: |%20|\+)BLOCK)?-{2,5}"
)
_BODY = re.compile(r"(?:[A-Za-z0-9+/=\s\\:,.()\-]|%[0-9A-Fa-f]{2})*+")
_PUTTY = re.compile(r"Private-Lines: \d{1,4}(?P<secret>(?:(?:\s|\\[rn])++[A-Za-z0-9+/=]{4,80}){1,200})")
_WIREGUARD = re.compile(r"\b(?:PrivateKey|PresharedKey)\s?=\s?(?P<secret>[A-Za-z0-9+/]{43}=)")

BEGIN_LINE = re.compile(rb"-----BEGIN (?:[A-Z0-9]{1,12} ){0,4}PRIVATE KEY(?: BLOCK)?-----\s*$")
END_LINE = re.compile(rb"-----END (?:[A-Z0-9]{1,12} ){0,4}PRIVATE KEY(?: BLOCK)?-----")
BODY_LINE = re.compile(rb"\s*(?:[A-Za-z0-9+/=]{1,130}|(?:Proc-Type|DEK-Info|Version|Comment): [^\n]{1,120})?\s*")
MOST_BODY_LINES = 200
LONGEST_LINE = 1024
_SHORTEST_BODY = 16
_LONGEST_BODY = 8_192
_BODY_CHARACTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=\\ \t\r\n"
_BODY_BREAK = re.compile(r"((?:\s|\\+[rn])+)")
_LONGEST_LAST = 130
_LAST_OF_BODY = re.compile(r"[A-Za-z0-9+/=]{1,130}\Z")


def scan(text: str, verifier: Verifier) -> Iterator[Hit]:
    """One mark for the block; a block without its end goes as far as its characters do."""
    begin: re.Match[str] | None = None
    for edge in verifier.each(_EDGE, text, 8):
        if edge["kind"] == "END":
            start = begin.start() if begin is not None else _beheaded(text, edge.start())
            if start < edge.start():
                yield Hit(start, edge.end(), "pem-private-key")
            begin = None
            continue
        if begin is not None:
            yield from _cut_off(text, begin, edge.start())
        begin = edge
    if begin is not None:
        yield from _cut_off(text, begin, len(text))
    for pattern in (_PUTTY, _WIREGUARD):
        for found in verifier.each(pattern, text):
            if not verifier.gate.masked(found["secret"].strip()):
                yield Hit(*found.span("secret"), "putty-wireguard")


_KTY = re.compile(r"[\"']kty\\{0,16}[\"']")
_JWK_MEMBER = re.compile(
    r"[\"'](?:k|d|p|q|dp|dq|qi)\\{0,16}[\"'] ?: ?\\{0,16}[\"'](?P<secret>[A-Za-z0-9_\-]{16,1024}+)(?=\\{0,16}[\"'])"
)
_LONGEST_JWK = 4_096


def scan_jwk(text: str, verifier: Verifier) -> Iterator[Hit]:
    """Private members of a JSON Web Key that is printed in another text; where it is JSON, the walk finds them."""
    done = 0
    for found in verifier.each(_KTY, text, 8):
        start, end = max(done, text.rfind("{", 0, found.start())), text.find("}", found.end())
        end = len(text) if end < 0 else end
        if start < found.start() and end - start < _LONGEST_JWK:
            done = end
            for member in _JWK_MEMBER.finditer(text, start, end):
                yield Hit(*member.span("secret"), "jwk-private")


def _beheaded(text: str, end: int) -> int:
    """Where the body before an END begins whose BEGIN is missing: it stands in another part of a long line."""
    before = text[max(0, end - _LONGEST_BODY) : end]
    # Line and break by turns, the last line empty.
    *parts, last = _BODY_BREAK.split(before[len(before.rstrip(_BODY_CHARACTERS)) :])
    start = end
    for line, ending in zip(parts[-2::-2], parts[::-2], strict=True) if not last else ():
        tail = _LAST_OF_BODY.search(line[-_LONGEST_LAST:])
        if tail is None:
            break
        start -= len(ending) + len(tail[0])
        if len(tail[0]) < len(line):
            break
    return start if len(text[start:end].strip()) >= _SHORTEST_BODY else end


def _cut_off(text: str, begin: re.Match[str], limit: int) -> Iterator[Hit]:
    body = _BODY.match(text, begin.end(), limit)
    if body is not None and len(body[0].strip()) >= _SHORTEST_BODY:
        yield Hit(begin.start(), body.end(), "pem-private-key")


def key_lines(lines: Sequence[bytes], inside: bool) -> list[int]:
    """Numbers of the lines that belong to a private key, its BEGIN and END among them, where the key takes several."""
    found: list[int] = []
    block: list[int] | None = [] if inside else None
    for number, line in enumerate(lines):
        if len(line) > LONGEST_LINE:
            block = None
        elif BEGIN_LINE.search(line):
            block = [number]
        elif END_LINE.search(line) and block is None and END_LINE.match(line.strip()):
            found += _body_before(lines, number)
        elif block is not None:
            if len(block) > MOST_BODY_LINES or not (BODY_LINE.fullmatch(line) or END_LINE.search(line)):
                found += block
                block = None
                continue
            block.append(number)
            if END_LINE.search(line):
                found += block
                block = None
    return found + (block or [])


def _body_before(lines: Sequence[bytes], end: int) -> list[int]:
    """An END without BEGIN: the key began in the chunk before."""
    start = end
    while start > 0 and end - start < MOST_BODY_LINES and BODY_LINE.fullmatch(lines[start - 1]):
        start -= 1
    return list(range(start, end + 1))


def ends_inside(data: bytes, inside: bool) -> bool:
    """Whether the chunk ends within a key: its last lines are a BEGIN and body lines."""
    for back, line in enumerate(reversed(data.splitlines()[-MOST_BODY_LINES - 1 :])):
        if len(line) <= LONGEST_LINE and BEGIN_LINE.search(line):
            return True
        if len(line) > LONGEST_LINE or END_LINE.search(line) or not BODY_LINE.fullmatch(line) or back > MOST_BODY_LINES:
            return False
    return inside
