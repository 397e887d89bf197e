"""Connections to Loki against servers on loopback that speak bytes, on both event loops."""

import asyncio
import contextlib
import gc
import inspect
import itertools
import socket
import ssl
import threading
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trustme
import uvloop
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from agent import config, wire
from agent.push import client as pushing
from agent.push.client import LokiClient, Unreachable
from agent.push.connection import MAX_AROUND_BYTES, MAX_REPLY_BYTES, Broken, Connection, RawReply
from agent.push.reply import Reply

NO_CONTENT = b"HTTP/1.1 204 No Content\r\n\r\n"
EMPTY = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def on_both_loops(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    def both(run: Callable[[Coroutine[Any, Any, None]], None], **given: Any) -> None:
        run(test(**given))

    wanted = inspect.signature(test)
    run = inspect.Parameter("run", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    both.__name__, both.__doc__ = test.__name__, test.__doc__
    both.__signature__ = wanted.replace(parameters=[run, *wanted.parameters.values()])  # type: ignore[attr-defined]
    return pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])(both)


@asynccontextmanager
async def serving(serve: Serve, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1") -> AsyncIterator[int]:
    """The port. Each connection is served to its end, and closed."""
    tasks: set[asyncio.Task[Any]] = set()

    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await serve(reader, writer)
                writer.close()
                await writer.wait_closed()
        finally:
            writer.transport.abort()

    server = await asyncio.start_server(one, host, 0, ssl=tls)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()


async def request(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """Head and body."""
    head = await reader.readuntil(b"\r\n\r\n")
    size = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
    return head, await reader.readexactly(size)


def of_localhost(directory: Path) -> tuple[ssl.SSLContext, str]:
    """A server's context, and the file of the authority that vouches for it."""
    authority, ca_file = trustme.CA(), directory / "ca.pem"
    authority.cert_pem.write_to_path(str(ca_file))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    return context, str(ca_file)


def answering(*replies: bytes, heads: list[bytes] | None = None, bodies: list[bytes] | None = None) -> Serve:
    """Gives these replies, one a request, over all connections; the last one for ever."""
    left = list(replies)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head, body = await request(reader)
            if heads is not None:
                heads.append(head)
            if bodies is not None:
                bodies.append(body)
            writer.write(left.pop(0) if len(left) > 1 else left[0])
            await writer.drain()

    return serve


def client_of(port: int, *, url: str = "http://127.0.0.1:{}", timeout: float = 10.0, **values: object) -> LokiClient:
    loki = config.Loki(url=url.format(port), **values)  # type: ignore[arg-type]
    return LokiClient(loki.model_copy(update={"timeout": timeout}))


async def connections_made(serve: Serve, posts: int) -> tuple[int, list[Reply]]:
    """How many connections so many posts took, one after the other."""
    made = 0

    async def counting(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal made
        made += 1
        await serve(reader, writer)

    async with serving(counting) as port, client_of(port) as client:
        replies = [await client.post(wire.PROTOBUF, b"x") for _ in range(posts)]
    return made, replies


# --- a reply -------------------------------------------------------------------------------------------------------


@on_both_loops
async def test_the_reply_behind_interim_ones_is_the_reply() -> None:
    interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nRetry-After: 9\r\n\r\n"
    reply = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nbad"
    assert await connections_made(answering(interim + reply), 2) == (1, [Reply(200, "bad"), Reply(200, "bad")])


@on_both_loops
async def test_a_reply_in_chunks_is_put_together() -> None:
    reply = (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nretry-after: 3\r\n\r\n4\r\nslow\r\n5\r\n down\r\n0\r\n\r\n"
    )
    assert await connections_made(answering(reply), 2) == (1, [Reply(200, "slow down", 3.0)] * 2)


@on_both_loops
async def test_a_reply_may_end_with_its_connection() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request(reader)
        writer.write(b"HTTP/1.0 500 Oh\r\n\r\nno ")
        await writer.drain()
        writer.write(b"good")

    assert await connections_made(serve, 2) == (2, [Reply(500, "no good")] * 2)


@pytest.mark.parametrize(
    "cut",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf",
        b"HTTP/1.1 204 No Content\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"",
    ],
)
async def test_a_reply_that_is_cut_off_is_none(cut: bytes) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request(reader)
        writer.write(cut)

    async with serving(serve) as port, client_of(port) as client:
        with pytest.raises(Unreachable) as caught:
            await client.post(wire.PROTOBUF, b"x")
    assert caught.value.kind == "reset"


@on_both_loops
async def test_a_reply_that_only_the_end_of_a_tls_connection_ends_accepts_nothing(tmp_path: Path) -> None:
    """That end is not vouched for: whoever is on the way can make it."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")

    context, ca_file = of_localhost(tmp_path)
    async with (
        serving(serve, context) as port,
        client_of(port, url="https://localhost:{}", tls={"ca_file": ca_file}) as client,
    ):
        with pytest.raises(Unreachable):
            await client.post(wire.PROTOBUF, b"x")


def test_what_a_broken_post_held_is_let_go_without_the_collector() -> None:
    """It runs seldom, and while a proxy closes each connection every body would wait for it."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request(reader)

    async def post() -> weakref.ref[Broken]:
        async with serving(serve) as port:
            _, connection = await asyncio.get_running_loop().create_connection(
                lambda: Connection(None), "127.0.0.1", port
            )
            try:
                await connection.post(b"POST / HTTP/1.1\r\nContent-Length: 1\r\n\r\n", b"x")
            except Broken as error:
                return weakref.ref(error)
            raise AssertionError("it was answered")

    for run in (asyncio.run, uvloop.run):
        gc.disable()
        try:
            assert run(post())() is None
        finally:
            gc.enable()


@on_both_loops
async def test_what_says_that_it_closes_is_not_used_again() -> None:
    assert (await connections_made(answering(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n"), 3))[0] == 3


@pytest.mark.parametrize(
    ("start", "more"),
    [
        (b"HTTP/1.1 200 OK\r\n", b"X-More: " + b"x" * 1000 + b"\r\n"),
        (b"HTTP/1.1 200 OK\r\nX-More: ", b"x" * 1000),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX-More: ", b"x" * 1000),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;", b"x" * 1000),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\na\r\n" * 100),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 100),
    ],
    ids=["headers", "a header", "a trailer", "an extension of a chunk", "chunks", "interim replies"],
)
@on_both_loops
async def test_what_has_no_end_around_a_body_is_given_up(start: bytes, more: bytes) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request(reader)
        writer.write(start)
        while True:
            writer.write(more)
            await writer.drain()

    async with serving(serve) as port, client_of(port) as client:
        with pytest.raises(Unreachable) as caught:
            await client.post(wire.PROTOBUF, b"x")
    assert caught.value.kind == "reset"
    assert "around its body" in str(caught.value)


@pytest.mark.parametrize("upgrade", [b"", b"Connection: upgrade\r\nUpgrade: h2c\r\n"])
@on_both_loops
async def test_to_switch_protocols_is_a_reply_of_which_nothing_comes(upgrade: bytes) -> None:
    switching = b"HTTP/1.1 101 Switching Protocols\r\n" + upgrade + b"\r\n"
    assert await connections_made(answering(switching), 2) == (2, [Reply(101, "")] * 2)


@on_both_loops
async def test_of_several_headers_that_say_when_to_come_again_the_first_counts() -> None:
    reply = b"HTTP/1.1 429 Slow\r\nRetry-After: 1\r\nRetry-After: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nRetry-After: 3\r\n\r\n"
    assert await connections_made(answering(reply), 1) == (1, [Reply(429, "", 1.0)])


@on_both_loops
async def test_a_reply_in_an_encoding_of_which_nobody_knows_the_end_ends_with_its_connection() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request(reader)
        writer.write(b"HTTP/1.1 500 Oh\r\nTransfer-Encoding: gzip\r\n\r\nwhat it is")

    assert await connections_made(serve, 2) == (2, [Reply(500, "what it is")] * 2)


# --- whose reply it is ---------------------------------------------------------------------------------------------


@on_both_loops
async def test_what_follows_a_reply_is_never_the_reply_to_the_next_request() -> None:
    """Or a 204 for one request would hide that the next one was refused."""
    twice = answering(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n" + NO_CONTENT)
    assert await connections_made(twice, 3) == (3, [Reply(400, "")] * 3)
    assert await connections_made(answering(NO_CONTENT + b"body of no content"), 3) == (3, [Reply(204, "")] * 3)


@on_both_loops
async def test_what_comes_late_after_a_failure_is_never_the_reply_to_another_request() -> None:
    """Something in between gave up on the first request, and Loki's reply to it comes when the second is under way."""
    asked = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request(reader)
        writer.write(b"HTTP/1.1 503 Later\r\nContent-Length: 0\r\n\r\n")
        if not asked.is_set():
            asked.set()
            await request(reader)
            writer.write(NO_CONTENT)

    async with serving(serve) as port, client_of(port) as client:
        assert [(await client.post(wire.PROTOBUF, b"x")).status for _ in range(2)] == [503, 503]


@on_both_loops
async def test_what_comes_while_nobody_asks_is_never_a_reply() -> None:
    spoken = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request(reader)
        writer.write(EMPTY)
        await writer.drain()
        await asyncio.sleep(0)
        writer.write(NO_CONTENT)
        await reader.read()  # until the client closes
        spoken.set()

    async with serving(serve) as port, client_of(port) as client:
        assert (await client.post(wire.PROTOBUF, b"x")).status == 200
        await spoken.wait()
        assert (await client.post(wire.PROTOBUF, b"x")).status == 200


def test_what_came_while_the_event_loop_was_busy_is_never_a_reply() -> None:
    """The next request is written before the loop would have read it."""
    for run in (asyncio.run, uvloop.run):
        listener = socket.create_server(("127.0.0.1", 0))
        go_on, has_spoken = threading.Event(), threading.Event()

        def serve(listener: socket.socket = listener, events: tuple[Any, Any] = (go_on, has_spoken)) -> None:
            for reply in (EMPTY, EMPTY):
                with listener.accept()[0] as peer:
                    while not peer.recv(65536).endswith(b"payload"):
                        pass
                    peer.sendall(reply)
                    events[0].wait(20)
                    with contextlib.suppress(ConnectionError):
                        peer.sendall(NO_CONTENT)
                        events[1].set()
                        peer.recv(65536)

        async def posts(port: int, events: tuple[Any, Any] = (go_on, has_spoken)) -> list[int]:
            async with client_of(port) as client:
                first = await client.post(wire.PROTOBUF, b"payload")
                events[0].set()
                events[1].wait(20)  # the loop hears nothing of it
                return [first.status, (await client.post(wire.PROTOBUF, b"payload")).status]

        with listener:
            server = threading.Thread(target=serve)
            server.start()
            assert run(posts(listener.getsockname()[1])) == [200, 200]
            server.join()


@pytest.mark.parametrize(
    ("framing", "after"),
    [
        *((b"Content-Length: 9\r\n\r\n", after) for after in ("reads on", "stops", "half closes", "closes")),
        *((b"\r\n", after) for after in ("half closes", "closes")),  # otherwise nobody says that this is all
    ],
)
@on_both_loops
async def test_a_refusal_before_the_body_is_written_is_told_and_its_connection_closed(
    after: str, framing: bytes
) -> None:
    over = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 Request Entity Too Large\r\n" + framing + b"too large")
        await writer.drain()
        if after == "reads on":
            await reader.read(1 << 20)
        elif after == "half closes":
            writer.write_eof()
        if after != "closes":
            await over.wait()

    async with serving(serve) as port, client_of(port) as client:
        for _ in range(2):
            assert await client.post(wire.PROTOBUF, b"x" * (48 << 20)) == Reply(413, "too large")
        over.set()


@on_both_loops
async def test_what_is_accepted_before_it_was_sent_is_not_taken_for_stored() -> None:
    over = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(NO_CONTENT)
        await over.wait()

    async with serving(serve) as port, client_of(port) as client:
        with pytest.raises(Unreachable) as caught:
            await client.post(wire.PROTOBUF, b"x" * (48 << 20))
        over.set()
    assert (caught.value.kind, "before it was sent" in str(caught.value)) == ("reset", True)


@on_both_loops
async def test_a_post_that_is_cancelled_while_it_writes_leaves_no_half_of_it_behind() -> None:
    bodies: list[bytes] = []
    started = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        started.set()
        if not bodies:
            bodies.append(b"")
            await asyncio.Event().wait()
        bodies.append((await request(reader))[1])
        writer.write(NO_CONTENT)

    async with serving(serve) as port, client_of(port) as client:
        post = asyncio.create_task(client.post(wire.PROTOBUF, b"a" * (48 << 20)))
        await started.wait()
        await asyncio.sleep(0)
        post.cancel()
        with pytest.raises(asyncio.CancelledError):
            await post
        assert (await client.post(wire.PROTOBUF, b"b")).status == 204
    assert bodies == [b"", b"b"]


def test_a_post_that_is_cancelled_as_its_reply_comes_ends_its_connection() -> None:
    """Nobody would own it: it is neither kept nor closed."""

    async def fed() -> None:
        connection = Connection(None)
        transport = Deaf(connection)
        connection.connection_made(transport)
        post = asyncio.ensure_future(connection.post(b"", b""))
        await asyncio.sleep(0)
        connection.data_received(NO_CONTENT)
        post.cancel()
        with pytest.raises(asyncio.CancelledError):
            await post
        assert transport.is_closed

    asyncio.run(fed())


# --- what is sent --------------------------------------------------------------------------------------------------


@on_both_loops
async def test_bodies_of_any_size_arrive_as_they_are(tmp_path: Path) -> None:
    """In one piece, in several, and encrypted."""
    context, ca_file = of_localhost(tmp_path)
    sent = [bytes(range(256)) * (size // 256) for size in (0, 256, 256 << 10, (256 << 10) + 256, 3 << 20)]
    for tls, url in ((None, "http://127.0.0.1:{}"), (context, "https://localhost:{}")):
        bodies: list[bytes] = []
        async with (
            serving(answering(NO_CONTENT, bodies=bodies), tls) as port,
            client_of(port, url=url, tls=config.Tls(ca_file=ca_file)) as client,
        ):
            for body in sent:
                assert (await client.post(wire.PROTOBUF, body)).status == 204
        assert bodies == sent


@on_both_loops
async def test_the_head_is_that_of_the_address() -> None:
    heads: list[bytes] = []
    async with (
        serving(answering(NO_CONTENT, heads=heads), host="::1") as port,
        client_of(port, url="http://[::1]:{}/te%20am") as client,
    ):
        await client.post(wire.PROTOBUF, b"x")
    lines = heads[0].split(b"\r\n")
    assert lines[0] == b"POST /te%20am/loki/api/v1/push HTTP/1.1"
    assert b"Host: [::1]:%d" % port in lines
    assert b"Content-Length: 1" in lines
    assert len({line.partition(b":")[0].lower() for line in lines if line}) == len(list(filter(None, lines)))


# --- connections ---------------------------------------------------------------------------------------------------


@on_both_loops
async def test_a_connection_at_rest_is_closed_in_time(tmp_path: Path) -> None:
    ended = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request(reader)
        writer.write(NO_CONTENT)
        await reader.read()
        ended.set()

    async with serving(serve) as port, client_of(port) as client:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(pushing, "_KEEP_ALIVE_S", 0.05)
            await client.post(wire.PROTOBUF, b"x")
        await asyncio.wait_for(ended.wait(), 10)
        assert not client._open
        assert not client._kept


@on_both_loops
async def test_a_client_that_ends_leaves_no_connection() -> None:
    async with serving(answering(NO_CONTENT)) as port:
        async with client_of(port) as client, asyncio.TaskGroup() as tasks:
            for _ in range(3):
                tasks.create_task(client.post(wire.PROTOBUF, b"x"))
        assert not client._open


@on_both_loops
async def test_a_client_that_has_ended_sends_nothing_more() -> None:
    bodies: list[bytes] = []
    begun = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        bodies.append((await request(reader))[1])
        writer.write(NO_CONTENT)
        await request(reader)
        begun.set()
        await asyncio.Event().wait()

    async with serving(serve) as port:
        async with client_of(port) as client:
            await client.post(wire.PROTOBUF, b"first")
            post = asyncio.create_task(client.post(wire.PROTOBUF, b"second"))
            await begun.wait()
        for late in (post, client.post(wire.PROTOBUF, b"third")):
            with pytest.raises(Unreachable):
                await late
        assert bodies == [b"first"]
        assert not client._open


async def test_a_resolver_that_hangs_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each question keeps a thread of the few that everything else shares."""
    asked, answer = [], threading.Event()

    def hanging(host: str, *_: object, **__: object) -> list[Any]:
        asked.append(host)
        answer.wait(20)
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", hanging)
    async with client_of(80, url="http://loki.example:{}", timeout=0.05) as client:
        for _ in range(3):
            posts = [client.post(wire.PROTOBUF, b"x") for _ in range(3)]
            for outcome in await asyncio.gather(*posts, return_exceptions=True):
                assert isinstance(outcome, Unreachable)
                assert outcome.kind == "timeout"
        assert asked == ["loki.example"]
        answer.set()


@pytest.mark.parametrize(
    ("url", "server_name", "names"),
    [
        ("https://Loki.example", None, ("loki.example", "loki.example")),
        ("https://loki.example.", None, ("loki.example.", "loki.example")),
        ("https://loki.example..", None, ("loki.example.", "loki.example")),
        ("https://loki.example", "other.example.", ("loki.example", "other.example")),
        ("https://stra\u00dfe.example", None, ("xn--strae-oqa.example", "xn--strae-oqa.example")),
        ("https://[2001:DB8::1]:3100", None, ("2001:db8::1", "2001:db8::1")),
        ("https://[fe80::1%25eth0]", None, ("fe80::1%eth0", "fe80::1%eth0")),
        ("https://10.0.0.1", "loki", ("10.0.0.1", "loki")),
    ],
)
def test_what_is_looked_up_and_what_a_certificate_has_to_be_for(
    url: str, server_name: str | None, names: tuple[str, str]
) -> None:
    assert pushing._names(URL(url), server_name) == names


@on_both_loops
async def test_a_certificate_counts_for_a_name_with_a_dot_behind_it(tmp_path: Path) -> None:
    context, ca_file = of_localhost(tmp_path)
    tls = config.Tls(ca_file=ca_file, server_name="localhost.")
    async with (
        serving(answering(NO_CONTENT), context) as port,
        client_of(port, url="https://127.0.0.1:{}", tls=tls) as client,
    ):
        assert (await client.post(wire.PROTOBUF, b"x")).status == 204


async def test_where_one_address_of_a_name_is_deaf_the_next_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    with socket.socket(socket.AF_INET6) as closed:
        closed.bind(("::1", 0))
        async with serving(answering(NO_CONTENT)) as port:

            def resolved(host: str, *_: object, **__: object) -> list[Any]:
                asked.append(host)
                return [
                    (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::1", closed.getsockname()[1], 0, 0)),
                    (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port)),
                ]

            monkeypatch.setattr(socket, "getaddrinfo", resolved)
            async with client_of(port, url="http://loki.example:{}") as client, asyncio.TaskGroup() as tasks:
                for _ in range(3):
                    tasks.create_task(client.post(wire.PROTOBUF, b"x"))
                await asyncio.sleep(0)
            monkeypatch.undo()
    assert set(asked) == {"loki.example"}


async def test_a_name_is_looked_up_again_once_nobody_answers_there(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        ports = [closed.getsockname()[1]]
        async with serving(answering(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")) as port:
            asked = []

            def resolved(host: str, *_: object, **__: object) -> list[Any]:
                asked.append(host)
                return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", ports.pop() if ports else port))]

            monkeypatch.setattr(socket, "getaddrinfo", resolved)
            async with client_of(port, url="http://loki.example:{}") as client:
                with pytest.raises(Unreachable) as caught:
                    await client.post(wire.PROTOBUF, b"x")
                assert caught.value.kind == "connect"
                for _ in range(3):
                    assert (await client.post(wire.PROTOBUF, b"x")).status == 204
            monkeypatch.undo()
    assert asked == ["loki.example"] * 2  # what was found is known for a while


# --- the protocol by itself ----------------------------------------------------------------------------------------


class Deaf(asyncio.Transport):
    """Takes all, and tells the protocol when it is closed."""

    def __init__(self, protocol: Connection) -> None:
        self._ends = socket.socketpair()
        super().__init__({"socket": self._ends[0]})
        self._protocol = protocol
        self.is_closed = False

    def writelines(self, _: Any) -> None:
        pass

    def get_write_buffer_size(self) -> int:
        return 0

    def abort(self) -> None:
        if not self.is_closed:
            self.is_closed = True
            for end in self._ends:
                end.close()
            self._protocol.connection_lost(None)


REPLIES = {
    b"HTTP/1.1 204 No Content\r\n\r\n": RawReply(204, b"", None),
    b"HTTP/1.1 400 Bad Request\r\nContent-Length: 5\r\nRetry-After: 7\r\n\r\nwrong": RawReply(400, b"wrong", "7"),
    b"HTTP/1.1 500 Oh\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n": RawReply(
        500, b"abcde", None
    ),
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n": RawReply(204, b"", None),
    b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + b"x" * 100_000: RawReply(200, b"x" * MAX_REPLY_BYTES, None),
}


@given(reply=st.sampled_from(list(REPLIES)), cuts=st.lists(st.integers(0, 100_100)), extra=st.binary(max_size=40))
def test_a_reply_is_the_same_in_whatever_pieces_it_comes(reply: bytes, cuts: list[int], extra: bytes) -> None:
    async def fed() -> None:
        connection = Connection(None)
        transport = Deaf(connection)
        connection.connection_made(transport)
        post = asyncio.ensure_future(connection.post(b"", b""))
        await asyncio.sleep(0)
        data = reply + extra
        borders = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
        for start, end in itertools.pairwise(borders):
            if not transport.is_closed:
                connection.data_received(data[start:end])
        assert await post == REPLIES[reply]
        is_all = not extra.strip(b"\r\n") and len(REPLIES[reply].body) < MAX_REPLY_BYTES
        assert connection.is_usable == (is_all and REPLIES[reply].status < 300)
        connection.close()

    asyncio.run(fed())


@given(st.lists(st.binary(min_size=1, max_size=200), max_size=20))
def test_nothing_that_comes_raises_but_what_is_told(parts: list[bytes]) -> None:
    async def fed() -> None:
        connection = Connection(None)
        transport = Deaf(connection)
        connection.connection_made(transport)
        post = asyncio.ensure_future(connection.post(b"", b""))
        await asyncio.sleep(0)
        for part in parts:
            if not transport.is_closed:
                connection.data_received(part)
        connection.close()
        with pytest.raises(Broken):
            await post

    asyncio.run(fed())


def test_a_long_body_with_its_head_in_one_piece_is_no_head_without_end() -> None:
    async def fed() -> None:
        connection = Connection(None)
        connection.connection_made(Deaf(connection))
        post = asyncio.ensure_future(connection.post(b"", b""))
        await asyncio.sleep(0)
        size = MAX_AROUND_BYTES
        connection.data_received(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (size, b"x" * size))
        assert len((await post).body) == size
        assert connection.is_usable
        connection.close()

    asyncio.run(fed())
