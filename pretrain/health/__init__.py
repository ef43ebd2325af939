"""Whether the encoder is learning: figures, pictures, warnings and a probe while a pre-training runs."""
