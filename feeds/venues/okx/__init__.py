"""OKX: SPOT, SWAP, FUTURES and OPTION instruments of one symbol namespace."""
