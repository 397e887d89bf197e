"""One POST to Loki: connection, TLS, headers, deadline. What the answer means is not decided here."""

from __future__ import annotations

import asyncio
import base64
import io
import socket
import ssl
import time
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import urlsplit, urlunsplit

from agent import __version__, config, wire
from agent.http import aiohttp, hdrs
from agent.push.reply import NoReply, Reply, parse_retry_after
from agent.secret import SecretMissing, SecretReader

PUSH_PATH = "/loki/api/v1/push"
USER_AGENT = f"greenstack-agent/{__version__}"

MAX_REPLY_BYTES = 64 * 1024

# Loki closes an idle connection after 120 s (dskit server.http-idle-timeout); ours go before.
_KEEP_ALIVE_S = 60.0
# A name is looked up again for each new connection after this.
_DNS_CACHE_S = 10

_WRITTEN_AT_ONCE: Final = 256 * 1024
"""Bytes. What is longer is written in pieces: a body given as bytes is handed to the socket whole, which holds up the event loop."""

_FileState = tuple[int, int, int] | None


@dataclass(slots=True)
class _Attempt:
    """One request on its way. connects: it had to make a connection, for none was kept."""

    connects: bool = False


_attempt: Final[ContextVar[_Attempt]] = ContextVar("attempt")


class Unreachable(Exception):
    """No reply came. Whether the entries are stored is not known."""

    def __init__(self, kind: NoReply, message: str) -> None:
        super().__init__(message)
        self.kind: NoReply = kind


def push_url(url: str) -> str:
    """The address to post to: a URL whose path ends in `/push` as it is, any other with Loki's path added.

    Without a slash at the end, for Loki answers 404 to that.
    """
    parts = urlsplit(url)
    path = parts.path.rstrip("/")
    return urlunsplit((parts.scheme, parts.netloc, path if path.endswith("/push") else path + PUSH_PATH, "", ""))


def read_secret(secret: config.Secret) -> str:
    """The value as it is now. Raises SecretMissing."""
    return SecretReader(secret).read()


class LokiClient:
    """Posts bodies to one Loki. Use as `async with`.

    read_secret: reads files, so it is called off the event loop; again for each request, so a new token counts at once.
    Where there is nothing of the kind, no thread is asked.
    clock: epoch seconds, for a `Retry-After` that is a date.
    """

    def __init__(
        self,
        settings: config.Loki,
        *,
        read_secret: Callable[[config.Secret], str] = read_secret,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings
        self._url = push_url(settings.url)
        self._read_secret = read_secret
        self._clock = clock
        self._tls = TlsContext(settings.tls) if self._url.startswith("https:") else None
        secrets = (*settings.headers.values(), settings.bearer_token, settings.basic_auth)
        self._reads_files = self._tls is not None or any(
            value is not None and not isinstance(value, str) for value in secrets
        )
        self._session: aiohttp.ClientSession | None = None
        self._fixed: dict[str, dict[str, str]] = {}
        """Headers by encoding, where nothing of them comes from a file."""

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=self._settings.max_in_flight,
                keepalive_timeout=_KEEP_ALIVE_S,
                ttl_dns_cache=_DNS_CACHE_S,
                socket_factory=self._new_socket,
            ),
            # The deadline is `post`'s own: it also covers reading secrets and a second try.
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),
            cookie_jar=aiohttp.DummyCookieJar(),
            # A compressed reply could unfold to any size.
            auto_decompress=False,
            skip_auto_headers=(hdrs.ACCEPT_ENCODING,),
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._session is not None
        await self._session.close()

    async def post(self, encoding: str, payload: bytes) -> Reply:
        """One request; no redirect is followed, for it would carry the credentials elsewhere.

        Raises Unreachable when there was no complete reply within the time-out, SecretMissing.
        """
        try:
            async with asyncio.timeout(self._settings.timeout):
                if self._reads_files:
                    headers, tls = await asyncio.to_thread(self._prepare, encoding)
                else:
                    headers, tls = self._fixed.get(encoding) or self._fix(encoding), None
                return await self._post_fresh(headers, tls, payload)
        except TimeoutError:
            raise Unreachable("timeout", f"no complete reply within {self._settings.timeout:g} s") from None

    async def _post_fresh(self, headers: dict[str, str], tls: ssl.SSLContext | None, payload: bytes) -> Reply:
        """Tries again at once as long as it meets kept connections that the other side has closed meanwhile."""
        for _ in range(self._settings.max_in_flight):
            attempt = _Attempt()
            _attempt.set(attempt)
            try:
                return await self._post_once(headers, tls, payload)
            except (aiohttp.ClientError, OSError) as error:
                if attempt.connects or _kind(error) != "reset":
                    raise Unreachable(_kind(error), _message(error)) from error
        try:
            return await self._post_once(headers, tls, payload)
        except (aiohttp.ClientError, OSError) as error:
            raise Unreachable(_kind(error), _message(error)) from error

    async def _post_once(self, headers: dict[str, str], tls: ssl.SSLContext | None, payload: bytes) -> Reply:
        assert self._session is not None, "use LokiClient as `async with`"
        async with self._session.post(
            self._url,
            data=payload if len(payload) <= _WRITTEN_AT_ONCE else io.BytesIO(payload),
            headers=headers,
            ssl=tls if tls is not None else True,
            server_hostname=self._settings.tls.server_name if tls is not None else None,
            allow_redirects=False,
        ) as response:
            body = await _read_bounded(response)
            retry_after_s = parse_retry_after(response.headers.get(hdrs.RETRY_AFTER), self._clock())
            return Reply(response.status, body.decode("utf-8", "replace"), retry_after_s)

    def _new_socket(self, address: tuple[Any, ...]) -> socket.socket:
        """aiohttp asks for one where it has kept no connection. To be told by its tracing takes an eighth of a request."""
        _attempt.get().connects = True
        family, kind, protocol, *_ = address
        made = socket.socket(family, kind, protocol)
        # A closed connection stays until the rest of its body is written: for ever, when the other side reads no more.
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, max(1, round(1000 * self._settings.timeout)))
        return made

    def _fix(self, encoding: str) -> dict[str, str]:
        self._fixed[encoding] = headers = self._prepare(encoding)[0]
        return headers

    # --- in a thread ----------------------------------------------------------------------------------------------

    def _prepare(self, encoding: str) -> tuple[dict[str, str], ssl.SSLContext | None]:
        """Headers and TLS context as the files say now. Raises SecretMissing, Unreachable."""
        settings = self._settings
        extra = {
            name: self._header(name, value) if isinstance(value, config.Secret) else value
            for name, value in settings.headers.items()
        }
        own = dict(wire.HTTP_HEADERS[encoding])
        if settings.tenant_id is not None:
            own["X-Scope-OrgID"] = settings.tenant_id
        own |= self._authorization()
        headers = _merge({hdrs.USER_AGENT: USER_AGENT, "Accept-Encoding": "identity"}, extra, own)
        return headers, self._tls.current() if self._tls is not None else None

    def _authorization(self) -> dict[str, str]:
        basic, bearer = self._settings.basic_auth, self._settings.bearer_token
        if basic is not None:
            password = self._read_secret(basic.password)
            pair = base64.b64encode(f"{basic.username}:{password}".encode()).decode()
            return {hdrs.AUTHORIZATION: f"Basic {pair}"}
        if bearer is not None:
            return {hdrs.AUTHORIZATION: f"Bearer {self._header('Authorization', bearer)}"}
        return {}

    def _header(self, name: str, secret: config.Secret) -> str:
        value = self._read_secret(secret)
        if not value.isprintable():
            place = SecretReader(secret).place
            raise SecretMissing(f"{place} holds a line break or control character, which header {name} cannot carry")
        return value


