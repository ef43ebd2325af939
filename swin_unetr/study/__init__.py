"""Studies: which of several ways to train is better, on the same cases and the same budget."""
