"""Shared memory: everything that crosses a process boundary in Ringlane.

What: segments, instance and run, rings, doorbells, seqlock snapshots, books, counters, histograms,
records, instruments, units and the journal, each a fixed layout with a typed face.
Imports: nothing of Ringlane. May be imported by every other package.
Read first: `native/shm_layout.h` (all layouts), then `native/shm_ring.h`, then `README.md`.
"""
