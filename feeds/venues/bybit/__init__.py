"""Bybit v5: two venues, `bybit_linear` and `bybit_spot`, with one decoder and one protocol."""
