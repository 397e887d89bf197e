"""A TCP proxy on loopback that a test can break: silent, slow to shake hands, behind another certificate."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from types import TracebackType
from typing import Self


class Proxy:
    """Forwards to `port`. Counts connections. `tls` counts for connections that come after it was set."""

    def __init__(
        self, port: int, *, host: str = "127.0.0.1", own_port: int = 0, tls: ssl.SSLContext | None = None
    ) -> None:
        self._port = port
        self._host = host
        self.port = own_port
        self.tls = tls
        self.stalls = False
        """New connections get no byte, not even of a TLS handshake."""
        self.connections = 0
        self._silenced: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, self._host, self.port)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def silence(self) -> None:
        """What is connected now stays connected and hears nothing any more, as behind a NAT that forgot it."""
        self._silenced |= self._writers

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        with contextlib.suppress(OSError, asyncio.CancelledError):
            try:
                await self._connected(reader, writer)
            finally:
                self._writers.discard(writer)
                writer.transport.abort()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.stalls:
            await asyncio.Event().wait()
        if self.tls is not None:
            await writer.start_tls(self.tls)
        self._writers.add(writer)
        inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            there = asyncio.create_task(self._copy(reader, inner_writer, writer))
            back = asyncio.create_task(self._copy(inner_reader, writer, writer))
            await asyncio.wait((there, back), return_when=asyncio.FIRST_COMPLETED)
            there.cancel()
            back.cancel()
        finally:
            inner_writer.transport.abort()

    async def _copy(
        self, source: asyncio.StreamReader, target: asyncio.StreamWriter, client: asyncio.StreamWriter
    ) -> None:
        while data := await source.read(65536):
            if client in self._silenced:
                await asyncio.Event().wait()
            target.write(data)
            await target.drain()
