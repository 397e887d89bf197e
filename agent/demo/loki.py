"""A strict stand-in for Grafana Loki on loopback: a real HTTP server that answers as Loki 3.7 does, or fails as planned.

    async with LokiStandIn(faults=FaultPlan.random(7)) as loki:
        ...                                         # push to loki.url
        await loki.wait_for(lambda loki: loki.accepted == 1000)
        assert [e.line for e in loki.entries({"job": "greenstack"})] == expected

    python -m agent.demo.loki --port 3100           # the same as a process; prints its URL first

Routes: POST /loki/api/v1/push, GET or POST /loki/api/v1/query_range, GET /ready; for tests of the process also
GET /test/counts and GET /test/entries (JSON lines; query parameters are labels to match). What it decides is in
`agent.demo.ingest`; here are the socket and the ways a connection can go wrong.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import hashlib
import signal
import socket
import sys
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from aiohttp import web

from agent.demo import query as logql
from agent.demo.faults import (
    Delay,
    Down,
    Fault,
    FaultPlan,
    HalfReply,
    NeverRead,
    Partial,
    ResetAfter,
    ResetBefore,
    SlowReply,
    Status,
)
from agent.demo.ingest import Ingest, Reply
from agent.demo.limits import MIB, Limits
from agent.demo.replies import RequestSeen, first_labels, first_part, journal_blocks, journal_line, reset, text_reply
from agent.demo.request import BadRequest, read_push, tenant_of
from agent.demo.store import StoredEntry, Stream
from agent.wire import Push

__all__ = ["FaultPlan", "Limits", "LokiStandIn", "RequestSeen", "StoredEntry"]

_SHUTDOWN_S = 1.0


class LokiStandIn:
    """See the module. `faults` may be replaced and stopped while it runs; `ingest` holds what was stored and discarded."""

    def __init__(
        self,
        faults: FaultPlan | None = None,
        limits: Limits | None = None,
        port: int = 0,
        clock_ns: Callable[[], int] = time.time_ns,
        requests_kept: int = 10_000,
    ) -> None:
        self.faults = faults or FaultPlan()
        self.limits = limits or Limits()
        self.ingest = Ingest(self.limits)
        self.pushes = 0
        self._seen: deque[RequestSeen] = deque(maxlen=requests_kept)
        self._clock_ns = clock_ns
        self._port = port
        self._changed = asyncio.Event()
        self._closing = asyncio.Event()
        self._runner: web.AppRunner | None = None
        self._site: web.SockSite | None = None
        self._held: socket.socket | None = None
        self._revival: asyncio.Task[None] | None = None
        self._routes: dict[str, tuple[tuple[str, ...], Callable[[web.Request], Awaitable[web.StreamResponse]]]] = {
            "/loki/api/v1/push": (("POST",), self._push),
            "/loki/api/v1/query_range": (("GET", "POST"), self._query_range),
            "/ready": (("GET",), self._ready),
            "/test/counts": (("GET",), self._counts),
            "/test/entries": (("GET",), self._entries),
        }

    # --- what tests ask -----------------------------------------------------------------------------------------------

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    @property
    def accepted(self) -> int:
        """Visible entries, each counted once."""
        return self.ingest.accepted

    @property
    def repeats(self) -> int:
        """Entries that came again and that no log query shows twice."""
        return self.ingest.repeats

    @property
    def discarded(self) -> Mapping[str, int]:
        """Refused entries by Loki's reason, also those whose loss a 204 hid."""
        return self.ingest.discarded

    @property
    def requests(self) -> list[RequestSeen]:
        """The last requests, oldest first."""
        return list(self._seen)

    @property
    def on_entries(self) -> Callable[[str, Sequence[StoredEntry]], None] | None:
        """Called with a stream's labels and its newly visible entries."""
        return self.ingest.on_entries

    @on_entries.setter
    def on_entries(self, listener: Callable[[str, Sequence[StoredEntry]], None] | None) -> None:
        self.ingest.on_entries = listener

    def entries(self, labels: Mapping[str, str] | None = None, tenant: str | None = None) -> list[StoredEntry]:
        """Visible entries of the streams that carry these labels, per stream in order of first acceptance."""
        return [entry for stream in self._streams(labels, tenant) for entry in stream.visible()]

    def streams(self, tenant: str | None = None) -> list[str]:
        return [stream.labels for stream in self._streams(None, tenant)]

    def _streams(self, labels: Mapping[str, str] | None, tenant: str | None) -> list[Stream]:
        tenants = self.ingest.tenants
        chosen = tenants.values() if tenant is None else [tenants[tenant]] if tenant in tenants else []
        return [stream for each in chosen for stream in each.matching(labels)]

    async def wait_for(self, predicate: Callable[[LokiStandIn], bool], timeout_s: float = 30) -> None:
        """Until the predicate holds; asked again after each push. Raises TimeoutError that says how far it came."""
        try:
            async with asyncio.timeout(timeout_s):
                while not predicate(self):
                    await self._changed.wait()
        except TimeoutError as error:
            counts = f"{self.accepted} accepted, {self.repeats} repeats, {self.pushes} pushes, {dict(self.discarded)}"
            raise TimeoutError(f"not within {timeout_s} s: {counts}") from error

    # --- life ---------------------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=self.limits.max_wire_bytes + MIB)
        app.router.add_route("*", "/{path:.*}", self._dispatch)
        # Loki decides itself what each Content-Encoding means, so aiohttp must not.
        self._runner = web.AppRunner(app, access_log=None, auto_decompress=False, shutdown_timeout=_SHUTDOWN_S)
        await self._runner.setup()
        self._held = self._bind()
        self._port = self._held.getsockname()[1]
        await self.up()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.set()
        if self._revival is not None:
            self._revival.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._revival
        await self.down()
        if self._held is not None:
            self._held.close()
        if self._runner is not None:
            await self._runner.cleanup()

    async def up(self) -> None:
        """Listen again on the same port."""
        if self._held is not None and self._runner is not None:
            self._site = web.SockSite(self._runner, self._held)
            self._held = None
            await self._site.start()

    async def down(self) -> None:
        """Reset every connection and refuse new ones. The port stays ours: bound, not listening."""
        if self._site is not None:
            await self._site.stop()
            self._site = None
            self._held = self._bind()
        for connection in self._runner.server.connections if self._runner and self._runner.server else []:
            reset(getattr(connection, "transport", None))

    def _bind(self) -> socket.socket:
        held = socket.socket()
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(("127.0.0.1", self._port))
        return held

    async def _pause(self, seconds: float | None) -> None:
        """So long, or until the stand-in closes."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._closing.wait(), seconds)

    async def _revive(self, seconds: float) -> None:
        await self._pause(seconds)
        await self.up()

    # --- requests -----------------------------------------------------------------------------------------------------

    async def _dispatch(self, request: web.Request) -> web.StreamResponse:
        methods, handler = self._routes.get(request.path, ((), self._ready))
        if not methods:
            return text_reply(404, "404 page not found")
        if request.method not in methods:
            return web.Response(status=405, headers={"Allow": ", ".join(methods)})
        return await handler(request)

    async def _push(self, request: web.Request) -> web.StreamResponse:
        # A fault for one stream needs the body first; any other is known before a byte of it is read.
        fault = None if self.faults.needs_labels else self.faults.next()
        if isinstance(fault, NeverRead):
            await self._pause(fault.seconds)
            return self._lost(request, b"", [], fault)
        body = await request.read()
        try:
            tenant = tenant_of(request.headers.get("X-Scope-OrgID"), self.limits)
            pushes = read_push(request.headers, body, self.limits)
        except BadRequest as refusal:
            self._note(request, body, [], refusal.status, None)
            return text_reply(refusal.status, refusal.text)
        if self.faults.needs_labels:
            fault = self.faults.next(first_labels(pushes))
        return await self._act(request, body, tenant, pushes, fault)

    async def _act(
        self, request: web.Request, body: bytes, tenant: str, pushes: list[Push], fault: Fault | None
    ) -> web.StreamResponse:
        match fault:
            case None | Delay() | Partial() | Status():
                status, text = await self._answer(tenant, pushes, fault)
                self._note(request, body, pushes, status, fault)
                headers = dict(fault.headers) if isinstance(fault, Status) else {}
                return web.Response(status=204) if status == 204 else text_reply(status, text, headers)
            case HalfReply() | SlowReply():
                return await self._break_off(request, body, pushes, fault, self._store(tenant, pushes))
            case ResetAfter():
                self._store(tenant, pushes)
            case NeverRead(seconds):
                await self._pause(seconds)
            case Down(seconds):
                await self.down()
                if seconds is not None:
                    self._revival = asyncio.create_task(self._revive(seconds))
            case ResetBefore():
                pass
        return self._lost(request, body, pushes, fault)

    async def _answer(self, tenant: str, pushes: list[Push], fault: Delay | Partial | Status | None) -> Reply:
        match fault:
            case None:
                return self._store(tenant, pushes)
            case Delay(seconds):
                await self._pause(seconds)
                return self._store(tenant, pushes)
            case Partial(share, code, text):
                self._store(tenant, [first_part(push, share) for push in pushes])
                return code, text
            case Status(code, text):
                return code, text

    def _store(self, tenant: str, pushes: list[Push]) -> Reply:
        return self.ingest.push(tenant, pushes, self._clock_ns())

    def _lost(self, request: web.Request, body: bytes, pushes: list[Push], fault: Fault) -> web.Response:
        """No answer, but a reset. What is returned cannot be sent any more."""
        self._note(request, body, pushes, 0, fault)
        reset(request.transport)
        return web.Response()

    async def _break_off(
        self, request: web.Request, body: bytes, pushes: list[Push], fault: HalfReply | SlowReply, reply: Reply
    ) -> web.Response:
        """An answer past aiohttp's back, half of it or a byte at a time, and the end of the connection."""
        status, text = reply
        payload = f"{text}\n".encode() if text else b""
        lines = (
            f"HTTP/1.1 {status} Reply",
            "Content-Type: text/plain; charset=utf-8",
            f"Content-Length: {len(payload)}",
        )
        head = "\r\n".join((*(lines if payload else lines[:1]), "Connection: close", "", "")).encode()
        whole = isinstance(fault, SlowReply)
        self._note(request, body, pushes, status if whole else 0, fault)
        transport = request.transport
        if isinstance(fault, HalfReply) and transport is not None:
            transport.write(head[: len(head) // 2])
        elif isinstance(fault, SlowReply):
            for byte in head + payload:
                if transport is None or transport.is_closing():
                    break
                transport.write(bytes((byte,)))
                await self._pause(fault.interval_s)
        if transport is not None:
            transport.close()
        return web.Response()

    def _note(self, request: web.Request, body: bytes, pushes: list[Push], status: int, fault: Fault | None) -> None:
        """One more push: remember it and wake whoever waits."""
        self.pushes += 1
        seen = RequestSeen(
            method=request.method,
            path=request.path,
            headers=request.headers,
            body_bytes=len(body),
            digest=hashlib.blake2b(body, digest_size=16).hexdigest(),
            labels=tuple(push.labels for push in pushes),
            entries=sum(len(push.lines) for push in pushes),
            status=status,
            fault=type(fault).__name__ if fault is not None else "",
            at_ns=self._clock_ns(),
        )
        self._seen.append(seen)
        self._changed.set()
        self._changed = asyncio.Event()

    async def _query_range(self, request: web.Request) -> web.StreamResponse:
        form = {**request.query, **(await request.post() if request.method == "POST" else {})}
        texts = {name: value for name, value in form.items() if isinstance(value, str)}
        flags = request.headers.get("X-Loki-Response-Encoding-Flags", "")
        try:
            tenant = tenant_of(request.headers.get("X-Scope-OrgID"), self.limits)
            wanted = logql.parameters(texts, flags, self.limits, self._clock_ns())
            document = logql.run(self._streams(None, tenant), wanted)
        except BadRequest as refusal:
            return text_reply(refusal.status, refusal.text)
        except logql.BadQuery as error:
            return text_reply(400, str(error))
        return web.json_response(document)

    async def _ready(self, _: web.Request) -> web.StreamResponse:
        return web.Response(text="ready\n")

    async def _counts(self, _: web.Request) -> web.StreamResponse:
        counts = {"accepted": self.accepted, "repeats": self.repeats, "pushes": self.pushes}
        return web.json_response({**counts, "streams": len(self.streams()), "discarded": dict(self.discarded)})

    async def _entries(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        await response.prepare(request)
        for block in journal_blocks(self.entries(dict(request.query))):
            await response.write(block)
        return response


# --- as a process -----------------------------------------------------------------------------------------------------


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m agent.demo.loki", description=str(__doc__).split("\n", 1)[0])
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--journal", type=Path, help="appends each newly visible entry as a JSON line")
    parser.add_argument("--faults-seed", type=int, help="lets pushes fail, by dice of this seed")
    parser.add_argument("--faults-share", type=float, default=0.3, help="share of pushes that fail")
    parser.add_argument("--no-rates", action="store_true", help="no 429 for speed")
    return parser.parse_args(arguments)


async def _serve(options: argparse.Namespace, journal: IO[str] | None) -> None:
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    seed = options.faults_seed
    plan = FaultPlan() if seed is None else FaultPlan.random(seed, options.faults_share)
    limits = Limits.without_rates() if options.no_rates else Limits()
    async with LokiStandIn(plan, limits, options.port) as loki:
        if journal is not None:
            loki.on_entries = lambda _, entries: _append(journal, entries)
        sys.stdout.write(f"{loki.url}\n")
        sys.stdout.flush()
        await stopped.wait()


def _append(journal: IO[str], entries: Sequence[StoredEntry]) -> None:
    journal.writelines(map(journal_line, entries))
    journal.flush()  # a killed process has then written what it acknowledged


def main(arguments: Sequence[str] | None = None) -> None:
    options = _arguments(arguments)
    with contextlib.ExitStack() as stack:
        journal = stack.enter_context(options.journal.open("a", encoding="ascii")) if options.journal else None
        asyncio.run(_serve(options, journal))


if __name__ == "__main__":
    main()
