"""Readers of a running engine: segments mapped read-only become rows that a screen or a script shows."""
