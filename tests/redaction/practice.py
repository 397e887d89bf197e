"""A second corpus, written without a look at the rules: what frameworks, tools and people write, made from dice.

`positives` gives lines and the secrets in them; `harmless.negatives` lines that only look dangerous.
"""

from __future__ import annotations

import contextlib
import html
import json
from collections.abc import Iterator
from typing import NamedTuple
from urllib.parse import quote

from practice_shapes import ANYWHERE, BARE, KEY_PROSE, PASSWORD_NAMES, PROSE, QUOTED, SECRET_NAMES, TITLES, json_string
from practice_values import ALNUM, PERSONAL, TOKENS, WORDS, Dice, b64, core_of, greenstack, line, pem


class Case(NamedTuple):
    """A line, what must not be in what comes out, and where the line is from."""

    where: str
    line: str
    secrets: tuple[str, ...]


def token_cases(d: Dice) -> Iterator[Case]:
    for kinds, share in ((TOKENS, 0.35), (PERSONAL, 1.0)):
        for kind, make in kinds.items():
            for where, wrap in ANYWHERE.items():
                if d.random() > share:
                    continue
                token = make(d)
                if where == "unicode escapes" and kind == "url":
                    continue
                if where == "equals before" and kind == "iban spaced":
                    continue
                yield Case(f"{kind} in {where}", wrap(d, token), (core_of(kind, token),))
            token = make(d)
            if kind not in ("url", "slack hook", "iban spaced", "grouped card"):
                everything = "".join(f"%{b:02X}" for b in token.encode())
                yield Case(
                    f"{kind} percent", greenstack(d, f"GET /x?note={everything}&n=1 HTTP/1.1"), (everything, token)
                )
                yield Case(
                    f"{kind} quoted",
                    greenstack(d, f"GET /x?n=1&note={quote(token, safe='')} HTTP/1.1"),
                    (quote(token, safe=""), token),
                )
            if (
                kinds is TOKENS
                and len(kind)
                and kind
                not in (
                    "url",
                    "slack hook",
                    "telegram",
                    "azure ad",
                    "terraform",
                    "discord",
                    "twilio",
                    "sk",
                    "replicate",
                    "bcrypt",
                    "argon2",
                    "django",
                )
            ):
                inner = d.choice((f"key is {token}", json.dumps({"note": token}), f"{token}\n"))
                yield Case(f"{kind} base64", greenstack(d, "x", data=b64(inner)), (b64(inner),))


def fill(d: Dice, template: str) -> tuple[str, tuple[str, ...]]:
    is_key = template in KEY_PROSE
    value = d.key() if is_key else d.password()
    if any(
        w in template
        for w in (
            "(b'",
            "://",
            "jdbc",
            "curl",
            "mysql",
            "docker",
            "az ",
            "htpasswd",
            "net use",
            "sshpass",
            "GET ",
            "verify/",
            "redis-cli",
            "otpauth",
            "github",
            "reset-password",
            "code=",
        )
    ):
        value = d.strong(24, 40)
    extra = {
        "u": d.choice(("bob", "alice", "svc_user", "admin")), "b": b64(f"bob:{d.strong()}"), "k": d.some(ALNUM + "+/", 86) + "==", "k2": d.some(ALNUM + "+/", 43) + "=", "k3": quote(d.some(ALNUM + "+/", 43) + "=", safe=""), "k40": d.some(ALNUM + "/+", 37) + "aB7",
        "h64": d.hexa(64), "h32": d.hexa(32), "b32": d.some("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", 16), "n": d.randrange(10, 99),
    }  # fmt: skip
    secrets = tuple(
        str(extra[name]) for name in ("b", "k", "k2", "k3", "k40", "h64", "h32") if f"{{{name}}}" in template
    )
    if "{v" in template:
        secrets += (value,)
    if "{n}" in template:
        secrets += (f"4711{extra['n']}",)
    return template.format(v=value, **extra), secrets


NAMES = ((PASSWORD_NAMES, 5), (SECRET_NAMES, 6))
NEEDS_NO_WORD = ("terraform change", "list of tuples", "bytes tuples", "tuple", "ordered dict")


