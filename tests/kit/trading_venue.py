"""Simulated venues in processes of their own, which outlive any engine that trades there."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import socket
import ssl
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import orjson

from tests.kit.engine_run import PATIENCE_S, ROOT

SECRETS = ("api_key", "secret", "passphrase")


class Refusing:
    """Something at a venue's websocket port that takes connections and ends them without a word."""

    def __init__(self, port: int) -> None:
        self.count = 0
        self._socket = socket.create_server(("127.0.0.1", port))  # it may be bound again at once
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._socket.accept()
                client.close()
                self.count += 1

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join(timeout=PATIENCE_S)


class TradingVenue:
    """One simulated venue that takes orders.

    Args:
        name: of the simulated venue, and of the adapter.
        options: further arguments of `ringlane venue`.
    """

    def __init__(self, name: str, *options: str) -> None:
        self.name = name
        self.options = options
        self.keys = {
            "account": "main",
            "api_key": secrets.token_hex(32),
            "secret": secrets.token_hex(32),
            "passphrase": secrets.token_hex(8),
        }
        self.ready: dict[str, Any] = {}
        self.start()

    def start(self, *options: str) -> None:
        """Start it (again), with the same keys; wait until it serves."""
        read_end, write_end = os.pipe()
        argv = [sys.executable, "-P", "-m", "tools.venues", self.name, "--ready-fd", str(write_end)]
        argv += [*self.options, *options, "--parent-pid", str(os.getpid())]
        self.process = subprocess.Popen(
            argv,
            cwd=ROOT,
            pass_fds=(write_end,),
            env=dict(os.environ, RINGLANE_VENUE_KEYS=orjson.dumps([self.keys]).decode()),
            stdout=subprocess.DEVNULL,
            stdin=subprocess.DEVNULL,
        )
        os.close(write_end)
        with os.fdopen(read_end, "rb") as ready:
            self.ready = orjson.loads(ready.readline())

    def kill(self) -> None:
        """SIGKILL: connections end, and everything it knew is gone."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(timeout=PATIENCE_S)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(timeout=PATIENCE_S)

    @property
    def ports(self) -> tuple[str, ...]:
        """Options that make a successor listen where this one does."""
        ws, rest = (self.ready[name].rpartition(":")[2] for name in ("ws", "rest"))
        return ("--port", ws, "--rest-port", rest)

    def environment(self) -> dict[str, str]:
        """The keys as the configuration of `section` wants them."""
        return {f"RL_{self.name}_{part}".upper(): self.keys[part] for part in SECRETS}

    def section(self, symbols: list[str]) -> str:
        """The venue's tables of a configuration."""
        trade = self.ready["trading"]
        wanted = SECRETS if self.name == "okx" else SECRETS[:2]
        lines = [
            f"[venues.{self.name}]",
            f'adapter = "{self.name}"',
            f'websocket_url = "{self.ready["ws"]}"',
            f'rest_url = "{self.ready["rest"]}"',
            f"symbols = {orjson.dumps(symbols).decode()}",
            f"[venues.{self.name}.account]",
            *(f'{part} = {{ env = "{f"RL_{self.name}_{part}".upper()}" }}' for part in wanted),
            f'order_url = "{trade["order"]}"',
            f'private_url = "{trade["private"]}"',
            f'rest_url = "{trade["rest"]}"',
        ]
        return "\n".join(lines) + "\n"

    # ---- its own books --------------------------------------------------------------------------

    def ask(self, path: str, body: object = None) -> Any:
        data = body if isinstance(body, bytes) else None if body is None else orjson.dumps(body)
        ca = self.ready["ca"]
        with urllib.request.urlopen(
            f"{self.ready['rest']}{path}",
            data=data,
            timeout=PATIENCE_S,
            context=ssl.create_default_context(cafile=ca) if ca else None,
        ) as reply:
            return orjson.loads(reply.read())

    def faults(self, script: str) -> None:
        """Bring a fault script into force."""
        self.ask("/sim/faults", script.encode())

    def happened(self) -> dict[str, int]:
        """How often each fault of the scripts has happened."""
        found: dict[str, int] = {}
        for row in self.ask("/ringlane/faults")["faults"]:
            found[row["text"]] = found.get(row["text"], 0) + row["count"]
        return found

    def orders(self, *, is_open: bool = False) -> list[dict[str, Any]]:
        return list(self.ask("/sim/orders?open=1" if is_open else "/sim/orders"))

    def fills(self) -> list[dict[str, Any]]:
        return list(self.ask("/sim/fills"))

    def positions(self) -> dict[str, Decimal]:
        """By symbol, without those that are zero."""
        rows = {row["symbol"]: Decimal(row["position"]) for row in self.ask("/sim/positions")}
        return {symbol: quantity for symbol, quantity in rows.items() if quantity}

    def statistics(self) -> dict[str, Any]:
        return dict(self.ask("/sim/statistics"))


@contextlib.contextmanager
def trading_venue(name: str, *options: str) -> Iterator[TradingVenue]:
    """A simulated venue for the length of a test."""
    at = TradingVenue(name, *options)
    try:
        yield at
    finally:
        at.close()
