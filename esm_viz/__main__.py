"""The command line: `esm-viz`, where the package is installed, and `python -m esm_viz` are the same."""

import sys

from esm_viz.cli.command_line import main


def run() -> int:
    """Run the command that this process was started with, and return its exit status."""
    return main(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(run())
