"""Damaged frames under the sanitizers: no stray access, no undefined behavior, no meaning of their own."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.fuzz import sanitized

VENUES = ("binance_usdm", "okx", "bybit_linear")
PIECE = 250_000


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sanitized.build(tmp_path_factory.mktemp("sanitized"))


def run_piece(package: Path, venue: str, count: int, seed: int) -> None:
    done = sanitized.campaign(package, venue, count, seed)
    assert done.returncode == 0, done.stdout[-4000:]
    assert done.stdout.split() == [str(package), str(count)], "it was the sanitized package that ran"


@pytest.mark.prove
@pytest.mark.timeout(900)
@pytest.mark.parametrize("venue", VENUES)
def test_damaged_frames_are_safe_and_mean_the_same(package: Path, venue: str) -> None:
    run_piece(package, venue, 200_000, 2)


@pytest.mark.prove
@pytest.mark.timeout(900)
def test_a_read_behind_a_frame_is_seen(package: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(package, broken, symlinks=True)
    headers = tmp_path / "headers"
    shutil.copytree(sanitized.ROOT / "feeds/native", headers / "feeds/native")
    text = (headers / "feeds/native/message.h").read_text()
    assert text.count("#define FEED_PADDING 64u") == 1
    (headers / "feeds/native/message.h").write_text(text.replace("FEED_PADDING 64u", "FEED_PADDING 1u"))
    scratch = (headers / "feeds/native/object.h").read_text()
    # As much room as the frame has, so that the first byte behind it is not the frame's.
    assert scratch.count("uint32_t capacity = 65536;") == 1
    scratch = scratch.replace("uint32_t capacity = 65536;", "uint32_t capacity = (uint32_t)n + FEED_PADDING;")
    (headers / "feeds/native/object.h").write_text(scratch)
    sanitized.compile_module(broken, "feeds.venues.okx.decode", headers)
    done = sanitized.campaign(broken, "okx", 2_000, 3)
    assert done.returncode != 0
    assert "heap-buffer-overflow" in done.stdout, done.stdout[-2000:]


@pytest.mark.soak
@pytest.mark.parametrize("venue", VENUES)
def test_ten_million_damaged_frames_are_safe_and_mean_the_same(package: Path, venue: str) -> None:
    frames = int(os.environ.get("RINGLANE_FUZZ_FRAMES", 10_000_000)) // len(VENUES)
    for seed in range(1 + frames // PIECE):
        run_piece(package, venue, PIECE, 1000 + seed)
