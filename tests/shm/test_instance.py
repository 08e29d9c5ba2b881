"""Instances: one process per name, an epoch that never repeats."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from shm.errors import InstanceError
from shm.instance import Instance, default_state_root
from shm.segment import PREFIX, RunName

ROOT = Path(__file__).resolve().parents[2]
HOLDER = f"""
import sys; sys.path.insert(0, {str(ROOT)!r})
from pathlib import Path
import shm.instance
from shm.instance import Instance
shm.instance.PREFIX = sys.argv[3]
i = Instance.open(Path(sys.argv[1]), sys.argv[2] or None)
print(i.name, i.epoch, flush=True)
sys.stdin.read()
"""


def holder(root: Path, name: str = "", prefix: str = PREFIX) -> tuple[subprocess.Popen[str], str]:
    process = subprocess.Popen(
        [sys.executable, "-P", "-c", HOLDER, str(root), name, prefix],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    return process, process.stdout.readline().strip()


def unique() -> str:
    return f"t{os.getpid()}"


def test_epoch_rises_with_each_start(tmp_path: Path) -> None:
    for epoch in (1, 2, 3):
        with Instance.open(tmp_path, unique()) as instance:
            assert (instance.epoch, instance.run) == (epoch, RunName(unique(), epoch))
            assert (instance.state_dir / "epoch").read_text() == f"{epoch}\n"
            assert instance.state_dir.stat().st_mode & 0o777 == 0o700


def test_a_running_instance_is_refused_by_name_and_pid(tmp_path: Path) -> None:
    process, line = holder(tmp_path, unique())
    assert line == f"{unique()} 1"
    with pytest.raises(
        InstanceError, match=rf"instance '{unique()}' is already running \(pid {process.pid}\)"
    ):
        Instance.open(tmp_path, unique())
    process.send_signal(signal.SIGKILL)
    process.communicate()
    with Instance.open(tmp_path, unique()) as instance:
        assert instance.epoch == 2, "a refused start takes no epoch"


def test_a_name_is_taken_across_state_roots(tmp_path: Path) -> None:
    process, _ = holder(tmp_path / "a", unique())
    with pytest.raises(InstanceError, match=rf"already running \(pid {process.pid}\)"):
        Instance.open(tmp_path / "b", unique())
    process.communicate("")
    Instance.open(tmp_path / "b", unique()).close()


def test_without_a_name_the_first_free_default_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Apart from the engines of this machine, whose default names come and go.
    prefix = f"ringlane-{unique()}"
    monkeypatch.setattr("shm.instance.PREFIX", prefix)
    with Instance.open(tmp_path) as first, Instance.open(tmp_path):
        process, line = holder(tmp_path, prefix=prefix)
        assert line == "default-3 1"
        first.close()
        with Instance.open(tmp_path) as again:
            assert (again.name, again.epoch) == ("default-1", 2)
        process.communicate("")


@pytest.mark.parametrize("name", ["", "Upper", "a.b", "-a", "a/b", "../x", "x" * 42, "ü"])
def test_names_are_checked(tmp_path: Path, name: str) -> None:
    with pytest.raises(InstanceError, match="not valid"):
        Instance.open(tmp_path, name)
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_epoch_file_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / unique()).mkdir()
    (tmp_path / unique() / "epoch").write_text("many")
    with pytest.raises(InstanceError, match=r"epoch file .* holds 'many', not a number"):
        Instance.open(tmp_path, unique())
    (tmp_path / unique() / "epoch").write_text("41")
    with Instance.open(tmp_path, unique()) as instance:
        assert instance.epoch == 42


def test_a_state_root_that_is_no_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InstanceError, match=r"state directory .*file"):
        Instance.open(tmp_path / "file", unique())


def test_default_root_follows_xdg(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "/x")
    assert default_state_root() == Path("/x/ringlane")
    monkeypatch.delenv("XDG_STATE_HOME")
    assert default_state_root() == Path.home() / ".local/state/ringlane"
