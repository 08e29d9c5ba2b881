# cython: language_level=3
"""The loops of `bench rate` are called from Python only: nothing to declare."""
