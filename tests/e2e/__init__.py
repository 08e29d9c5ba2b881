"""Whole engines: real processes, real sockets, real shared memory, from the command line."""
