"""The client against real servers on loopback."""

import asyncio
import base64
import gzip
import os
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme
from aiohttp import web

from agent import __version__, config, wire
from agent.config import BasicAuth, Secret, Tls
from agent.push.client import LokiClient, TlsContext, Unreachable, push_url
from agent.push.connection import MAX_REPLY_BYTES
from agent.push.reply import Reply
from agent.secret import SecretMissing

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class Scripted:
    """A server that keeps what it got and answers as told."""

    url: str = ""
    status: int = 204
    text: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    answer: Answer | None = None
    requests: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    peers: list[int] = field(default_factory=list)
    closing: asyncio.Event = field(default_factory=asyncio.Event)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.requests.append((request.path, dict(request.headers), await request.read()))
        assert request.transport is not None
        self.peers.append(request.transport.get_extra_info("peername")[1])
        if self.answer is not None:
            return await self.answer(request)
        return web.Response(status=self.status, text=self.text or None, headers=self.headers)


@asynccontextmanager
async def serving(tls: ssl.SSLContext | None = None) -> AsyncIterator[Scripted]:
    script = Scripted()
    app = web.Application(client_max_size=10 << 20)
    app.router.add_route("*", "/{path:.*}", script.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
    await site.start()
    port = runner.addresses[0][1]
    script.url = f"https://localhost:{port}" if tls else f"http://127.0.0.1:{port}"
    try:
        yield script
    finally:
        script.closing.set()
        await runner.cleanup()


@asynccontextmanager
async def raw_server(
    handle: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> AsyncIterator[str]:
    """A server that speaks bytes, for what a proper one does not do."""

    serving: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        serving.add(task)
        try:
            await handle(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        await server.wait_closed()
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving)


async def read_request(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    size = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
    return await reader.readexactly(size)


def settings(url: str, *, timeout: float = 10.0, **values: object) -> config.Loki:
    # Below what a configuration may say, so that no test waits for seconds.
    return config.Loki(url=url, **values).model_copy(update={"timeout": timeout})


# --- a request -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://loki:3100", "http://loki:3100/loki/api/v1/push"),
        ("http://loki:3100/", "http://loki:3100/loki/api/v1/push"),
        ("https://gateway/tenant", "https://gateway/tenant/loki/api/v1/push"),
        ("https://gateway/loki/api/v1/push", "https://gateway/loki/api/v1/push"),
        ("https://gateway/loki/api/v1/push/", "https://gateway/loki/api/v1/push"),
        ("https://[::1]:3100", "https://[::1]:3100/loki/api/v1/push"),
    ],
)
def test_the_address_is_completed_once(url: str, expected: str) -> None:
    assert push_url(url) == expected


async def test_a_push_carries_the_bytes_and_the_headers_of_its_encoding() -> None:
    async with serving() as server, LokiClient(settings(server.url, tenant_id="team-a")) as client:
        assert await client.post(wire.PROTOBUF, b"payload") == Reply(204, "", None)
        path, headers, body = server.requests[0]
    assert (path, body) == ("/loki/api/v1/push", b"payload")
    assert headers["Content-Type"] == "application/x-protobuf"
    assert headers["Content-Encoding"] == "snappy"
    assert headers["User-Agent"] == f"greenstack-agent/{__version__}"
    assert headers["X-Scope-OrgID"] == "team-a"
    assert "Cookie" not in headers
    assert "Authorization" not in headers


async def test_a_json_body_is_not_compressed_a_second_time() -> None:
    payload = gzip.compress(b"{}")
    async with serving() as server, LokiClient(settings(server.url)) as client:
        server.answer = lambda _: _empty()
        await client.post(wire.JSON, payload)
        _, headers, body = server.requests[0]
    assert headers["Content-Type"] == "application/json"
    assert headers["Content-Encoding"] == "gzip"
    assert body in (payload, b"{}")  # the test server unpacks what says gzip; twice packed it would still be packed
    assert "X-Scope-OrgID" not in headers


async def _empty() -> web.Response:
    return web.Response(status=204)


async def test_status_text_and_retry_after_come_back() -> None:
    async with serving() as server, LokiClient(settings(server.url)) as client:
        server.status, server.text, server.headers = 429, "slow down\n", {"Retry-After": "7"}
        assert await client.post(wire.PROTOBUF, b"x") == Reply(429, "slow down\n", 7.0)


async def test_a_retry_after_date_is_read_by_the_clock_given() -> None:
    async with serving() as server, LokiClient(settings(server.url), clock=lambda: 1_735_787_045.0) as client:
        server.status, server.headers = 503, {"Retry-After": "Thu, 02 Jan 2025 03:04:15 GMT"}
        assert (await client.post(wire.PROTOBUF, b"x")).retry_after_s == 10.0


async def test_a_redirect_is_not_followed() -> None:
    async with serving() as server, LokiClient(settings(server.url)) as client:
        server.status, server.headers = 307, {"Location": "/elsewhere"}
        assert (await client.post(wire.PROTOBUF, b"x")).status == 307
        assert len(server.requests) == 1


async def test_a_reply_without_end_is_cut_off() -> None:
    async with serving() as server, LokiClient(settings(server.url)) as client:

        async def endless(request: web.Request) -> web.StreamResponse:
            response = web.StreamResponse(status=400)
            await response.prepare(request)
            try:
                while True:
                    await response.write(b"x" * 65536)
            except ConnectionError:
                return response

        server.answer = endless
        reply = await client.post(wire.PROTOBUF, b"x")
        assert (reply.status, len(reply.body)) == (400, MAX_REPLY_BYTES)
        server.answer = None
        assert (await client.post(wire.PROTOBUF, b"x")).status == 204


async def test_a_reply_of_any_bytes_becomes_text() -> None:
    async with serving() as server, LokiClient(settings(server.url)) as client:
        server.answer = lambda _: _bytes(b"\xff\x00ok")
        assert (await client.post(wire.PROTOBUF, b"x")).body == "\ufffd\x00ok"


async def _bytes(body: bytes) -> web.Response:
    return web.Response(status=400, body=body)


async def test_one_connection_serves_many_requests() -> None:
    async with serving() as server, LokiClient(settings(server.url)) as client:
        for _ in range(3):
            await client.post(wire.PROTOBUF, b"x")
        assert len(set(server.peers)) == 1


# --- no reply ------------------------------------------------------------------------------------------------------


async def unreachable(client: LokiClient) -> tuple[str, str]:
    with pytest.raises(Unreachable) as caught:
        await client.post(wire.PROTOBUF, b"payload")
    return caught.value.kind, str(caught.value)


async def test_a_kept_connection_that_was_closed_meanwhile_is_tried_again_at_once() -> None:
    bodies: list[bytes] = []

    async def one_reply_a_connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        bodies.append(await read_request(reader))
        writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        await writer.drain()
        await reader.readuntil(b"\r\n\r\n")  # a second request on this connection: gone without a reply

    async with raw_server(one_reply_a_connection) as url, LokiClient(settings(url)) as client:
        await client.post(wire.PROTOBUF, b"first")
        assert (await client.post(wire.PROTOBUF, b"second")).status == 204
    assert bodies == [b"first", b"second"]


async def test_several_stale_connections_do_not_add_up_to_a_failure() -> None:
    arrived, go = asyncio.Semaphore(0), asyncio.Event()

    async def one_reply_a_connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        arrived.release()
        await go.wait()
        writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        await writer.drain()
        await reader.readuntil(b"\r\n\r\n")

    async with (
        raw_server(one_reply_a_connection) as url,
        LokiClient(settings(url, max_in_flight=3)) as client,
        asyncio.TaskGroup() as tasks,
    ):
        posts = [tasks.create_task(client.post(wire.PROTOBUF, b"x")) for _ in range(3)]
        for _ in posts:
            await arrived.acquire()
        go.set()
        await asyncio.wait(posts)
        assert (await client.post(wire.PROTOBUF, b"x")).status == 204


async def test_a_reset_of_a_new_connection_is_told() -> None:
    async def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)

    async with raw_server(reset) as url, LokiClient(settings(url)) as client:
        assert (await unreachable(client))[0] == "reset"


