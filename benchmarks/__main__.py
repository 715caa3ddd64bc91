"""`python -m benchmarks [engine|browser] [--rounds N]`: print the figures we quote."""

from __future__ import annotations

import argparse


def main() -> None:
    """Run one benchmark, or both."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Print the figures we quote.")
    parser.add_argument("which", nargs="?", choices=("engine", "browser", "all"), default="all")
    parser.add_argument("--rounds", type=int, default=0, help="5 for the engine, 30 for the browser where not given")
    options = parser.parse_args()
    if options.which in ("engine", "all"):
        from benchmarks import engine  # each needs only its own libraries

        engine.main(options.rounds or 5)
    if options.which in ("browser", "all"):
        from benchmarks import browser

        browser.main(options.rounds or 30)


if __name__ == "__main__":
    main()