def bare_cases(d: Dice) -> Iterator[Case]:
    for where, make in BARE.items():
        for name in [name for names, count in NAMES for name in d.sample(names, count)]:
            value = d.password() if name in PASSWORD_NAMES else d.key()
            if "xml" in where and not name.replace("_", "").isalnum():
                continue
            message = make(d, name, value)
            secrets = (message.removeprefix("payload "),) if "base64" in where else (value, quote(value, safe=""))
            yield Case(f"{where} {name}", wrapped(d, message), secrets)


def quoted_cases(d: Dice) -> Iterator[Case]:
    for where, make in QUOTED.items():
        for name in [name for names, count in NAMES for name in d.sample(names, count)]:
            value = d.any_password() if name in PASSWORD_NAMES else d.key()
            if any(q in value for q in "'\"\\") or (len(value) < 9 and where == "tuple"):
                value = d.strong()
            if value in WORDS and where in NEEDS_NO_WORD:
                value = d.password()
            message = make(d, name, value)
            as_field = where in ("json", "json list", "tfstate") and d.random() < 0.6
            entry = greenstack(d, "x", data=json.loads(message)) if as_field else greenstack(d, message)
            yield Case(f"{where} {name}", entry, (value, json_string(value)))


def field_cases(d: Dice) -> Iterator[Case]:
    for name in (*PASSWORD_NAMES, *SECRET_NAMES):
        value = d.any_password() if name in PASSWORD_NAMES else d.key()
        yield Case(f"extra {name}", greenstack(d, "x", **{name: value}), (json_string(value), value))
        yield Case(f"nested {name}", greenstack(d, "x", cfg={"a": [{name: value}]}), (json_string(value), value))
        yield Case(f"list {name}", greenstack(d, "x", **{name: [value, "b" + value]}), (json_string(value), value))
    for title in TITLES:
        value = d.password() if "assw" in title else d.key()
        for form in ("{t}: {v}", "{t} = {v}", "{t}={v}", '{t}: "{v}"', "- {t}: {v}", "* {t} -> {v}"):
            yield Case(f"title {title} {form}", line(d, form.format(t=title, v=value)), (value,))
        yield Case(f"title json {title}", greenstack(d, "x", **{title: value}), (value,))


def prose_cases(d: Dice) -> Iterator[Case]:
    for template in (*PROSE, *KEY_PROSE):
        for _ in range(4):
            message, secrets = fill(d, template)
            yield Case(template, wrapped(d, message), secrets)


def block_cases(d: Dice) -> Iterator[Case]:
    for newline in ("\n", "\\n", "\r\n", "\\\\n", " "):
        for _ in range(6):
            block, bodies = pem(d, newline)
            yield Case("pem", greenstack(d, f"loaded {block} ok"), bodies)
            yield Case("pem field", greenstack(d, "x", tls={"data": block}), bodies)
            yield Case("pem torn", greenstack(d, f"key {block[: len(block) * 2 // 3]}"), bodies[:1])
    block, bodies = pem(d)
    yield Case("pem base64", greenstack(d, "x", data={"tls.key": b64(block)}), (b64(block),))
    key, sid, password = d.key(), d.strong(24, 30), d.strong()
    raw = (
        f"POST /login HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\nCookie: sid={sid}\r\n\r\n"
        f"user=bob&password={password}"
    )
    yield Case("raw http", greenstack(d, raw), (key, sid, password))
    yield Case("raw http repr", greenstack(d, repr(raw.encode())), (key, sid, password))


def wrapped(d: Dice, message: str) -> str:
    return greenstack(d, message) if "\n" in message else line(d, message)


def positives(seed: int) -> Iterator[Case]:
    d = Dice(seed)
    for make in (token_cases, bare_cases, quoted_cases, field_cases, prose_cases, block_cases):
        yield from make(d)


def leaks(case: Case, out: str) -> str | None:
    """What of a secret still stands in the output; eight characters of a long one are too many."""
    texts = [out]
    with contextlib.suppress(ValueError):
        texts.append(json.dumps(json.loads(out), ensure_ascii=False))
    for secret in case.secrets:
        for piece in {secret, html.escape(secret)}:
            for text in texts:
                if piece and piece in text:
                    return piece
        if len(secret) >= 16:
            width = 10
            for at in range(len(secret) - width + 1):
                if secret[at : at + width] in out:
                    return secret[at : at + width]
    return None


def is_json(text: str | bytes) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True
