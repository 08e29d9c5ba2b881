"""Outside, reading: the command `ringlane`, its verbs, simulated venues, benchmarks, the embedded default."""