class TlsContext:
    """The TLS context for the files that the settings name, made anew when one of them changes."""

    def __init__(self, settings: config.Tls) -> None:
        self._settings = settings
        self._state: tuple[_FileState, ...] | None = None
        self._context: ssl.SSLContext | None = None

    def current(self) -> ssl.SSLContext:
        """Blocks for some ms. Raises Unreachable("tls") when the files cannot be used and never could."""
        state = tuple(_state_of(path) for path in self._paths())
        if self._context is None or state != self._state:
            try:
                self._context, self._state = self._build(), state
            except (OSError, ssl.SSLError) as error:
                # Half of a rotation: a certificate without its new key, say. The old ones serve until the rest is there.
                if self._context is None:
                    places = ", ".join(self._paths()) or "the system's authorities"
                    raise Unreachable("tls", f"cannot use {places}: {error}") from error
        return self._context

    def _paths(self) -> list[str]:
        return [path for path in (self._settings.ca_file, self._settings.cert_file, self._settings.key_file) if path]

    def _build(self) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=self._settings.ca_file)
        if self._settings.cert_file is not None:
            # A key with a passphrase would otherwise ask for it on the terminal.
            context.load_cert_chain(self._settings.cert_file, self._settings.key_file, password=lambda: b"")
        return context


def _state_of(path: str) -> _FileState:
    try:
        found = Path(path).stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def _merge(*parts: Mapping[str, str]) -> dict[str, str]:
    """Header maps as one, later ones first in rank; names are compared without case."""
    merged = {name.lower(): (name, value) for part in parts for name, value in part.items()}
    return dict(merged.values())


async def _read_bounded(response: aiohttp.ClientResponse) -> bytes:
    """At most MAX_REPLY_BYTES; a connection with more to say is closed."""
    parts, size = [], 0
    async for part in response.content.iter_any():
        parts.append(part)
        size += len(part)
        if size > MAX_REPLY_BYTES:
            response.close()
            break
    return b"".join(parts)[:MAX_REPLY_BYTES]


def _kind(error: Exception) -> NoReply:
    # A server that misses our certificate says so only after the handshake (TLS 1.3).
    if isinstance(error, aiohttp.ClientSSLError) or isinstance(error.__cause__, ssl.SSLError):
        return "tls"
    # aiohttp calls a URL invalid when no address can be meant by its host.
    if isinstance(error, (aiohttp.ClientConnectorDNSError, aiohttp.InvalidURL)):
        return "dns"
    if isinstance(error, aiohttp.ClientConnectorError):
        return "connect"
    return "reset"


def _message(error: Exception) -> str:
    return str(error) or type(error).__name__
