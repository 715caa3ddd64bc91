"""Checks of files before long work: finding models in a folder, checking headers, estimating the cost of a merge."""
