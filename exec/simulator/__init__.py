"""The one matching and queue model: paper trading, replay and the simulated venues all fill from it.

`matcher` holds the venue, `depth` what is displayed, `queue_position` where resting orders stand,
`queue_model` how they advance, `latency` how long messages are under way.
"""
