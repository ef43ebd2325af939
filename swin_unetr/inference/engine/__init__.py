"""One scan through a network: windows, sums, memory."""
