"""Builds the Lightning Trainer, its callbacks and loggers, in one place."""
