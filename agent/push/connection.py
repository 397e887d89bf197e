"""One HTTP/1.1 connection: one POST at a time, and the reply to it. Whom to ask, and what a reply means, is not decided here."""

from __future__ import annotations

import asyncio
import select
import ssl
from dataclasses import dataclass
from typing import Final, cast

import httptools

MAX_REPLY_BYTES = 64 * 1024
MAX_AROUND_BYTES = 64 * 1024
"""Of a reply, without its body: head, lengths of chunks, trailers."""

_WRITTEN_AT_ONCE: Final = 256 * 1024
_PIECE_BYTES: Final = 64 * 1024
"""What is longer than the one is written in pieces of the other: to encrypt it and hand it to the socket whole holds up the event loop."""
_TURNS_TO_READ: Final = 8
"""Of the event loop, until it has read what lies there; TLS's own records are few."""


@dataclass(frozen=True, slots=True)
class RawReply:
    """body: at most `MAX_REPLY_BYTES` of it. retry_after: that header as it came, None without one."""

    status: int
    body: bytes
    retry_after: str | None


class Broken(Exception):
    """The connection ended, or carried what is no HTTP, before the reply was complete. `__cause__` says why, where something does."""


class Connection(asyncio.Protocol):
    """The protocol of a transport. tls: the context it was made with. lost: done when it has ended.

    A reply has to be that of the request before it, or lines would count as stored that are not. So a connection on which anything
    else may follow is closed: after bytes that no request asked for, a reply that was cut or given up, a request that was answered
    before it was written, and a request that failed, for something between here and Loki may have given up on a reply that still
    comes.
    """

    def __init__(self, tls: ssl.SSLContext | None) -> None:
        self._loop = asyncio.get_running_loop()
        self.tls = tls
        self.is_usable = False
        self.lost: asyncio.Future[None] = self._loop.create_future()
        self._transport: asyncio.Transport | None = None
        self._readable = select.poll()
        self._parser = httptools.HttpResponseParser(self)
        self._reply: asyncio.Future[RawReply] | None = None  # to the request under way
        self._is_handed_over = False  # all of that request to the transport
        self._room: asyncio.Future[None] | None = None  # while the transport takes no more
        self._rest: asyncio.TimerHandle | None = None
        self._status = 0  # 0 until the head of the reply is complete
        self._read_bytes = 0
        self._body = bytearray()
        self._retry_after: str | None = None
        self._is_framed = False  # whether the head says where the body ends; otherwise the end of the connection does

    async def post(self, head: bytes, body: bytes) -> RawReply:
        """One at a time. Raises Broken; then, and when it is cancelled, the connection is closed."""
        assert self._reply is None, "one request at a time"
        if self._rest is not None:
            self._rest.cancel()
            self._rest = None
        try:
            transport = await self._at_rest()
            # Held by the connection alone: as a local it would be in the traceback of its own exception, and with it the body
            # would stay in memory until the collector comes by.
            self._reply = self._loop.create_future()
            self._read_bytes = 0
            self._begin()
            await self._write(transport, head, body)
            return await self._reply
        except BaseException:
            self.close()
            raise
        finally:
            self._reply = None

    def rest(self, longest_s: float) -> None:
        """It is closed when it is not used again for so long."""
        self._rest = self._loop.call_later(longest_s, self.close)

    def close(self) -> None:
        """At once, whatever was still to be written."""
        self.is_usable = False
        if self._transport is not None:
            self._transport.abort()

    async def _at_rest(self) -> asyncio.Transport:
        """What has come by now, no request has asked for. Once the event loop has read it, the connection is closed, unless it was
        TLS's own."""
        for _ in range(_TURNS_TO_READ):
            if self._transport is None or not self.is_usable:
                break
            if not self._readable.poll(0):
                return self._transport
            await asyncio.sleep(0)
        raise Broken("the other side has ended it, or spoken first")

    async def _write(self, transport: asyncio.Transport, head: bytes, body: bytes) -> None:
        self._is_handed_over = False
        if len(body) <= _WRITTEN_AT_ONCE:
            transport.writelines((head, body))
        else:
            transport.write(head)
            for at in range(0, len(body), _PIECE_BYTES):
                if self._room is not None:
                    await self._room
                if not self._is_waited_for:  # a refusal, or the end: nobody reads the rest
                    return
                transport.write(memoryview(body)[at : at + _PIECE_BYTES])
        self._is_handed_over = True

    def _begin(self) -> None:
        self._status = 0
        self._body = bytearray()
        self._retry_after = None
        self._is_framed = False

    def _complete(self, *, is_last: bool) -> None:
        assert self._reply is not None
        assert self._transport is not None
        is_early = not self._is_handed_over or self._transport.get_write_buffer_size() > 0
        if is_last or is_early or self._status >= 300:
            self.is_usable = False
        if is_early and 200 <= self._status < 300:
            self._break("accepted before it was sent", None)
            return
        self._reply.set_result(RawReply(self._status, bytes(self._body[:MAX_REPLY_BYTES]), self._retry_after))
        self._go_on()

    def _break(self, message: str, cause: BaseException | None) -> None:
        self.is_usable = False
        if self._is_waited_for:
            assert self._reply is not None
            broken = Broken(message)
            broken.__cause__ = cause
            self._reply.set_exception(broken)
        self._go_on()

    def _end(self, cause: BaseException | None) -> None:
        """Nothing more will be read."""
        # Of a refusal that the end cuts off enough is known. Under TLS whoever is on the way can end what does not say its length.
        is_whole = self._status >= 300 or (self._status > 0 and cause is None and self.tls is None)
        if self._is_waited_for and is_whole and not self._is_framed:
            self._complete(is_last=True)
        else:
            self._break("closed before the reply was complete", cause)

    def _go_on(self) -> None:
        if self._room is not None and not self._room.done():
            self._room.set_result(None)
        self._room = None

    @property
    def _is_waited_for(self) -> bool:
        return self._reply is not None and not self._reply.done()

    # --- of the transport -----------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._readable.register(transport.get_extra_info("socket").fileno(), select.POLLIN)
        self.is_usable = True

    def data_received(self, data: bytes) -> None:
        if not self._is_waited_for:
            self.close()
            return
        self._read_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._break(f"no HTTP: {error}", error)
        if self._read_bytes - len(self._body) > MAX_AROUND_BYTES:
            self._break("a reply with more around its body than Loki would write", None)
        if not self.is_usable:
            self.close()

    def eof_received(self) -> None:
        self._end(None)
        self.close()  # what is still to be written is read by nobody

    def connection_lost(self, error: Exception | None) -> None:
        if self._rest is not None:
            self._rest.cancel()
        self._end(error)
        self._transport = None
        self.lost.set_result(None)

    def pause_writing(self) -> None:
        self._room = self._loop.create_future()

    def resume_writing(self) -> None:
        self._go_on()

    # --- of the parser --------------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        if not self._is_waited_for:
            self.is_usable = False

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._status:  # behind a body in chunks
            return
        name = name.lower()
        if name == b"retry-after":
            self._retry_after = self._retry_after or value.decode("latin-1")
        elif name == b"content-length" or (name == b"transfer-encoding" and value.lower().endswith(b"chunked")):
            self._is_framed = True

    def on_headers_complete(self) -> None:
        self._status = self._parser.get_status_code()

    def on_body(self, data: bytes) -> None:
        if self._is_waited_for:
            self._body += data
            if len(self._body) > MAX_REPLY_BYTES:
                self._complete(is_last=True)

    def on_message_complete(self) -> None:
        if not self._is_waited_for:
            return
        if 100 <= self._status < 200 and self._status != 101:  # the reply is still to come
            self._begin()
        else:
            self._complete(is_last=self._status == 101 or not self._parser.should_keep_alive())
