"""`ringlane capture` against simulated venues: what is recorded replays to proven books, after a kill too."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import orjson
import pytest

from feeds.capture_writer import CaptureWriter
from tests.kit.engine_run import until
from tests.kit.feed_rig import depth, plain
from tools.capture_info import describe
from tools.recorder import Recorder, RecorderSettings
from tools.replay import Replay, ReplaySettings
from tools.venues.faults import parse_faults
from tools.venues.run import VenueRun, VenueSettings
from tools.venues.synthetic_source import SyntheticSettings

ROOT = Path(__file__).resolve().parents[2]
CODE = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from tools.cli import main; sys.exit(main())"
COMMAND = [sys.executable, "-P", "-c", CODE]
#: Watchdog of a wait, shorter than that of the test.
NEVER_S = 100.0


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


def has_ended(process: subprocess.Popen[bytes]) -> bool:
    """False; a process that is waited for must not have ended."""
    assert process.poll() is None
    return False


def size_of(folder: Path, pattern: str) -> int:
    """Bytes in the files of that name."""
    return sum(path.stat().st_size for path in folder.glob(pattern))


#: The two instruments of each simulated venue: by pattern, by canonical name, by the venue's own.
NAMES = {
    "binance_usdm": ["*-USDT-PERP"],
    "okx": ["BTC-USDT-PERP", "BTC-USDT"],
    "bybit_linear": ["BTC-USDT-PERP", "ETHUSDT"],
}


def record(name: str, ready: dict[str, str], folder: Path, *more: str) -> list[str]:
    symbols = NAMES[name]
    return [
        *COMMAND, "capture", *symbols, "--venue", name, "--ws", ready["ws"], "--rest", ready["rest"],
        "--out", str(folder), "--json", *more,
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["binance_usdm", "okx", "bybit_linear"])
def test_what_was_recorded_replays_to_live_books_as_do_later_files_alone(name: str, tmp_path: Path) -> None:
    with venue(name) as ready:
        command = record(name, ready, tmp_path, "--file-minutes", "0.01")
        recorder = subprocess.Popen(command, stdout=subprocess.PIPE)
        until(lambda: has_ended(recorder) or len(list(tmp_path.glob("*.rlc.gz"))) >= 4, "four files", NEVER_S)
        recorder.terminate()
        told = orjson.loads(recorder.communicate()[0])
    assert recorder.returncode == 0
    assert told["frames"] > 0
    assert told["dropped"] == 0
    files = sorted(tmp_path.glob("*.rlc.gz"))
    info = describe(files)
    assert [row.venue for row in info.venues] == [name]
    assert info.venues[0].frames == told["frames"]
    assert info.venues[0].gaps == []
    assert set(info.venues[0].symbols.values()) == {"LIVE"}
    assert len(info.venues[0].symbols) == 2
    assert not info.damage
    later = describe(files[1:]).venues[0]
    assert set(later.symbols.values()) == {"LIVE"}, "books begin anew with the files behind the first"
    assert later.gaps == []


@pytest.mark.prove
def test_a_connection_that_answers_pings_and_brings_no_data_is_made_anew(tmp_path: Path) -> None:
    async def main() -> None:
        with ExitStack() as stack:
            run = VenueRun(VenueSettings("okx", SyntheticSettings(2, 400.0, 7)))
            await run.start(stack)
            ws, rest = str(run.ready["ws"]), str(run.ready["rest"])
            recorder = Recorder(RecorderSettings("okx", ("*",), tmp_path, ws, rest, silence_s=1.0))
            task = asyncio.create_task(recorder.run())
            while recorder.frames < 100:
                await asyncio.sleep(0.002)
            books = recorder.connections[0]
            mutes = (f"now: mute symbol={symbol} until=subscribed" for symbol in recorder.symbols)
            run.faults.add(parse_faults("; ".join(mutes), "okx"))
            while not all(fault["count"] for fault in run.faults.statistics()):
                await asyncio.sleep(0.002)
            before = books.connects
            while books.is_connected:
                books.send(b"ping")
                await asyncio.sleep(0.002)
            run.hub.faults = None  # a mute meets every connection anew, the next one too
            while books.connects == before:
                await asyncio.sleep(0.002)
            recorder.stop()
            await task
            await run.stop()

    asyncio.run(main())
    info = describe(sorted(tmp_path.glob("*.rlc.gz"))).venues[0]
    assert info.gaps == []
    assert set(info.symbols.values()) <= {"LIVE", "STALE"}, "the capture says that the line was lost"


def test_a_killed_recorder_leaves_a_capture_that_replays(tmp_path: Path) -> None:
    with venue("okx") as ready:
        recorder = subprocess.Popen(record("okx", ready, tmp_path), stdout=subprocess.PIPE)
        # The block of the books is done only after ten seconds: till then they stand in the tail alone.
        until(
            lambda: has_ended(recorder) or size_of(tmp_path, "*.tail") >= 100_000
            or size_of(tmp_path, "*.rlc.gz") >= 5_000,
            "two books and updates are recorded", NEVER_S,
        )  # fmt: skip
        recorder.send_signal(signal.SIGKILL)
        recorder.communicate()
    file = next(tmp_path.glob("*.rlc.gz"))
    result = Replay(ReplaySettings("okx", (file,), strategy="")).run()
    assert set(result.states.values()) == {"LIVE"}
    assert result.gaps == []
    assert result.damaged_lines <= 1, "only the last line may be torn"


@pytest.mark.prove
def test_a_disk_that_is_full_to_the_end_is_told_with_what_was_recorded(tmp_path: Path) -> None:
    room = 60_000
    full = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({room}, {room})); {CODE}"
    with venue("okx") as ready:
        command = record("okx", ready, tmp_path)
        done = subprocess.Popen([*command[:3], full, *command[4:]], stdout=subprocess.PIPE)
        until(lambda: has_ended(done) or size_of(tmp_path, "*.tail") == room, "the disk is full", NEVER_S)
        until(lambda: has_ended(done) or size_of(tmp_path, "*.tail") < room, "it was tried again", NEVER_S)
        done.terminate()
        told = orjson.loads(done.communicate()[0])
    assert done.returncode == 1, "lines were lost"
    assert told["frames"] > 0
    assert told["dropped"] or told["end_error"]
    assert "File too large" in told["last_error"]
    assert describe(sorted(tmp_path.glob("*.rlc.gz"))).lines > 0, "what was written before is whole"


def test_a_venue_that_is_not_there_is_an_error_and_no_empty_success(tmp_path: Path) -> None:
    nowhere = {"symbols": ["BTCUSDT"], "ws": "ws://127.0.0.1:1", "rest": "http://127.0.0.1:1"}
    done = subprocess.run(record("binance_usdm", nowhere, tmp_path, "--duration", "1"), capture_output=True)  # type: ignore[arg-type]
    assert done.returncode == 2
    assert b"127.0.0.1:1" in done.stderr
    assert b"Traceback" not in done.stderr


def test_info_reads_every_file_and_says_which_one_is_no_capture(tmp_path: Path) -> None:
    good, file = tmp_path / "good.txt", tmp_path / "notes.txt"
    good.write_bytes(b"1 " + depth("BTCUSDT", 1, 2, 0) + b"\n")
    file.write_text("hello\n")
    command = [*COMMAND, "capture", "--info", str(good), str(file)]  # as a shell writes "--info *.txt"
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert "notes.txt:1" in done.stderr


def test_info_of_a_recording_that_had_just_begun_says_that_nothing_came(tmp_path: Path) -> None:
    row = plain("BTCUSDT")
    CaptureWriter(tmp_path, "binance_usdm", ["BTCUSDT"], [row]).close()
    info = describe(sorted(tmp_path.glob("*.gz")))
    assert (info.kinds, info.venues[0].venue) == ({"capture": 1, "instruments": 1}, "binance_usdm")
    assert (info.venues[0].frames, info.venues[0].symbols) == (0, {})
