"""Start the studio: `python app.py [RECIPE] [--host] [--port] [--device] [--share]`."""

from __future__ import annotations

import argparse
import sys

from esm_viz.errors import EsmVizError


def main(argv: list[str] | None = None) -> int:
    """Read the flags and serve until interrupted; a wrong recipe is one line on standard error."""
    parser = argparse.ArgumentParser(prog="app.py", description="A studio for Essential Subspace Merging.")
    parser.add_argument("recipe", nargs="?", help="a recipe file (default: the demo)")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=7860, help="port to listen on (default: %(default)s)")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"), help="where to compute")
    parser.add_argument("--share", action="store_true", help="make a public link")
    flags = parser.parse_args(argv)
    from esm_viz.ui import serve

    try:
        serve(flags.recipe, flags.host, flags.port, flags.device, flags.share)
    except EsmVizError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
