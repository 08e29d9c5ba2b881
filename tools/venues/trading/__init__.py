"""Simulated venues that trade: one exchange core, each venue's order protocol over it."""
