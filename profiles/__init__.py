"""How the engine is measured, and how a run is told.

Workers write stamps into shared-memory histograms and counters; this package only reads them, from
outside, so measuring costs the measured nothing. It may import `shm` and nothing else of ours.

Read first: `stamps.py` (the hops of one update and their names), then `report.py` (what a run report
holds), then `process.py` (CPU and memory of a worker, by pid).
"""
