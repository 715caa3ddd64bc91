"""Searches over knobs: α alone, a grid over some, several at once."""
