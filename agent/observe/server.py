"""Metrics, health and the status page over HTTP. Never any log content or secret."""

from __future__ import annotations

import html
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import orjson

from agent.http import web
from agent.observe import health
from agent.observe.health import Facts
from agent.observe.metrics import Metrics

METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class CannotListen(OSError):
    """The address is taken, or not ours."""


def split_address(listen: str) -> tuple[str | None, int]:
    """`host:port` → (host, port); an empty host is None, everywhere."""
    host, _, port = listen.rpartition(":")
    return host.strip("[]") or None, int(port)


class Server:
    """Answers from what the parts say at that moment.

    facts:  what health is judged by.
    status: the status page's content, as plain values.
    """

    def __init__(self, metrics: Metrics, facts: Callable[[], Facts], status: Callable[[], Mapping[str, Any]]) -> None:
        self._metrics = metrics
        self._facts = facts
        self._status = status

    @asynccontextmanager
    async def listening(self, listen: str) -> AsyncIterator[int]:
        """Serves while the block runs; gives the port. Raises CannotListen."""
        host, port = split_address(listen)
        runner = web.AppRunner(self._app(), access_log=None, handle_signals=False)
        await runner.setup()
        try:
            site = web.TCPSite(runner, host, port)
            try:
                await site.start()
            except OSError as error:
                raise CannotListen(
                    f"cannot listen on {listen}: {error.strerror or error}; change server.listen"
                ) from error
            yield int(runner.addresses[0][1])
        finally:
            await runner.cleanup()

    def _app(self) -> web.Application:
        app = web.Application(client_max_size=1024)
        app.router.add_get("/metrics", self._get_metrics)
        app.router.add_get("/health", self._get_health)
        app.router.add_get("/health/ready", self._get_ready)
        app.router.add_get("/health/live", self._get_live)
        app.router.add_get("/api/status", self._get_status)
        app.router.add_get("/", self._get_page)
        return app

    async def _get_metrics(self, _: web.Request) -> web.Response:
        return web.Response(body=self._metrics.exposition(), headers={"Content-Type": METRICS_TYPE})

    async def _get_health(self, _: web.Request) -> web.Response:
        return _json({"status": health.status(self._facts()), "timestamp": _now()})

    async def _get_ready(self, _: web.Request) -> web.Response:
        checks = health.ready_checks(self._facts())
        ready = all(checks.values())
        return _json({"ready": ready, "checks": checks, "timestamp": _now()}, 200 if ready else 503)

    async def _get_live(self, _: web.Request) -> web.Response:
        alive = health.alive(self._facts())
        return _json({"alive": alive}, 200 if alive else 503)

    async def _get_status(self, _: web.Request) -> web.Response:
        return _json(dict(self._status()))

    async def _get_page(self, _: web.Request) -> web.Response:
        return web.Response(text=page(self._status()), content_type="text/html")


def _now() -> str:
    return datetime.now(UTC).isoformat()


def _json(document: object, status: int = 200) -> web.Response:
    return web.Response(body=orjson.dumps(document), status=status, content_type="application/json")


_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem; padding: 0 1rem; color: #1c2733 }
table { border-collapse: collapse; width: 100%; margin-bottom: 1.5rem } h1 { font-size: 1.4rem } h2 { font-size: 1.05rem }
td, th { text-align: left; padding: .25rem .75rem .25rem 0; border-bottom: 1px solid #dde3ea; vertical-align: top }
th { font-weight: 600; color: #51606f } td { font-variant-numeric: tabular-nums; overflow-wrap: anywhere }
"""


def page(status: Mapping[str, Any]) -> str:
    """The status as a page for people: a table for each part, everything escaped."""
    parts = "".join(_section(name, value) for name, value in status.items())
    return (
        "<!doctype html><html lang=en><head><meta charset=utf-8><title>GreenStack log agent</title>"
        f"<meta http-equiv=refresh content=5><style>{_STYLE}</style></head>"
        f"<body><h1>GreenStack log agent</h1>{parts}</body></html>"
    )


def _section(name: str, value: object) -> str:
    title = f"<h2>{html.escape(name)}</h2>"
    if isinstance(value, Mapping):
        rows = "".join(
            f"<tr><th>{html.escape(str(k))}</th><td>{html.escape(_show(v))}</td></tr>" for k, v in value.items()
        )
        return f"{title}<table>{rows}</table>"
    if isinstance(value, (list, tuple)) and value and isinstance(value[0], Mapping):
        head = "".join(f"<th>{html.escape(str(k))}</th>" for k in value[0])
        rows = "".join(
            "<tr>" + "".join(f"<td>{html.escape(_show(v))}</td>" for v in row.values()) + "</tr>" for row in value
        )
        return f"{title}<table><tr>{head}</tr>{rows}</table>"
    return f"{title}<p>{html.escape(_show(value))}</p>"


def _show(value: object) -> str:
    if value is None or value in ((), []):
        return "–"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
