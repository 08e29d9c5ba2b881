"""The rest between two steps of storing: gathered while the journal grows, and no greed behind it."""

from __future__ import annotations

from actors.persistence.pace import GATHER_S, IDLE_MAX_S, Pace


def test_a_growing_journal_is_gathered_and_one_that_is_far_behind_gets_half_of_a_core() -> None:
    pace = Pace(0.2, 500)
    assert pace.rest_s(10, 0.002) == GATHER_S
    assert pace.rest_s(500, 0.012) == 0.012
    assert pace.rest_s(500, 3.0) == GATHER_S  # a slow server is not waited for twice


def test_idle_rests_grow_and_begin_anew_with_the_next_entry() -> None:
    pace = Pace(0.2, 500)
    assert [pace.rest_s(0, 0.0) for _ in range(6)] == [0.2, 0.4, 0.8, 1.6, IDLE_MAX_S, IDLE_MAX_S]
    pace.rest_s(1, 0.0)
    assert pace.rest_s(0, 0.0) == 0.2
    assert [Pace(10.0, 500).rest_s(0, 0.0) for _ in range(2)] == [10.0, 10.0]
