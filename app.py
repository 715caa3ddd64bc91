"""Start the studio: `python app.py [RECIPE]`, the same as `python -m esm_viz app`, whose flags it takes."""

from __future__ import annotations

import sys

from esm_viz.cli.command_line import main

if __name__ == "__main__":
    sys.exit(main(["app", *sys.argv[1:]]))
