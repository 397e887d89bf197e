"""The key of the pseudonyms, and the agent's own secrets that must never appear in what it sends."""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import unquote, urlsplit

from agent import config
from agent.durable import create_whole, replace_whole
from agent.secret import SecretReader
from agent.transform.redaction.names import Names

MIN_KEY_BYTES = 32
_MIN_SECRET_CHARS = 8


class KeyTooShort(ValueError):
    """A pseudonym key that can be guessed is no key."""


class PseudonymKey:
    """The configured key, or the one kept in the state directory (0600), or a new one that is still to be kept there.

    A new key must be kept before anything is written that was made with it, or the next start would name the same person
    otherwise.
    """

    def __init__(self, state_dir: Path, reference: config.Secret | None) -> None:
        """Raises secret.SecretMissing, KeyTooShort, OSError."""
        self._path = state_dir / "pseudonym.key"
        self.value = _configured(reference) if reference is not None else self._kept()
        self.is_kept = self.value != b""
        if not self.is_kept:
            self.value = secrets.token_bytes(MIN_KEY_BYTES)

    def _kept(self) -> bytes:
        """Empty when there is none. One cut short by a crash of an earlier version was never used: it is none."""
        try:
            key = self._path.read_bytes()
        except FileNotFoundError:
            return b""
        return key if len(key) >= MIN_KEY_BYTES else b""

    def keep(self) -> None:
        """Makes a new key durable; for one that is kept nothing happens. Raises OSError.

        When another process has kept one meanwhile (`ship` beside the daemon), its key counts: FileExistsError, and this
        process has to begin again with it.
        """
        if self.is_kept:
            return
        if self._path.exists() and not self._kept():
            replace_whole(self._path, self.value)
        else:
            create_whole(self._path, self.value)
        self.is_kept = True


def _configured(reference: config.Secret) -> bytes:
    key = SecretReader(reference).read().encode()
    if len(key) < MIN_KEY_BYTES:
        raise KeyTooShort(f"redact.hash_key has {len(key)} bytes; give it at least {MIN_KEY_BYTES}")
    return key


def own_secrets(loki: config.Loki, environ: Mapping[str, str]) -> tuple[str, ...]:
    """What the agent itself must not leak: its credentials for Loki and environment variables named like secrets."""
    references = [
        loki.basic_auth.password if loki.basic_auth else None,
        loki.bearer_token,
        *(value for value in loki.headers.values() if isinstance(value, config.Secret)),
    ]
    values = [SecretReader(reference).read() for reference in references if reference is not None]
    names = Names()
    for name, value in environ.items():
        verdict = names.verdict(name)
        if verdict is None:
            continue
        if verdict.kind == "dsn":
            values.append(_password_of(value))
        elif not value.startswith(("/", "./")):  # SSH_AUTH_SOCK and the like are paths
            values.append(value)
    return tuple(dict.fromkeys(value for value in values if len(value) >= _MIN_SECRET_CHARS))


def _password_of(url: str) -> str:
    try:
        return unquote(urlsplit(url).password or "")
    except ValueError:
        return ""


class ValuesUnusable(ValueError):
    """The file of exact values cannot be used; the message says what to do."""


def value_list(path: str) -> tuple[str, ...]:
    """The lines of `redact.values_file`. What others could read has leaked once more, so that is refused.

    Raises ValuesUnusable.
    """
    if not path:
        return ()
    try:
        with open(path, encoding="utf-8") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            if mode & 0o077:
                raise ValuesUnusable(f"redact.values_file: others may read {path} (mode {mode:04o}); chmod 600 {path}")
            return tuple(dict.fromkeys(line for line in file.read().splitlines() if line))
    except (OSError, UnicodeDecodeError) as error:
        raise ValuesUnusable(f"redact.values_file: {path}: {error}") from None
