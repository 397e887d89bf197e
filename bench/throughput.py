"""End to end: real files, real HTTP to a sink in another process, durable buffer, all rules, metrics on.

    python bench/throughput.py [--lines 500000] [--secrets 0.01] [--emails 0] [--no-redact]

Prints lines per CPU second (user and system of the agent process), MB/s, peak memory; verifies that every line arrived.
The agent is pinned to one core and the sink to another, where there are two.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import corpus


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def get(url: str) -> dict[str, int]:
    with urllib.request.urlopen(url, timeout=120) as reply:
        answer: dict[str, int] = json.load(reply)
        return answer


def until_listening(url: str) -> None:
    for _ in range(500):
        try:
            get(url)
        except OSError:
            time.sleep(0.02)
        else:
            return
    raise SystemExit(f"nothing listens on {url}")


def pinned(core: int, command: list[str]) -> list[str]:
    cores = sorted(os.sched_getaffinity(0))
    return ["taskset", "-c", str(cores[min(core, len(cores) - 1)]), *command]


def configuration(directory: Path, log: Path, port: int, redact: bool) -> Path:
    path = directory / "config.toml"
    path.write_text(
        f'[agent]\nstate_dir = "{directory / "state"}"\n[[source]]\ninclude = ["{log}"]\n'
        f'[redact]\nenabled = {str(redact).lower()}\n[parse]\nout_of_range = "send"\n'
        f'[buffer]\nmin_free_bytes = "0B"\n[loki]\nurl = "http://127.0.0.1:{port}"\n[server]\nlisten = "127.0.0.1:0"\n'
    )
    return path


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--lines", type=int, default=500_000)
    arguments.add_argument("--secrets", type=float, default=0.01)
    arguments.add_argument("--emails", type=float, default=0.0)
    arguments.add_argument("--no-redact", action="store_true")
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory(prefix="greenstack-bench-") as name:
        directory = Path(name)
        log = directory / "app.txt"
        size = corpus.write(log, given.lines, secrets=given.secrets, emails=given.emails)
        port = free_port()
        sink = subprocess.Popen(pinned(1, [sys.executable, str(Path(__file__).with_name("sink.py")), str(port)]))
        try:
            until_listening(f"http://127.0.0.1:{port}/done")
            config = configuration(directory, log, port, not given.no_redact)
            began = time.perf_counter()
            command = [sys.executable, "-m", "agent", "ship", "-c", str(config), str(log)]
            agent = subprocess.run(pinned(0, command), stderr=subprocess.PIPE, check=False)
            wall = time.perf_counter() - began
            used = resource.getrusage(resource.RUSAGE_CHILDREN)
            arrived = get(f"http://127.0.0.1:{port}/count")
        finally:
            sink.terminate()
            sink.wait()
        if agent.returncode or arrived["entries"] != given.lines:
            raise SystemExit(f"{arrived['entries']} of {given.lines} arrived: {agent.stderr.decode()}")
        cpu = used.ru_utime + used.ru_stime
        print(
            f"{given.lines} lines of {size / given.lines:.0f} bytes, {given.secrets:.0%} secrets, {given.emails:.0%} e-mails, "
            f"redaction {'off' if given.no_redact else 'on'}"
        )
        print(f"{given.lines / cpu:12,.0f} lines per CPU second ({cpu:.2f} s, start included)")
        print(f"{size / wall / 1e6:12.1f} MB/s wall ({wall:.2f} s)")
        print(f"{used.ru_maxrss / 1024:12.1f} MiB peak memory")
        print(f"{arrived['bytes'] / size:12.2f} of the bytes on the wire, {arrived['requests']} requests")


if __name__ == "__main__":
    main()
