"""The stage: what a configuration becomes, who starts whom, and what happens when one dies.

Five sentences tell the whole. A worker is one process with one event loop on one core, and it hosts actors.
Actors share nothing but what stands in a segment of shared memory, and they meet in rings. The supervisor
creates every segment and every bell, starts the workers in order, watches them, restarts them, and is never
on the data path. A configuration is validated whole and then becomes a numbered generation that each worker
applies between two messages. An end of any kind cancels orders first, and leaves no process, segment or
socket.

Layers, each importing only what stands below it::

    tools     the command, outside readers, simulated venues
    engine    config, topology, placement, supervisor        (this package)
    actors    the runtime and one module per role
    exec      orders, OMS, journal users, simulator          (shm and feeds.transport only)
    feeds, risk, profiles                                    (shm only, never each other)
    shm       layouts, rings, books, records, journal

Read `config.py`, `topology.py`, `supervisor.py` in that order; the failure model is in `README.md`.
"""
