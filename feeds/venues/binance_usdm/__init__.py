"""Binance USD-M Futures."""
