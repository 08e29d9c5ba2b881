"""Simulated venues: loopback servers that speak a venue's real market-data protocol."""
