"""Prediction with trained models: sliding window, averaging, back to the source grid, files and their records."""
