# cython: language_level=3
"""C face of the single words: nothing; compiled code uses `native/shm_atomics.h` itself."""
