"""Self-supervised pre-training of the encoder; its room in the house, not furnished yet."""
