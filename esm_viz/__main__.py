"""`python -m esm_viz`: the command line."""

import sys

from esm_viz.cli.commands import main

sys.exit(main(sys.argv[1:]))
