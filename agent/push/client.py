"""One POST to Loki: address, TLS, headers, deadline. What the answer means is not decided here."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import ipaddress
import re
import socket
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import urlsplit, urlunsplit

import aiohappyeyeballs
from yarl import URL

from agent import __version__, config, wire
from agent.push.connection import Broken, Connection, RawReply
from agent.push.reply import NoReply, Reply, parse_retry_after
from agent.secret import SecretMissing, SecretReader

PUSH_PATH = "/loki/api/v1/push"
USER_AGENT = f"greenstack-agent/{__version__}"

# Loki closes an idle connection after 120 s (dskit server.http-idle-timeout); ours go before.
_KEEP_ALIVE_S = 60.0
# A name is looked up again for a new connection after this, or when there was none at the addresses known.
_KNOWN_S: Final = 10.0
# So long an end of TLS is waited for, of a connection that is given up while it is made.
_SHUTDOWN_S: Final = 1.0
# Of several addresses of a name the next is tried beside the one before, when that has not answered for so long (RFC 8305, 5).
_NEXT_ADDRESS_S: Final = 0.25

_FileState = tuple[int, int, int] | None
_AddressInfo = tuple[int, int, int, str, tuple[Any, ...]]
"""As `socket.getaddrinfo` has it."""


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
        self._read_secret = read_secret
        self._clock = clock
        self._address = URL(push_url(settings.url))
        self._tls = TlsContext(settings.tls) if self._address.scheme == "https" else None
        secrets = (*settings.headers.values(), settings.bearer_token, settings.basic_auth)
        self._reads_files = self._tls is not None or any(
            value is not None and not isinstance(value, str) for value in secrets
        )
        self._host, self._server_name = _names(self._address, settings.tls.server_name)
        self._known: tuple[float, Sequence[_AddressInfo]] | None = None
        """Where the host is, and until when that is not looked up again, on the event loop's clock."""
        self._lookup: asyncio.Task[Sequence[_AddressInfo] | Unreachable] | None = None
        self._is_closed = False
        self._open: set[Connection] = set()
        self._kept: list[Connection] = []
        """Those no request is on; the one used last comes last."""
        self._fixed: dict[str, bytes] = {}
        """Heads by encoding, where nothing of them comes from a file."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_closed = True
        ending: list[asyncio.Future[Any]] = [connection.lost for connection in self._open]
        for connection in list(self._open):
            connection.close()
        if self._lookup is not None:
            self._lookup.cancel()
            ending.append(self._lookup)
        if ending:
            await asyncio.wait(ending)

    async def post(self, encoding: str, payload: bytes) -> Reply:
        """One request; no redirect is followed, for it would carry the credentials elsewhere.

        Raises Unreachable when there was no complete reply within the time-out, SecretMissing.
        """
        try:
            async with asyncio.timeout(self._settings.timeout):
                if self._reads_files:
                    head, tls = await asyncio.to_thread(self._prepare, encoding)
                else:
                    head, tls = self._fixed.get(encoding) or self._fix(encoding), None
                raw = await self._post_fresh(b"%b%d\r\n\r\n" % (head, len(payload)), tls, payload)
        except TimeoutError:
            raise Unreachable("timeout", f"no complete reply within {self._settings.timeout:g} s") from None
        retry_after_s = parse_retry_after(raw.retry_after, self._clock())
        body = raw.body.decode("utf-8", "replace")
        return Reply(raw.status, body, retry_after_s, self._blotted(body, head) if body else "")

    def _blotted(self, body: str, head: bytes) -> str:
        """Without the credentials of the request: some servers quote it."""
        secret = {name.lower() for name, value in self._settings.headers.items() if isinstance(value, config.Secret)}
        words: set[str] = set()
        for line in head.decode().split("\r\n"):
            name, _, value = line.partition(": ")
            if name.lower() == "authorization":
                words |= {value, *(value.split()[1:] or [value])}
                if value.startswith("Basic "):
                    with contextlib.suppress(ValueError):  # no base64: then it holds no password
                        pair = base64.b64decode(value.removeprefix("Basic ")).decode("utf-8", "replace")
                        words.add(pair.partition(":")[2])
            elif name.lower() in secret:
                words.add(value)
        known = sorted(filter(None, words), key=len, reverse=True)
        return re.sub("|".join(map(re.escape, known)), "[REDACTED]", body) if known else body

    async def _post_fresh(self, head: bytes, tls: ssl.SSLContext | None, payload: bytes) -> RawReply:
        """Tries again at once as long as it meets kept connections that the other side has closed meanwhile."""
        while (kept := self._take(tls)) is not None:
            try:
                return await self._post_on(kept, head, payload)
            except Unreachable as error:
                if error.kind != "reset":
                    raise
        return await self._post_on(await self._connect(tls), head, payload)

    async def _post_on(self, connection: Connection, head: bytes, payload: bytes) -> RawReply:
        try:
            reply = await connection.post(head, payload)
        except Broken as error:
            # A server that misses our certificate says so only after the handshake (TLS 1.3).
            kind: NoReply = "tls" if isinstance(error.__cause__, ssl.SSLError) else "reset"
            raise Unreachable(kind, self._told(error.__cause__ or error)) from error
        if self._is_closed:
            connection.close()
        elif connection.is_usable:
            connection.rest(_KEEP_ALIVE_S)
            self._kept.append(connection)
        return reply

    def _take(self, tls: ssl.SSLContext | None) -> Connection | None:
        """One that is kept, made with these certificates."""
        while self._kept:
            connection = self._kept.pop()
            if connection.is_usable and connection.tls is tls:
                return connection
            connection.close()
        return None

    def _fix(self, encoding: str) -> bytes:
        self._fixed[encoding] = head = self._prepare(encoding)[0]
        return head

    # --- a new connection -----------------------------------------------------------------------------------------

    async def _connect(self, tls: ssl.SSLContext | None) -> Connection:
        loop = asyncio.get_running_loop()
        addresses = await self._addresses(loop)
        try:
            connected = await aiohappyeyeballs.start_connection(
                addresses, happy_eyeballs_delay=_NEXT_ADDRESS_S, loop=loop, socket_factory=self._new_socket
            )
        except (OSError, RuntimeError) as error:  # uvloop raises either
            self._known = None
            raise Unreachable("connect", self._told(error)) from error
        try:
            _, connection = await loop.create_connection(
                lambda: Connection(tls),
                sock=connected,
                ssl=tls,
                server_hostname=self._server_name if tls is not None else None,
                ssl_shutdown_timeout=_SHUTDOWN_S if tls is not None else None,
            )
        except (
            OSError,
            ValueError,
        ) as error:  # an SSLError is of the former, a name that no certificate can have of the latter
            is_tls = isinstance(error, (ssl.SSLError, ValueError))
            raise Unreachable("tls" if is_tls else "connect", self._told(error)) from error
        self._open.add(connection)
        connection.lost.add_done_callback(lambda _: self._forget(connection))
        if self._is_closed:
            connection.close()
        return connection

    def _forget(self, connection: Connection) -> None:
        self._open.discard(connection)
        if connection in self._kept:
            self._kept.remove(connection)

    async def _addresses(self, loop: asyncio.AbstractEventLoop) -> Sequence[_AddressInfo]:
        if self._is_closed:
            raise Unreachable("connect", "the client is closed")
        if self._known is not None and loop.time() < self._known[0]:
            return self._known[1]
        # One for all who wait: a resolver that hangs keeps a thread for longer than anybody waits for it.
        if self._lookup is None or self._lookup.done():
            self._lookup = loop.create_task(self._look_up(loop))
        try:
            found = await asyncio.shield(self._lookup)
        except asyncio.CancelledError:
            if not self._is_closed:
                raise
            raise Unreachable("dns", "the client is closed") from None
        if isinstance(found, Unreachable):
            raise Unreachable(found.kind, str(found)) from found.__cause__
        return found

    async def _look_up(self, loop: asyncio.AbstractEventLoop) -> Sequence[_AddressInfo] | Unreachable:
        if _IS_NUMERIC.fullmatch(self._host) and not _is_ipv4(self._host):  # which would be taken for some other
            return Unreachable("dns", f"{self._host} is no address")
        try:
            found = await loop.getaddrinfo(self._host, self._address.port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            unknown = Unreachable("dns", self._told(error))
            unknown.__cause__ = error
            return unknown
        self._known = loop.time() + _KNOWN_S, found
        return found

    def _new_socket(self, address: _AddressInfo) -> socket.socket:
        family, kind, protocol, *_ = address
        made = socket.socket(family, kind, protocol)
        # A closed connection stays until the rest of its body is written: for ever, when the other side reads no more.
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, max(1, round(1000 * self._settings.timeout)))
        return made

    def _told(self, error: BaseException) -> str:
        return f"{self._host}:{self._address.port}: {str(error) or type(error).__name__}"

    # --- in a thread ----------------------------------------------------------------------------------------------

    def _prepare(self, encoding: str) -> tuple[bytes, ssl.SSLContext | None]:
        """The head of a request up to the length of its body, and the TLS context, as the files say now. Raises SecretMissing,
        Unreachable."""
        settings = self._settings
        extra = {
            name: self._header(name, value) if isinstance(value, config.Secret) else value
            for name, value in settings.headers.items()
        }
        own = dict(wire.HTTP_HEADERS[encoding])
        if settings.tenant_id is not None:
            own["X-Scope-OrgID"] = settings.tenant_id
        own |= self._authorization()
        # A compressed reply could unfold to any size.
        usual = {"Accept": "*/*", "Accept-Encoding": "identity", "User-Agent": USER_AGENT}
        headers = {"Host": self._address.host_port_subcomponent} | _merge(usual, extra, own)
        lines = [f"POST {self._address.raw_path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
        head = "\r\n".join([*lines, "Content-Length: "]).encode()
        return head, self._tls.current() if self._tls is not None else None

    def _authorization(self) -> dict[str, str]:
        basic, bearer = self._settings.basic_auth, self._settings.bearer_token
        if basic is not None:
            password = self._read_secret(basic.password)
            pair = base64.b64encode(f"{basic.username}:{password}".encode()).decode()
            return {"Authorization": f"Basic {pair}"}
        if bearer is not None:
            return {"Authorization": f"Bearer {self._header('Authorization', bearer)}"}
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


def _names(address: URL, server_name: str | None) -> tuple[str, str]:
    """Of a URL: what is looked up, and what the server's certificate has to be for. Both in the form that DNS has (RFC 5891), not in
    Python's own (RFC 3490), where straße.de is strasse.de."""
    host = address.host if address.host is not None and ":" in address.host else address.raw_host
    assert host is not None, "the configuration names a host"
    bare = host.rstrip(".")
    return bare + "." if bare != host else host, (server_name or host).rstrip(".")


_IS_NUMERIC: Final = re.compile(r"[0-9.]+")


def _is_ipv4(host: str) -> bool:
    try:
        ipaddress.IPv4Address(host)
    except ValueError:
        return False
    return True
