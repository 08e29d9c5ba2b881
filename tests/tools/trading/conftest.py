"""A session over its protocol at the simulated OKX and Bybit in turn, which must agree with it in the end."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.tools.trading.pair_kit import SECOND, Pair
from tests.tools.trading.scenes import SCENES, Scene


@pytest.fixture(params=SCENES)
def scene(request: pytest.FixtureRequest) -> Scene:
    return SCENES[request.param]


@pytest.fixture
def pair(scene: Scene) -> Iterator[Pair]:
    made = scene.make().up()
    yield made
    made.run(5 * SECOND)
    made.agree()
