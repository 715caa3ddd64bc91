"""Searches over knobs: the α search, sweeps over a grid of knobs, and the search over several knobs at once."""
