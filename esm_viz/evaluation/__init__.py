"""Predictions on labelled images: accuracy, comparisons image by image, and a check that each expert does its task."""
