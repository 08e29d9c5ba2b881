"""What the machine is and does: facts, checks with what to do about each, and measurements per core."""
