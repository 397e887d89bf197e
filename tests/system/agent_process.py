"""The installed command as a child process, with a real directory, real signals and a Loki stand-in."""

import asyncio
import itertools
import os
import re
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from agent.durable import replace_whole
from agent.patterns import FILE_NAME

START_S = 60.0


# An address of this process's own: on a shared one an agent of another worker could take the port of one that is down.
_HOST = f"127.{os.getpid() >> 16}.{os.getpid() >> 8 & 255}.{os.getpid() & 255}"
_PORTS = itertools.count(10_000)


class AgentProcess:
    """`greenstack-agent run` on a configuration of its own; may be killed and started again.

    patterns: compiled patterns to begin with; the first that has made some puts them there. A state directory without any
    costs each start some seconds.
    """

    def __init__(
        self, directory: Path, loki_url: str, include: str, patterns: Path | None = None, **tables: str
    ) -> None:
        self._patterns = patterns
        self.directory = directory
        self._listen = f"{_HOST}:{next(_PORTS)}"
        self.url = f"http://{self._listen}"
        self.config = directory / "config.toml"
        self.state = directory / "state"
        self.process: asyncio.subprocess.Process | None = None
        self.log = directory / "agent.err"
        default = {
            "agent": f'state_dir = "{self.state}"\nscan_interval = "500ms"\nshutdown_grace = "10s"',
            "labels": 'host = "test"',
            "batch": 'max_wait = "100ms"',
            "buffer": 'min_free_bytes = "0B"',
            "loki": f'url = "{loki_url}"',
            "loki.retry": 'first_delay = "20ms"\nmax_delay = "500ms"',
            "server": f'listen = "{self._listen}"',
        }
        for name, lines in tables.items():
            default[name] = default.get(name, "") + "\n" + lines
        source = f'[[source]]\nname = "app"\ninclude = ["{include}"]\n' + default.pop("source", "")
        text = "\n".join(f"[{name}]\n{lines}" for name, lines in default.items())
        self.config.write_text(source + "\n" + text + "\n")

    async def start(self, *, ready: bool = True, under: Sequence[str] = ()) -> None:
        """under: a command that runs the agent as its own process: `strace -D`, `unshare`, `prlimit`."""
        if self._patterns is not None and self._patterns.exists() and not self.state.exists():
            self.state.mkdir(mode=0o700)
            replace_whole(self.state / FILE_NAME, self._patterns.read_bytes())
        with self.log.open("ab") as errors:
            self.process = await asyncio.create_subprocess_exec(
                *under, sys.executable, "-m", "agent", "run", "-c", str(self.config), stderr=errors
            )
        if ready:
            await self.until_ready()
            made = self.state / FILE_NAME
            if self._patterns is not None and not self._patterns.exists() and made.exists():
                replace_whole(self._patterns, made.read_bytes())

    async def until_ready(self) -> None:
        assert self.process is not None
        async with asyncio.timeout(START_S), aiohttp.ClientSession() as http:
            while True:
                assert self.process.returncode is None, self.log.read_text()
                try:
                    async with http.get(f"{self.url}/health/ready") as reply:
                        if reply.status == 200:
                            return
                except aiohttp.ClientConnectionError:
                    pass
                await asyncio.sleep(0.02)

    async def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        await self.process.wait()

    async def stop(self, number: int = signal.SIGTERM) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        async with asyncio.timeout(60):
            return await self.process.wait()

    async def metrics(self) -> dict[str, float]:
        """Every sample, summed over its labels, by name without the prefix."""
        async with aiohttp.ClientSession() as http, http.get(f"{self.url}/metrics") as reply:
            text = await reply.text()
        sums: dict[str, float] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                name = sample.name.removeprefix("greenstack_agent_")
                sums[name] = sums.get(name, 0.0) + sample.value
        return sums

    async def status(self) -> str:
        """What `/api/status` says."""
        async with aiohttp.ClientSession() as http, http.get(f"{self.url}/api/status") as reply:
            return await reply.text()

    async def until(self, wanted: Callable[[dict[str, float]], bool], timeout_s: float = 30) -> dict[str, float]:
        """Asks for the metrics until they are as wanted."""
        async with asyncio.timeout(timeout_s):
            while not wanted(seen := await self.metrics()):
                await asyncio.sleep(0.02)
        return seen

    def errors(self) -> str:
        return self.log.read_text()


def assert_nothing_is_unaccounted(seen: dict[str, float]) -> None:
    """read + recovered = delivered + dropped + waiting, from the metrics alone."""
    came = seen["read_lines_total"] + seen["recovered_entries"]
    went = seen.get("delivered_entries_total", 0) + seen.get("dropped_entries_total", 0) + seen["waiting_entries"]
    assert came == went, seen
    assert seen["accounting_imbalance_entries"] == 0


def rss_peak_mib(pid: int) -> float:
    """Highest resident memory of a running process so far."""
    match = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert match is not None
    return int(match[1]) / 1024


def run_as_module(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "agent", *arguments]


def environment(**extra: str) -> dict[str, str]:
    return {**{k: v for k, v in os.environ.items() if not k.startswith("GREENSTACK_AGENT")}, **extra}
