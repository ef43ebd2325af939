"""Sliding-window prediction of NIfTI files with trained models."""
