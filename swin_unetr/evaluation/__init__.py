"""Metrics per case and class, and their report."""
