"""Fills of the simulator beside hftbacktest's: one recorded market, the same orders, differences named."""
