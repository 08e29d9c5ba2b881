"""The cast: one module per role, each putting one library into a worker; strategies beside them.

What: `runtime/` hosts actors (drain, context, timers, state, faults; live on uvloop or in one process on a
virtual clock); `market_data`, `reference` and `order_gateway` are the roles of every engine; `strategies/`
decides. Actors never import one another: they meet in rings.
Imports: shm, feeds, risk, profiles and exec. Imported by engine and tools only.
Read first: `runtime/actor.py` (what an actor may do), `runtime/host.py`, then `order_gateway.py`.
"""
