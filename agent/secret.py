"""The value of a secret that the configuration only names: `{ file | env | credential = … }`.

A value lives as short as its use: nothing here keeps it, prints it or puts it into a message.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from agent.config import Secret

MAX_SECRET_BYTES = 64 * 1024

CREDENTIALS_DIRECTORY = "CREDENTIALS_DIRECTORY"
"""Environment variable in which systemd says where the credentials of a unit are (systemd.exec(5))."""


class SecretMissing(Exception):
    """A secret cannot be had. The message names the place and what to do, never a value."""


class SecretReader:
    """Reads one secret.

    `read` looks anew each time: a file that was replaced is noticed at the next use, and reading a few bytes costs no
    more than asking whether they changed, which two changes within one tick of the file system's clock would defeat.
    """

    def __init__(self, secret: Secret, environ: Mapping[str, str] | None = None) -> None:
        self._secret = secret
        self._environ = os.environ if environ is None else environ

    def __repr__(self) -> str:
        return f"SecretReader({self.place})"

    @property
    def place(self) -> str:
        """Where the secret is, for messages."""
        if self._secret.file is not None:
            return f"file {self._secret.file}"
        if self._secret.env is not None:
            return f"environment variable {self._secret.env}"
        return f"credential {self._secret.credential}"

    def read(self) -> str:
        """The secret without white space around it. Raises SecretMissing."""
        value = self._environment() if self._secret.env is not None else self._file(self._path())
        value = value.strip()
        if not value:
            raise SecretMissing(f"{self.place} is empty: write the secret into it")
        return value

    def _environment(self) -> str:
        assert self._secret.env is not None
        value = self._environ.get(self._secret.env)
        if value is None:
            raise SecretMissing(f"{self.place} is not set: set it for the agent's service")
        try:
            value.encode()
        except UnicodeEncodeError:
            # As with a file, below.
            raise SecretMissing(f"{self.place} is not UTF-8 text: set it as text") from None
        return value

    def _path(self) -> Path:
        if self._secret.file is not None:
            return Path(self._secret.file)
        name = self._secret.credential or ""
        directory = self._environ.get(CREDENTIALS_DIRECTORY)
        if not directory:
            raise SecretMissing(
                f"{self.place} is not there: ${CREDENTIALS_DIRECTORY} is not set; "
                f"add LoadCredential={name}:/path/of/the/secret to the service"
            )
        return Path(directory, name)

    def _file(self, path: Path) -> str:
        try:
            with path.open("rb") as file:
                data = file.read(MAX_SECRET_BYTES + 1)
        except FileNotFoundError:
            raise SecretMissing(f"{self.place} is not there ({path}): create it, readable by the agent") from None
        except PermissionError:
            raise SecretMissing(f"{self.place} may not be read ({path}): give the agent's user read access") from None
        except OSError as error:
            raise SecretMissing(f"{self.place} cannot be read ({path}): {error.strerror}") from None
        if len(data) > MAX_SECRET_BYTES:
            raise SecretMissing(f"{self.place} is larger than {MAX_SECRET_BYTES} bytes: it is not the secret's file")
        try:
            return data.decode("utf-8-sig")
        except UnicodeDecodeError:
            # Without `from None` the decoder's message would show some of the bytes.
            raise SecretMissing(f"{self.place} is not UTF-8 text: write the secret as text") from None
