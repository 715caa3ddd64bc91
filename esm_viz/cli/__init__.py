"""The command line: commands, and their results as text and JSON."""

from esm_viz.cli.command_line import main

__all__ = ["main"]
