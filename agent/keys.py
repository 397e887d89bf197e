"""The key of the pseudonyms, and the agent's own secrets that must never appear in what it sends."""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Mapping
from pathlib import Path

from agent import config
from agent.secret import SecretReader

MIN_KEY_BYTES = 32
_SENSITIVE_NAME = re.compile(r"(?:^|_)(?:password|passwd|secret|token|api_?key|private_key)$", re.IGNORECASE)
_MIN_SECRET_CHARS = 8


class KeyTooShort(ValueError):
    """A pseudonym key that can be guessed is no key."""


def pseudonym_key(state_dir: Path, reference: config.Secret | None) -> bytes:
    """The configured key, or the one kept in the state directory, made on first use (0600).

    Raises secret.SecretMissing, KeyTooShort, OSError.
    """
    if reference is not None:
        key = SecretReader(reference).read().encode()
        if len(key) < MIN_KEY_BYTES:
            raise KeyTooShort(f"redact.hash_key has {len(key)} bytes; give it at least {MIN_KEY_BYTES}")
        return key
    path = state_dir / "pseudonym.key"
    try:
        made = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        return path.read_bytes()
    with os.fdopen(made, "wb") as file:
        key = secrets.token_bytes(MIN_KEY_BYTES)
        file.write(key)
        file.flush()
        os.fsync(file.fileno())
    return key


def own_secrets(loki: config.Loki, environ: Mapping[str, str]) -> tuple[str, ...]:
    """What the agent itself must not leak: its credentials for Loki and environment variables named like secrets."""
    references = [
        loki.basic_auth.password if loki.basic_auth else None,
        loki.bearer_token,
        *(value for value in loki.headers.values() if isinstance(value, config.Secret)),
    ]
    values = [SecretReader(reference).read() for reference in references if reference is not None]
    values += [value for name, value in environ.items() if _SENSITIVE_NAME.search(name)]
    return tuple(dict.fromkeys(value for value in values if len(value) >= _MIN_SECRET_CHARS))
