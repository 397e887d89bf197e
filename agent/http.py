"""aiohttp's server, loaded without the system's certificate authorities.

When it is imported, aiohttp makes two TLS contexts for requests that bring none, and loads all authorities into both: a
twelfth of a start, and 2 MiB that stay. No request of ours is made with it (`push/client.py`). One that was would be
judged by OpenSSL's directory of authorities, or by none where there is no such directory: it may fail, it never passes unseen.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

__all__ = ["web"]


@contextlib.contextmanager
def _no_authorities() -> Iterator[None]:
    """What OpenSSL looks at when it is asked for the default ones; as it was, afterwards."""
    name = "SSL_CERT_FILE"
    before = os.environ.get(name)
    os.environ[name] = os.devnull
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


with _no_authorities():
    from aiohttp import web
