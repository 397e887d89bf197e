"""The real logrotate, in each of its modes, against the whole agent: everything once, in order, and nothing unaccounted for."""

import asyncio
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from agent_process import AgentProcess
from oracle import append, difference, numbered, stored
from tailing import Watch, settings, source, tailing, write

from agent.demo.loki import LokiStandIn

pytestmark = pytest.mark.skipif(shutil.which("logrotate") is None, reason="logrotate is not installed")

Launch = Callable[..., AgentProcess]

MODES = {
    "create": "create 0644",
    "copytruncate": "copytruncate",
    "compress": "create 0644\ncompress",
    "delaycompress": "create 0644\ncompress\ndelaycompress",
    "dateext": "create 0644\ndateext\ndateformat -%Y%m%d-%s",
    "olddir": "create 0644\nolddir old\ncreateolddir 0755 root root"
    if os.geteuid() == 0
    else "create 0644\nolddir old",
    "shred": "create 0644\nshred",
    "copytruncate compress": "copytruncate\ncompress",
    "copytruncate dateext": "copytruncate\ndateext\ndateformat -%Y%m%d-%s",
    "copytruncate olddir": "copytruncate\nolddir old",
    "nocreate": "nocreate",
}


class Logrotate:
    """logrotate of a directory, forced to rotate each time."""

    def __init__(self, logs: Path, state: Path, options: str) -> None:
        self._config = state / "logrotate.conf"
        self._state = state / "logrotate.state"
        self._config.write_text(f"{logs}/app.log {{\nrotate 4\nmissingok\nnomail\nsu root root\n{options}\n}}\n")
        if os.geteuid() != 0:
            self._config.write_text(self._config.read_text().replace("su root root\n", ""))

    def rotate(self) -> None:
        command = ["logrotate", "-f", "-s", str(self._state), str(self._config)]
        while True:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if "already exists" not in done.stderr:  # dated by the second
                assert done.returncode == 0, done.stderr
                return


@pytest.mark.parametrize(
    ("pattern", "watch"),
    [
        ("app.log", "auto"),
        ("app.log*", "poll"),
        pytest.param("app.log", "poll", marks=pytest.mark.long),
        pytest.param("app.log*", "auto", marks=pytest.mark.long),
    ],
)
@pytest.mark.parametrize("mode", MODES)
async def test_t48_each_line_is_read_once_and_in_order_whatever_logrotate_does(
    tmp_path: Path, mode: str, pattern: str, watch: Watch
) -> None:
    logs = tmp_path / "logs"
    (logs / "old").mkdir(parents=True)
    log = logs / "app.log"
    rotation = Logrotate(logs, tmp_path, MODES[mode])
    one = source(logs / pattern, olddir="old" if "olddir" in mode else None)
    lines = [f"{generation} {number}" for generation in range(5) for number in range(20)]
    write(log, *lines[:20])
    async with tailing(one, agent=settings(watch)) as first:
        await first.until_lines(20)
        rotation.rotate()
        write(log, *lines[20:40])
        await first.until_lines(40)
    for generation in (2, 3):
        rotation.rotate()
        write(log, *lines[generation * 20 : generation * 20 + 20])
    async with tailing(one, resume=first.resume(), agent=settings(watch)) as second:
        await second.until_lines(40)
        rotation.rotate()
        write(log, *lines[80:])
        await second.until_lines(60)
        await second.turns(30)
    assert first.lines(log) + second.lines() == lines


def whole_agent(*modes: str, long: bool) -> list[object]:
    return [pytest.param(mode, marks=[pytest.mark.long] if long else []) for mode in modes]


QUICK = ["create", "copytruncate compress"]


@pytest.mark.parametrize("pattern", ["app.log*"])
@pytest.mark.parametrize(
    "mode", whole_agent(*QUICK, long=False) + whole_agent(*(mode for mode in MODES if mode not in QUICK), long=True)
)
async def test_t48_logrotate_and_the_whole_agent_with_a_kill(
    tmp_path: Path, loki: LokiStandIn, launch: Launch, mode: str, pattern: str
) -> None:
    logs = tmp_path / "logs"
    (logs / "old").mkdir(parents=True)
    log = logs / "app.log"
    rotation = Logrotate(logs, tmp_path, MODES[mode])
    tables = {"source": 'olddir = "old"'} if "olddir" in mode else {}
    agent = launch(loki.url, f"{logs}/{pattern}", **tables)
    await agent.start()
    written: list[bytes] = []

    async def until_stored(count: int) -> None:
        async with asyncio.timeout(30):
            while len(stored(loki).get(str(log), [])) < count:
                await asyncio.sleep(0.02)

    for generation in range(4):
        lines = numbered(f"{mode} {generation}", 50, size=40)
        append(log, lines)
        written += lines
        if generation == 1:
            await agent.kill()
        if generation in (0, 3):
            await until_stored(len(written))
        if generation < 3:
            await asyncio.to_thread(rotation.rotate)
        if generation == 2:
            await agent.start()
    await until_stored(len(written))
    await agent.until(lambda metrics: metrics["waiting_entries"] == 0)
    found = {name: lines for name, lines in stored(loki).items() if lines}
    assert not difference({str(log): written}, found)
