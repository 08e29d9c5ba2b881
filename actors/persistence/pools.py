"""How many connections and how much waiting room so many traded pairs get: the sizes as formulas."""

from __future__ import annotations

DATABASE_MIN, DATABASE_MAX, PAIRS_PER_DATABASE = 5, 20, 10
MIRROR_MIN, MIRROR_MAX, PAIRS_PER_MIRROR = 10, 40, 5
QUEUE_MIN, QUEUE_MAX, QUEUE_PER_PAIR = 100, 1_000, 10


def connections_for(pairs: int) -> int:
    """Database connections: a tenth of the pairs, at least 5, at most 20."""
    return min(DATABASE_MAX, max(DATABASE_MIN, pairs // PAIRS_PER_DATABASE))


def mirror_connections_for(pairs: int) -> int:
    """Redis or Valkey connections: a fifth of the pairs, at least 10, at most 40."""
    return min(MIRROR_MAX, max(MIRROR_MIN, pairs // PAIRS_PER_MIRROR))


def queue_size_for(pairs: int) -> int:
    """Commands or requests that may wait in one queue: ten for each pair, at least 100, at most 1,000."""
    return min(QUEUE_MAX, max(QUEUE_MIN, pairs * QUEUE_PER_PAIR))
