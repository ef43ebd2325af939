"""Predictions against references: metrics per case and structure, statistics, the report."""
