"""The bench of the ring (`runner`): ours, the floors of this machine and the installed peers, in one run."""
