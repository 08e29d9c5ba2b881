"""The whole engine in one process on a virtual clock."""
