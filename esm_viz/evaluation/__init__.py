"""Predictions on labelled images: accuracy, comparisons of models image by image, and a check of each expert."""
