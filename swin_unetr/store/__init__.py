"""Preprocessed scans on disk, in compressed blocks: made once, and read a crop at a time."""
