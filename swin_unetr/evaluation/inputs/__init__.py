"""What is compared: cases, pairs of files, their labels."""
