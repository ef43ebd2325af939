"""What a data set holds, read once: facts of every file, kept as JSON. Knows no torch."""
