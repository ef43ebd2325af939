"""From a file to what the network sees, and back: reading, preprocessing, augmentation, labels, inversion."""
