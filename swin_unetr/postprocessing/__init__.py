"""Taking connected components out of predictions, and telling what that does to their Dice."""
