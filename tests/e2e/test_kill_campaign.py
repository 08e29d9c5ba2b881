"""A whole engine whose workers and supervisor are killed at random moments, again and again."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from tests.kit.campaign import Campaign

KILLS = int(os.environ.get("RINGLANE_ENGINE_KILLS", "100"))
SEED = int(os.environ.get("RINGLANE_KILL_SEED", "0")) or random.SystemRandom().getrandbits(32)


def fight(folder: Path, seed: int, kills: int, supervisors: int) -> Campaign:
    """Kill that many workers, and the supervisor that many times in between; everything is checked."""
    campaign = Campaign(folder, seed)
    try:
        campaign.wait_healthy()
        for life in range(supervisors + 1):
            goal = kills * (life + 1) // (supervisors + 1)
            while campaign.killed - campaign.kills.get("supervisor", 0) < goal:
                campaign.kill_workers()
            if life < supervisors:
                campaign.kill_supervisor()
        campaign.stop()
    finally:
        campaign.close()
    return campaign


@pytest.mark.prove
@pytest.mark.timeout(1500)
def test_an_engine_survives_a_campaign_of_kills(tmp_path: Path) -> None:
    campaign = fight(tmp_path, SEED, KILLS, 4)
    assert campaign.kills["supervisor"] == 4
    assert len(set(campaign.epochs)) == 5
    assert len(campaign.kills) > 2, f"several roles were hit: {campaign.kills}"


@pytest.mark.soak
@pytest.mark.timeout(0)
def test_engines_survive_thousands_of_kills(tmp_path: Path) -> None:
    """RINGLANE_ENGINE_KILLS of them in campaigns of a hundred; each campaign is a new instance."""
    total = max(KILLS, 2000)
    done = 0
    while done < total:
        folder = tmp_path / str(done)
        folder.mkdir()
        done += fight(folder, SEED + done, 100, 5).killed
