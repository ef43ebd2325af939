"""Scores lesion by lesion."""
