"""From intent to fill: orders, their lifecycle table, the OMS, sessions, the simulator and recovery.

Imports: shm, and feeds.transport once orders leave by a socket. Knows nothing of processes or of `risk`:
verdicts are passed in.
Import only with `from exec.x import Y`: a plain `import exec` would hide the builtin of that name.
Read first: `lifecycle.py` (the table), `oms.pyx`, `simulator/matcher.py`, `recovery.py`.
"""
