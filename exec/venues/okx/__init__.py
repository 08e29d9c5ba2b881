"""Order entry at OKX."""
