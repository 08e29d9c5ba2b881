"""Outside, reading: the command `ringlane`, its verbs, simulated venues, benchmarks, the embedded default.

Imports everything below; nothing imports it (the engine starts a simulated venue by its command line).
Read first: `cli.py`, then the verb of interest in `verbs/`, `venues/README.md` for the simulated venues.
"""