async def test_nonsense_instead_of_http_is_told() -> None:
    async def nonsense(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"SSH-2.0-OpenSSH\r\n\r\n")
        await writer.drain()

    async with raw_server(nonsense) as url, LokiClient(settings(url)) as client:
        assert (await unreachable(client))[0] == "reset"


async def test_no_reply_in_time_is_a_timeout() -> None:
    async with serving() as server, LokiClient(settings(server.url, timeout=0.1)) as client:

        async def wait(_: web.Request) -> web.Response:
            await server.closing.wait()
            return web.Response()

        server.answer = wait
        kind, message = await unreachable(client)
    assert kind == "timeout"
    assert "0.1 s" in message


@pytest.mark.parametrize(
    "start", [b"HTTP/1.1 204 No Content\r\nX-Slow: ", b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"]
)
async def test_a_reply_byte_by_byte_is_cut_by_the_one_deadline(start: bytes) -> None:
    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(start)
        while True:
            writer.write(b"H")
            await writer.drain()
            await asyncio.sleep(0.01)

    async with raw_server(drip) as url, LokiClient(settings(url, timeout=0.2)) as client:
        assert (await unreachable(client))[0] == "timeout"


async def test_a_server_that_never_reads_is_a_timeout() -> None:
    async def deaf(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    async with raw_server(deaf) as url:
        async with LokiClient(settings(url, timeout=0.2)) as client:
            with pytest.raises(Unreachable) as caught:
                await client.post(wire.PROTOBUF, b"x" * (32 << 20))
        assert caught.value.kind == "timeout"
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)  # so that each has closed what it holds


async def test_what_a_server_never_reads_is_given_up_with_its_connection() -> None:
    """A closed connection waits until its body is written: a Loki that is frozen would cost a descriptor and a body each retry."""

    async def deaf(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    def kept(port: int) -> list[str]:
        ends = [line.split()[1:3] for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        return [local for local, remote in ends if remote.endswith(f":{port:04X}")]

    async with raw_server(deaf) as url:
        port = int(url.rpartition(":")[2])
        async with LokiClient(settings(url, timeout=0.2)) as client:
            for _ in range(3):
                with pytest.raises(Unreachable):
                    await client.post(wire.PROTOBUF, b"x" * (8 << 20))
            async with asyncio.timeout(20):
                while kept(port):
                    await asyncio.sleep(0.05)


async def test_a_url_that_names_no_host_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The system's resolver would take it for 1.2.0.3, and the connection would go there."""

    def asked(*_: object, **__: object) -> None:
        raise AssertionError("nobody is to be asked where that is")

    monkeypatch.setattr(socket, "getaddrinfo", asked)
    async with LokiClient(settings("http://1.2.3:1")) as client:
        assert (await unreachable(client))[0] == "dns"


async def test_a_port_nobody_listens_on_is_told() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        async with LokiClient(settings(f"http://127.0.0.1:{taken.getsockname()[1]}")) as client:
            assert (await unreachable(client))[0] == "connect"


async def test_a_name_that_is_not_known_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", nowhere)
    async with LokiClient(settings("http://loki.example:3100")) as client:
        kind, message = await unreachable(client)
    assert kind == "dns"
    assert "loki.example" in message


async def test_a_cancelled_post_leaves_the_client_usable() -> None:
    async with serving() as server, LokiClient(settings(server.url)) as client:
        arrived = asyncio.Event()

        async def wait(_: web.Request) -> web.Response:
            arrived.set()
            await server.closing.wait()
            return web.Response()

        server.answer = wait
        post = asyncio.create_task(client.post(wire.PROTOBUF, b"x"))
        await arrived.wait()
        post.cancel()
        with pytest.raises(asyncio.CancelledError):
            await post
        server.answer = None
        assert (await client.post(wire.PROTOBUF, b"x")).status == 204


# --- who we are ----------------------------------------------------------------------------------------------------


async def test_basic_auth_is_read_again_for_each_request(tmp_path: Path) -> None:
    path = tmp_path / "password"
    path.write_text("one\n")
    auth = BasicAuth(username="user", password=Secret(file=str(path)))
    async with serving() as server, LokiClient(settings(server.url, basic_auth=auth)) as client:
        await client.post(wire.PROTOBUF, b"x")
        path.write_text("two ü\n")
        await client.post(wire.PROTOBUF, b"x")
        sent = [headers["Authorization"] for _, headers, _ in server.requests]
    assert sent == ["Basic " + base64.b64encode(pair.encode()).decode() for pair in ("user:one", "user:two ü")]


@pytest.mark.parametrize(
    "given",
    [
        lambda secret: {"bearer_token": secret},
        lambda secret: {"basic_auth": BasicAuth(username="agent", password=secret)},
        lambda secret: {"headers": {"X-Token": secret}},
        lambda secret: {"headers": {"Authorization": secret}},
    ],
)
async def test_of_a_reply_that_quotes_the_request_no_credential_is_told(
    tmp_path: Path, given: Callable[[Secret], dict[str, object]]
) -> None:
    """What it says is logged and shown."""
    path = tmp_path / "secret"
    path.write_text("s3cr3t-token")

    async def quote(request: web.Request) -> web.Response:
        head = "".join(f"{name}: {value}\r\n" for name, value in request.headers.items())
        return web.Response(status=401, text=f"refused s3cr3t-token: {head}")

    async with (
        serving() as server,
        LokiClient(settings(server.url, **given(Secret(file=str(path))))) as client,
    ):
        server.answer = quote
        reply = await client.post(wire.PROTOBUF, b"x")
    assert "s3cr3t-token" in reply.body  # by which it is classified
    assert "refused [REDACTED]: " in reply.words
    assert "User-Agent" in reply.words
    assert "s3cr3t-token" not in reply.words
    assert base64.b64encode(b"agent:s3cr3t-token").decode() not in reply.words


@pytest.mark.parametrize("value", ["Basic dXM6cORzcw==", "Basic abcde", "Basic %%%é", "Token user=a, key=bb", "R"])
async def test_whatever_authorization_says_it_is_blotted_out(tmp_path: Path, value: str) -> None:
    path = tmp_path / "secret"
    path.write_text(value)
    given = Secret(file=str(path))
    async with (
        serving() as server,
        LokiClient(settings(server.url, headers={"Authorization": given, "X-More": given})) as client,
    ):
        server.status, server.text = 500, f"no: {value} {value.rsplit(maxsplit=1)[-1]}"
        words = (await client.post(wire.PROTOBUF, b"x")).words
    assert words == "no: [REDACTED] [REDACTED]"


async def test_a_bearer_token_is_read_again_for_each_request(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("one\n")
    async with serving() as server, LokiClient(settings(server.url, bearer_token=Secret(file=str(path)))) as client:
        await client.post(wire.PROTOBUF, b"x")
        path.write_text("two\n")
        await client.post(wire.PROTOBUF, b"x")
        assert [headers["Authorization"] for _, headers, _ in server.requests] == ["Bearer one", "Bearer two"]


async def test_a_secret_that_is_missing_sends_nothing(tmp_path: Path) -> None:
    secret = Secret(file=str(tmp_path / "token"))
    async with serving() as server, LokiClient(settings(server.url, bearer_token=secret)) as client:
        with pytest.raises(SecretMissing, match="token"):
            await client.post(wire.PROTOBUF, b"x")
        assert server.requests == []


async def test_a_secret_that_no_header_can_carry_is_refused_without_showing_it(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("hunter2\nX-Evil: 1")
    async with LokiClient(settings("http://127.0.0.1:9", bearer_token=Secret(file=str(path)))) as client:
        with pytest.raises(SecretMissing) as caught:
            await client.post(wire.PROTOBUF, b"x")
    assert "hunter2" not in str(caught.value)


async def test_headers_of_the_configuration_are_added_once_whatever_their_case() -> None:
    headers = {"X-Team": "a", "X-Key": Secret(env="KEY"), "user-agent": "mine"}
    loki = settings("http://x", headers=headers)
    async with serving() as server:
        loki = loki.model_copy(update={"url": server.url})
        async with LokiClient(loki, read_secret=lambda secret: f"value of {secret.env}") as client:
            await client.post(wire.PROTOBUF, b"x")
        sent = server.requests[0][1]
    assert sent["X-Team"] == "a"
    assert sent["X-Key"] == "value of KEY"
    assert [value for name, value in sent.items() if name.lower() == "user-agent"] == ["mine"]


# --- TLS -----------------------------------------------------------------------------------------------------------


def server_context(authority: trustme.CA, *names: str, expires_at: datetime | None = None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*(names or ("localhost",)), not_after=expires_at).configure_cert(context)
    return context


def trust(authority: trustme.CA, path: Path) -> Tls:
    authority.cert_pem.write_to_path(str(path))
    return Tls(ca_file=str(path))


async def test_a_certificate_of_a_trusted_authority_is_accepted(tmp_path: Path) -> None:
    authority = trustme.CA()
    tls = trust(authority, tmp_path / "ca.pem")
    async with serving(server_context(authority)) as server, LokiClient(settings(server.url, tls=tls)) as client:
        assert (await client.post(wire.PROTOBUF, b"x")).status == 204


@pytest.mark.parametrize(
    ("names", "age_days", "trusted"),
    [(("elsewhere.example",), 1, True), (("localhost",), -1, True), (("localhost",), 1, False)],
    ids=["wrong name", "expired", "unknown authority"],
)
async def test_any_other_certificate_is_refused(
    tmp_path: Path, names: tuple[str, ...], age_days: int, trusted: bool
) -> None:
    authority = trustme.CA()
    expires_at = datetime.now(UTC) + timedelta(days=age_days)
    tls = trust(authority if trusted else trustme.CA(), tmp_path / "ca.pem")
    async with serving(server_context(authority, *names, expires_at=expires_at)) as server:
        async with LokiClient(settings(server.url, tls=tls)) as client:
            kind, message = await unreachable(client)
        assert server.requests == []
    assert kind == "tls"
    assert "certificate" in message.lower()


async def test_the_system_s_authorities_do_not_know_a_test_s(tmp_path: Path) -> None:
    async with serving(server_context(trustme.CA())) as server, LokiClient(settings(server.url)) as client:
        assert (await unreachable(client))[0] == "tls"


async def test_another_name_can_be_asked_for(tmp_path: Path) -> None:
    authority = trustme.CA()
    tls = trust(authority, tmp_path / "ca.pem").model_copy(update={"server_name": "loki.example"})
    context = server_context(authority, "loki.example")
    async with serving(context) as server, LokiClient(settings(server.url, tls=tls)) as client:
        assert (await client.post(wire.PROTOBUF, b"x")).status == 204


async def test_an_authority_that_changes_on_disk_is_trusted_at_once(tmp_path: Path) -> None:
    old, new = trustme.CA(), trustme.CA()
    tls = trust(old, tmp_path / "ca.pem")
    async with serving(server_context(new)) as server, LokiClient(settings(server.url, tls=tls)) as client:
        assert (await unreachable(client))[0] == "tls"
        trust(new, tmp_path / "ca.pem")
        assert (await client.post(wire.PROTOBUF, b"x")).status == 204


async def test_our_own_certificate_is_shown_to_a_server_that_asks(tmp_path: Path) -> None:
    authority = trustme.CA()
    context = server_context(authority)
    context.verify_mode = ssl.CERT_REQUIRED
    authority.configure_trust(context)
    own = tmp_path / "own.pem"
    authority.issue_cert("agent").private_key_and_cert_chain_pem.write_to_path(str(own))
    plain = trust(authority, tmp_path / "ca.pem")
    with_own = plain.model_copy(update={"cert_file": str(own), "key_file": str(own)})
    async with serving(context) as server:
        async with LokiClient(settings(server.url, tls=with_own)) as client:
            assert (await client.post(wire.PROTOBUF, b"x")).status == 204
        async with LokiClient(settings(server.url, tls=plain)) as client:
            assert (await unreachable(client))[0] in {"tls", "reset"}


async def test_a_missing_authority_is_explained(tmp_path: Path) -> None:
    tls = Tls(ca_file=str(tmp_path / "ca.pem"))
    async with LokiClient(settings("https://localhost:9", tls=tls)) as client:
        kind, message = await unreachable(client)
    assert kind == "tls"
    assert "ca.pem" in message


def test_half_of_a_rotation_keeps_the_old_certificates(tmp_path: Path) -> None:
    path = tmp_path / "ca.pem"
    context = TlsContext(trust(trustme.CA(), path))
    first = context.current()
    assert context.current() is first
    path.write_text("-----BEGIN CERT")
    assert context.current() is first
    trustme.CA().cert_pem.write_to_path(str(path))
    assert context.current() is not first


def test_a_context_notices_a_file_of_the_same_size_by_its_inode(tmp_path: Path) -> None:
    path = tmp_path / "ca.pem"
    context = TlsContext(trust(trustme.CA(), path))
    first, stat = context.current(), path.stat()
    other = tmp_path / "new.pem"
    other.write_bytes(path.read_bytes())
    os.utime(other, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    other.replace(path)
    assert context.current() is not first
