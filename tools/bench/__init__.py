"""The shipped benchmarks: each runs beside its floor and its peers, in one process, in one run."""
