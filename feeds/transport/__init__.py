"""Connections: websockets, HTTP, back-off and rate budgets; shared by market data and order entry."""
