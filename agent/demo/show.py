"""The main job in one terminal: an application that logs, this agent, and a Loki stand-in that receives.

Everything is real but Loki: python-json-logger writes to a file in a directory of its own, the agent tails it, and the
lines travel over HTTP. At the end the stand-in is asked whether every line arrived and whether a secret did.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import orjson
from rich.console import Console
from rich.text import Text

from agent import config
from agent.app import App, Ended
from agent.demo.loki import LokiStandIn, StoredEntry
from agent.demo.writer import planted_secrets
from agent.failures import OK, PROBLEMS
from agent.observe.events import Event
from agent.running import run_loop

_COLOURS = {"DEBUG": "dim", "INFO": "green", "WARNING": "yellow", "ERROR": "red", "CRITICAL": "bold red"}
_SEED = 7
SETTLE_S = 20.0


def demo(*, seconds: float | None, rate: float) -> int:
    """Runs until Ctrl-C or for `seconds`; 0 when every line arrived once and none of the planted secrets did."""
    with tempfile.TemporaryDirectory(prefix="greenstack-demo-") as directory:
        return run_loop(_play(Path(directory), seconds, rate))


async def _play(directory: Path, seconds: float | None, rate: float) -> int:
    console = Console(highlight=False)
    log = directory / "log" / "app.log"
    log.parent.mkdir()
    async with LokiStandIn() as loki:
        stage = _Stage(console, loki)
        loki.on_entries = stage.show
        app = App(_settings(directory, log, loki.url), _silent)
        shipping = asyncio.create_task(app.run())
        writer = await _start_writer(log, rate)
        console.print(f"[bold]An application writes to {log}; this agent ships it to {loki.url}[/]")
        try:
            await _until_told(shipping, seconds)
            writer.terminate()
            await writer.wait()
            arrived = await _settled(log, loki)
        finally:
            if writer.returncode is None:
                writer.kill()
                await writer.wait()
            app.stop("the demo ends")
            await shipping
        return _conclude(console, stage, log, arrived, loki)


def _silent(_: Event) -> None:
    """The terminal belongs to the lines."""


def _settings(directory: Path, log: Path, url: str) -> config.Config:
    return config.Config(
        agent=config.Agent(state_dir=str(directory / "state"), shutdown_grace="5s"),
        source=(config.Source(name="demo", include=(str(log),)),),
        labels=config.Labels(static={"service_name": "greenstack", "job": "demo", "environment": "demo"}),
        batch=config.Batch(max_wait="200ms"),
        buffer=config.Buffer(max_bytes=64 * config.MIB, segment_bytes=4 * config.MIB, min_free_bytes=0),
        loki=config.Loki(url=url),
        server=config.Server(listen="127.0.0.1:0"),
    )


async def _start_writer(log: Path, rate: float) -> asyncio.subprocess.Process:
    command = (sys.executable, "-m", "agent.demo.writer", "--path", str(log), "--rate", str(rate), "--seed", str(_SEED))
    # A session of its own: Ctrl-C is for us, who stop it in order.
    return await asyncio.create_subprocess_exec(
        *command, start_new_session=True, env={**os.environ, "ENVIRONMENT": "production"}
    )


async def _until_told(shipping: asyncio.Task[Ended], seconds: float | None) -> None:
    """Returns at Ctrl-C, at SIGTERM, after `seconds`, or when the agent ends by itself."""
    told = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, told.set)
    waiting = asyncio.ensure_future(told.wait())
    await asyncio.wait((waiting, shipping), timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()


async def _settled(log: Path, loki: LokiStandIn) -> bool:
    """Whether everything that was written arrives within a while."""
    written = (await asyncio.to_thread(log.read_bytes)).count(b"\n")
    try:
        await loki.wait_for(lambda there: len(there.entries()) >= written, SETTLE_S)
    except TimeoutError:
        return False
    return True


class _Stage:
    """Prints lines as they arrive, and how many a second."""

    def __init__(self, console: Console, loki: LokiStandIn) -> None:
        self._console = console
        self._loki = loki
        self._since = self._told = time.monotonic()
        self.lines = 0

    def show(self, _: str, entries: Sequence[StoredEntry]) -> None:
        for entry in entries:
            self._console.print(_pretty(entry.line), no_wrap=True, overflow="ellipsis")
        self.lines += len(entries)
        now = time.monotonic()
        if now - self._told > 2:
            self._told = now
            rate = self.lines / (now - self._since)
            self._console.print(
                f"[cyan]── {self.lines} lines in Loki, {rate:.0f} a second, {self._loki.pushes} pushes[/]"
            )


def _pretty(line: bytes) -> Text:
    try:
        fields: Mapping[str, object] = orjson.loads(line)
    except orjson.JSONDecodeError:
        return Text(line.decode("utf-8", "replace"))
    level = str(fields.get("level", ""))
    rest = {k: v for k, v in fields.items() if k not in _SHOWN_OTHERWISE}
    text = Text(f"{level:8} ", style=_COLOURS.get(level, ""))
    text.append(str(fields.get("message", "")), style="bold")
    return text.append("  " + orjson.dumps(rest).decode(), style="dim")


_SHOWN_OTHERWISE = frozenset(
    ("timestamp", "level", "message", "logger", "function", "line", "app", "version", "environment", "worker", "seq")
)


def _conclude(console: Console, stage: _Stage, log: Path, arrived: bool, loki: LokiStandIn) -> int:
    written = log.read_bytes()
    stored = b"\n".join(entry.line for entry in loki.entries())
    planted = [secret for secret in planted_secrets(_SEED) if secret.encode() in written]
    leaked = [secret for secret in planted if secret.encode() in stored]
    lines = written.count(b"\n")
    console.print(
        f"[bold]{lines} lines written, {len(loki.entries())} in Loki, "
        f"{loki.repeats} repeats; {len(planted)} different secrets written, {len(leaked)} reached Loki[/]",
        soft_wrap=True,
    )
    return OK if arrived and not leaked and stage.lines else PROBLEMS
