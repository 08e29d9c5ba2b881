"""`ringlane capture` against simulated venues: what is recorded replays to proven books, after a kill too."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import orjson
import pytest

from tools.capture_info import describe
from tools.replay import Replay, ReplaySettings

ROOT = Path(__file__).resolve().parents[2]
CODE = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from tools.cli import main; sys.exit(main())"
COMMAND = [sys.executable, "-P", "-c", CODE]

pytestmark = pytest.mark.timeout(60)


@contextmanager
def venue(name: str) -> Iterator[dict[str, str]]:
    process = subprocess.Popen(
        [*COMMAND, "venue", name, "--instruments", "2", "--rate", "400", "--start", "immediately"],
        stdout=subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        yield orjson.loads(process.stdout.readline())
    finally:
        process.terminate()
        process.communicate()


def record(name: str, ready: dict[str, str], folder: Path, *more: str) -> list[str]:
    symbols = ready["symbols"][:2]
    return [
        *COMMAND, "capture", *symbols, "--venue", name, "--ws", ready["ws"], "--rest", ready["rest"],
        "--out", str(folder), "--json", *more,
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["binance_usdm", "okx", "bybit_linear"])
def test_what_was_recorded_replays_to_live_books(name: str, tmp_path: Path) -> None:
    with venue(name) as ready:
        done = subprocess.run(record(name, ready, tmp_path, "--duration", "1.5"), capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    told = orjson.loads(done.stdout)
    assert told["frames"] > 0
    assert told["dropped"] == 0
    info = describe([Path(told["file"])])
    assert [row.venue for row in info.venues] == [name]
    assert info.venues[0].frames == told["frames"]
    assert info.venues[0].gaps == []
    assert set(info.venues[0].symbols.values()) == {"LIVE"}
    assert not info.damage


def test_a_killed_recorder_leaves_a_capture_that_replays(tmp_path: Path) -> None:
    with venue("okx") as ready:
        recorder = subprocess.Popen(record("okx", ready, tmp_path), stdout=subprocess.PIPE)
        tails: list[Path] = []
        # Its first block is done only after seconds: what there is stands in the tail alone.
        while not tails or tails[0].stat().st_size < 100_000:
            assert recorder.poll() is None
            tails = list(tmp_path.glob("*.tail"))
        recorder.send_signal(signal.SIGKILL)
        recorder.communicate()
    file = next(tmp_path.glob("*.rlc.gz"))
    result = Replay(ReplaySettings("okx", (file,), strategy="")).run()
    assert set(result.states.values()) == {"LIVE"}
    assert result.gaps == []
    assert result.damaged_lines <= 1, "only the last line may be torn"


def test_a_venue_that_is_not_there_is_an_error_and_no_empty_success(tmp_path: Path) -> None:
    nowhere = {"symbols": ["BTCUSDT"], "ws": "ws://127.0.0.1:1", "rest": "http://127.0.0.1:1"}
    done = subprocess.run(record("binance_usdm", nowhere, tmp_path, "--duration", "1"), capture_output=True)  # type: ignore[arg-type]
    assert done.returncode == 2
    assert b"127.0.0.1:1" in done.stderr
    assert b"Traceback" not in done.stderr


def test_info_of_what_is_no_capture_says_so(tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("hello\n")
    done = subprocess.run([*COMMAND, "capture", "--info", str(file)], capture_output=True, text=True)
    assert done.returncode == 2
    assert "notes.txt:1" in done.stderr
