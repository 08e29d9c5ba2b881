"""What decoding must reach beside parsers, floor and peers, as ratios of medians of one run."""

from __future__ import annotations

from collections.abc import Sequence

from tools.bench.common import OURS, Goal, Measurement

COST = "cost_ns_per_frame"
BOOK = "book_bytes"
#: (way, how many times its cost ours may be at most)
AT_MOST = (("orjson.loads", 0.5), ("floor", 2.0))
#: The floor is a loop in C, so ours is held against it in one too; with a call from Python each it is shown.
IN_C = "ringlane, in a C loop"
#: (way, how many times our cost its must be at least)
AT_LEAST = (("NautilusTrader", 100.0), ("cryptofeed", 25.0), ("cryptofeed, top read", 300.0))
BOOK_KB = 350


def decode_goals(
    results: Sequence[Measurement], names: Sequence[str], *, synthetic: Sequence[str] = ()
) -> list[Goal]:
    """Hold the measurements against the goals.

    Args:
        results: all of them; metrics are `COST` or `BOOK`, a blank and the name of the messages.
        names: of the messages, in the order of the goals.
        synthetic: of those names the ones whose messages are made up: their ratios decide nothing.
    """
    medians = {(r.name, r.metric): r.median for r in results}
    goals: list[Goal] = []
    for name in names:
        counts = name not in synthetic
        ours = medians.get((OURS, f"{COST} {name}"))
        floor = medians.get(("floor", f"{COST} {name}"))

        def ratio(above: float | None, below: float | None) -> float | None:
            return above / below if above and below else None

        for way, limit in AT_MOST:
            its = medians.get((way, f"{COST} {name}"))
            if way == "floor":
                looped = medians.get((IN_C, f"{COST} {name}"))
                goals.append(Goal(f"{name}: {IN_C} / {way}", ratio(looped, its), limit, False, counts))
                goals.append(Goal(f"{name}: {OURS} / {way}", ratio(ours, its), limit, False, False))
            else:
                goals.append(
                    Goal(f"{name}: {OURS} / {way}", ratio(ours, its), limit, False, counts, ratio(floor, its))
                )
        for way, limit in AT_LEAST:
            its = medians.get((way, f"{COST} {name}"))
            if its is not None:
                goals.append(
                    Goal(f"{name}: {way} / {OURS}", ratio(its, ours), limit, True, counts, ratio(its, floor))
                )
        size = medians.get((OURS, f"{BOOK} {name}"))
        goals.append(Goal(f"{name}: kB of a private book", size / 1000 if size else None, BOOK_KB, False))
    return goals
