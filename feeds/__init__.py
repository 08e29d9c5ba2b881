"""From a venue's frames to proven books: decode, continuity, private book, slab and ring.

A library that knows nothing of processes. `session.FeedSession` is the middle: frames of one venue's
connections go in, book states, gaps and snapshot requests come out; `core.FeedCore` does what happens once
per frame.
"""
