"""Talking to systemd: READY, STATUS, WATCHDOG, STOPPING, as sd_notify(3) describes. Silent where there is none."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping


class Notifier:
    """Sends state to the service manager named by NOTIFY_SOCKET, if there is one."""

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        path = environ.get("NOTIFY_SOCKET", "")
        # A leading @ is systemd's spelling of the abstract namespace.
        self._address = "\0" + path[1:] if path.startswith("@") else path
        watchdog = environ.get("WATCHDOG_USEC", "")
        ours = environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        self.watchdog_s = int(watchdog) / 1e6 if watchdog.isdecimal() and ours else None
        """How often WATCHDOG=1 must come at least; None when nobody waits for it."""

    def ready(self, status: str) -> None:
        self._send(f"READY=1\nSTATUS={status}")

    def status(self, text: str) -> None:
        self._send(f"STATUS={text}")

    def watchdog(self) -> None:
        self._send("WATCHDOG=1")

    def stopping(self, extend_s: float) -> None:
        """Tells that the stop is under way and may take so long yet."""
        self._send(f"STOPPING=1\nSTATUS=delivering what is read\nEXTEND_TIMEOUT_USEC={int(extend_s * 1e6)}")

    def _send(self, message: str) -> None:
        if not self._address:
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as out:
            try:
                out.sendto(message.encode(), self._address)
            except OSError:
                # The manager is gone or restarting. Nothing we could tell it would help, and shipping goes on.
                self._address = ""
