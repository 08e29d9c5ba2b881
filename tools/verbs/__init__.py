"""The verbs of the command `ringlane`, one file and one function each."""
