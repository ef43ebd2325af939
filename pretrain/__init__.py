"""Self-supervised pre-training of the encoder on unlabelled scans."""
