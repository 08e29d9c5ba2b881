"""Formal models of the shared-memory protocols, checked exhaustively by spin."""
