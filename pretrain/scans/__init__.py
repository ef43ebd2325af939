"""Unlabelled scans at scale: finding them, a cache of blocks on disk, random crops in batches."""
