"""aiohttp, both ways, loaded without the system's certificate authorities.

When it is imported, aiohttp makes two TLS contexts for requests that bring none, and loads all authorities into both: a
tenth of a start, and 5 MiB that stay. No request of ours comes without one (`push/client.py`). One that did would find no
authority in that file and trust none: it fails, it does not pass.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

__all__ = ["aiohttp", "hdrs", "web"]


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
    import aiohttp
    from aiohttp import hdrs, web
