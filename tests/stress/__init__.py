"""Real processes and threads on real memory: SIGKILL at any instruction, torn reads, lost wake-ups."""
