"""Removes connected components from predictions, and computes what that does to their Dice."""
