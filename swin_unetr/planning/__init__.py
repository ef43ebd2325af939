"""From the facts of a data set to a recipe: fingerprint, rules with their reasons, and what a training step takes."""
