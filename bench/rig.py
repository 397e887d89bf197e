"""What the benchmarks share: the agent and the sink as processes, each pinned to a core, and what the kernel says of them."""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import sink as sink_module

_KEPT = "GREENSTACK_BENCH_KEPT"
"""Names, in the environment, the directory where compiled patterns are kept from one start on a new state to the next."""
_PATTERNS = "patterns.hyperscan"
_TICK_S = 1 / os.sysconf("SC_CLK_TCK")
_LONGEST_S = 1800.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def get(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=600) as reply:
        return json.load(reply)


def cores() -> list[int]:
    """Read once: whoever starts a process on one core must not be taken for having one only."""
    return sorted(os.sched_getaffinity(0))


_CORES = cores()


def pinned(core: int, command: list[str]) -> list[str]:
    return ["taskset", "-c", str(_CORES[min(core, len(_CORES) - 1)]), *command]


def stay_on(core: int) -> None:
    """Keeps this process, and not those that it starts pinned, to one core."""
    os.sched_setaffinity(0, {_CORES[min(core, len(_CORES) - 1)]})


def wait(ready: Callable[[], bool], what: str, pause_s: float = 0.05) -> None:
    deadline = time.monotonic() + _LONGEST_S
    while not ready():
        if time.monotonic() > deadline:
            raise SystemExit(f"never came about: {what}")
        time.sleep(pause_s)


@contextlib.contextmanager
def sink(*options: str, port: int = 0) -> Iterator[str]:
    """The URL of a sink in a process of its own, on the second core."""
    chosen = port or free_port()
    script = str(Path(sink_module.__file__))
    with subprocess.Popen(pinned(1, [sys.executable, script, str(chosen), *options])) as process:
        try:
            sink_module.until_listening(chosen)
            yield f"http://127.0.0.1:{chosen}"
        finally:
            process.terminate()


def kept_patterns() -> Path:
    """Of this benchmark and those it runs: to compile them takes seconds, and is measured by `latency.py` alone."""
    if _KEPT not in os.environ:
        os.environ[_KEPT] = directory = tempfile.mkdtemp(prefix="greenstack-bench-kept-")
        atexit.register(shutil.rmtree, directory, ignore_errors=True)
    return Path(os.environ[_KEPT]) / _PATTERNS


class Usage:
    """CPU seconds and memory of a process and its ended children, from /proc."""

    def __init__(self, pid: int) -> None:
        self._pid = pid

    def cpu_s(self) -> float:
        """With what ended children used: the compiler of the patterns is one."""
        fields = Path(f"/proc/{self._pid}/stat").read_text().rpartition(")")[2].split()
        return sum(int(field) for field in fields[11:15]) * _TICK_S

    def precise_cpu_s(self) -> float:
        """In nanoseconds rather than ticks, without children."""
        tasks = Path(f"/proc/{self._pid}/task").iterdir()
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9

    def _status(self, name: str) -> float:
        lines = Path(f"/proc/{self._pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:")) / 1024

    def rss_mib(self) -> float:
        return self._status("VmRSS")

    def peak_mib(self) -> float:
        return self._status("VmHWM")


class Agent:
    """A running daemon on the first core. Use as `with`; its state stays in `directory` from one to the next.

    watch: as in `[agent]`.  is_new: nobody has compiled its patterns before.  sections: what else its tables hold.
    """

    def __init__(
        self, directory: Path, loki: str, include: str, watch: str = "auto", *, is_new: bool = False, **sections: str
    ) -> None:
        self._config = directory / "config.toml"
        self._state = directory / "state"
        self._is_new = is_new
        self.port = free_port()
        own = {"buffer": 'min_free_bytes = "0B"', "parse": 'out_of_range = "send"'} | sections
        rest = "".join(f"[{name}]\n{body}\n" for name, body in own.items())
        self._config.write_text(
            f'[agent]\nstate_dir = "{self._state}"\nwatch = "{watch}"\n[[source]]\ninclude = ["{include}"]\nstart_at = "beginning"\n'
            f'[loki]\nurl = "{loki}"\n[server]\nlisten = "127.0.0.1:{self.port}"\n{rest}'
        )

    def __enter__(self) -> Self:
        if not self._is_new and kept_patterns().exists() and not self._state.exists():
            self._state.mkdir(mode=0o700)
            shutil.copy(kept_patterns(), self._state)
        self.began_s = time.time()
        command = [sys.executable, "-m", "agent", "run", "-c", str(self._config)]
        self._process = subprocess.Popen(pinned(0, command), stderr=subprocess.PIPE)
        self.pid = self._process.pid
        self.usage = Usage(self.pid)
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        _, errors = self._process.communicate()
        if not self._is_new and (self._state / _PATTERNS).exists():
            shutil.copy(self._state / _PATTERNS, kept_patterns())
        if self._process.returncode not in (0, -signal.SIGKILL):
            sys.stderr.write(errors.decode())

    def kill(self) -> None:
        """Where all that was wanted of it is known, and its backlog is not."""
        self._process.kill()

    def status(self) -> Any:
        return get(f"http://127.0.0.1:{self.port}/api/status")

    def _answers(self, path: str) -> bool:
        if self._process.poll() is not None:
            raise SystemExit("the agent has ended")
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=10) as reply:
                return bool(reply.status == 200)
        except OSError:
            return False

    def until_ready(self) -> None:
        wait(lambda: self._answers("/health/ready"), "the agent is ready", 0.01)

    def until_delivered(self, lines: int, pause_s: float = 0.1) -> None:
        wait(lambda: bool(self.status()["lines"]["delivered"] >= lines), f"{lines} lines are delivered", pause_s)

    def lag_s(self) -> float:
        """How long the event loop takes to answer."""
        began = time.perf_counter()
        self._answers("/health/live")
        return time.perf_counter() - began


def is_compiled() -> bool:
    """Whether the agent that the benchmarks start runs the compiled inner loop."""
    command = [sys.executable, "-c", "import agent.wire as w; print(w.__file__)"]
    return not subprocess.run(command, capture_output=True, check=True).stdout.strip().endswith(b".py")


def percentile(values: list[float], share: float) -> float:
    """Of sorted values."""
    return values[min(len(values) - 1, int(len(values) * share))]


def machine() -> str:
    facts = Path("/proc/cpuinfo").read_text()
    model = next((line.partition(":")[2].strip() for line in facts.splitlines() if line.startswith("model name")), "?")
    form = "compiled" if is_compiled() else "interpreted"
    return f"{model}, {len(_CORES)} cores, Python {sys.version.split()[0]}, inner loop {form}"
