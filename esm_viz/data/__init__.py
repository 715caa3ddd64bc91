"""Data sets: images, their labels, decoding and preprocessing."""
