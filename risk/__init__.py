"""May this be sent? Limits, checks, the gate, positions, exposure and PnL: a library without I/O.

`gate` runs the pure functions of `checks` cheap-first against `limits`, the books' certificates and
`exposure`; `positions` and `pnl` hold the exact integer arithmetic; `halt` is the table of trading states.
"""
