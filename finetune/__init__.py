"""Supervised fine-tuning of Swin UNETR on labelled scans."""
