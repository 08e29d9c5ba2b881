"""Tell systemd how the engine is: READY, RELOADING, STOPPING, WATCHDOG, STATUS.

Source: sd_notify(3) and systemd.service(5) (`Type=notify`, `WatchdogSec`): one datagram of `KEY=value`
lines to the Unix socket named by NOTIFY_SOCKET, whose leading `@` means an abstract address.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping

from shm.clock import now_ns


class Notifier:
    """Sends notifications; does nothing when the engine was not started by systemd.

    Args:
        environment: where NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID are read from.
    """

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        env = os.environ if environment is None else environment
        address = env.get("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._socket: socket.socket | None = None
        if self._address:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
            self._socket.setblocking(False)
        self.watchdog_ns = self._watchdog(env)
        self.failures = 0

    @property
    def enabled(self) -> bool:
        """Whether somebody listens."""
        return self._socket is not None

    @staticmethod
    def _watchdog(env: Mapping[str, str]) -> int:
        usec, pid = env.get("WATCHDOG_USEC", ""), env.get("WATCHDOG_PID", "")
        if not usec.isdigit() or (pid and pid != str(os.getpid())):
            return 0
        return int(usec) * 1_000

    def ready(self, status: str) -> None:
        """The engine trades (also ends a reload)."""
        self._send(f"READY=1\nSTATUS={status}")

    def reloading(self) -> None:
        """A new generation is being applied; `ready` ends it."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={now_ns() // 1_000}")

    def stopping(self, status: str) -> None:
        """An ordered stop began."""
        self._send(f"STOPPING=1\nSTATUS={status}")

    def watchdog(self) -> None:
        """The supervisor's loop is alive; due at least every `watchdog_ns / 2`."""
        self._send("WATCHDOG=1")

    def status(self, text: str) -> None:
        """One line for `systemctl status`."""
        self._send(f"STATUS={text}")

    def _send(self, message: str) -> None:
        # A manager that does not listen must never stop trading: the failure is counted and kept.
        if self._socket is None:
            return
        try:
            self._socket.sendto(message.encode(), self._address)
        except OSError:
            self.failures += 1

    def close(self) -> None:
        """Close the socket."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
