"""Order entry at Bybit: linear contracts and spot of one unified account."""
