"""agent.systemd: what the service manager is told."""

import os
import socket
from pathlib import Path

import pytest

from agent.systemd import Notifier


def test_messages_reach_the_socket(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        notifier = Notifier({"NOTIFY_SOCKET": str(tmp_path / "notify")})
        notifier.ready("shipping")
        notifier.watchdog()
        notifier.stopping(2.5)
        assert manager.recv(100) == b"READY=1\nSTATUS=shipping"
        assert manager.recv(100) == b"WATCHDOG=1"
        assert manager.recv(200).endswith(b"EXTEND_TIMEOUT_USEC=2500000")


def test_an_abstract_socket_is_reached() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(f"\0greenstack-test-{os.getpid()}")
        Notifier({"NOTIFY_SOCKET": f"@greenstack-test-{os.getpid()}"}).status("x")
        assert manager.recv(100) == b"STATUS=x"


def test_without_a_manager_nothing_happens() -> None:
    Notifier({}).ready("x")
    Notifier({"NOTIFY_SOCKET": "/nowhere/socket"}).ready("x")


@pytest.mark.parametrize(
    ("environ", "seconds"),
    [({}, None), ({"WATCHDOG_USEC": "30000000"}, 30.0), ({"WATCHDOG_USEC": "5", "WATCHDOG_PID": "1"}, None)],
)
def test_the_watchdog_is_ours_only_when_it_names_us(environ: dict[str, str], seconds: float | None) -> None:
    assert Notifier(environ).watchdog_s == seconds
