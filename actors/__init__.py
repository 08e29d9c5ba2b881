"""The cast: one module per role, each putting one library into a worker; strategies beside them."""
