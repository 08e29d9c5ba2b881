"""One shared book against a fetch per strategy: the market-data line of the table of shared services."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tools.bench.common import OURS, BenchResult, Goal, Measurement
from tools.bench.ring.books import LEVELS, STRATEGIES, RedisBooks, SharedBooks
from tools.bench.ring.contender import Contender
from tools.bench.ring.contenders import SHARING
from tools.bench.ring.runner import INSTALL_HINT, measure
from tools.bench.ring.trial import Load

FULL_LOAD = Load(messages=2_200, warm_up=200, rate_per_s=500, bulk=0, limit_s=40)
VISIBLE_P99_NS = 1_000_000


def bench_sharing(
    runs: int,
    *,
    hold_pm_qos: bool = True,
    load: Load = FULL_LOAD,
    progress: Callable[[str], object] = lambda _text: None,
) -> BenchResult:
    """Measure both modes in turn.

    Args:
        runs: turns.
        hold_pm_qos: whether to ask for the shallow idle state.
        load: updates of each trial.
        progress: called with a line before each trial.
    """
    absent = {kind.name: f"{INSTALL_HINT}: {', '.join(kind.missing())}" for kind in SHARING if kind.missing()}
    kinds = [kind for kind in SHARING if kind.name not in absent]
    measured, facts = measure(kinds, absent, runs, load, hold_pm_qos=hold_pm_qos, progress=progress)
    results = [renamed(found) for found in measured]
    visible = [r.median for r in results if r.name == OURS and r.metric == "visible_ns_p99"]
    goal = Goal("visible_ns_p99, shared", visible[0] if visible else None, VISIBLE_P99_NS, at_least=False)
    return BenchResult("sharing", facts, results, notes_of(kinds, load), absent, [goal])


def renamed(found: Measurement) -> Measurement:
    """The same under the names that fit: a ring's latency is here the time until a book is visible."""
    name = OURS if found.name == SharedBooks.name else found.name
    return Measurement(name, found.metric.replace("latency_ns", "visible_ns"), found.unit, found.values)


def notes_of(kinds: Sequence[type[Contender]], load: Load) -> list[str]:
    """What a reader must know."""
    updates = f"{load.messages - load.warm_up:,} updates a run at {load.rate_per_s:,}/s"
    modes = {SharedBooks.name: f"shared ({OURS})", RedisBooks.name: f"per strategy ({RedisBooks.name})"}
    return [
        f"{STRATEGIES} strategies, one book of {LEVELS} levels a side, {updates}",
        "visible: from when an update was due until a strategy has the book; read: the fetch alone",
        *(f"{modes[kind.name]}: {kind.how}" for kind in kinds),
    ]
