"""Counts, overlaps and distances of one pair of label maps."""
