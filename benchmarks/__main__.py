"""`python -m benchmarks [WHAT] [--quick] [--rounds N]`: print the figures we quote."""

from __future__ import annotations

import argparse

WHAT = ("engine", "demo", "polar", "routed", "memory", "browser", "opening", "crowd", "soak", "labelfree", "lora")


def main() -> None:
    """Run one benchmark."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Print the figures we quote.")
    parser.add_argument("what", nargs="?", choices=WHAT, default="engine", help="see benchmarks/README.md")
    parser.add_argument("--quick", action="store_true", help="2 blocks instead of all, smaller sizes")
    parser.add_argument("--rounds", type=int, help="of which the median is printed; of labelfree the trials")
    options = parser.parse_args()
    # Each needs only its own libraries.
    if options.what in ("engine", "demo"):
        from benchmarks import engine

        engine.main(options.rounds or 3, options.quick, options.what == "demo")
    elif options.what == "polar":
        from benchmarks import polar

        polar.main(options.rounds or 3, options.quick)
    elif options.what == "lora":
        from benchmarks import lora

        lora.main(options.rounds or 3, options.quick)
    elif options.what == "routed":
        from benchmarks import routed

        routed.main(options.rounds or 10)
    elif options.what == "memory":
        from benchmarks import memory

        memory.main(options.quick)
    elif options.what == "opening":
        from benchmarks import opening

        opening.main(options.rounds or 5)
    elif options.what == "labelfree":
        from benchmarks import labelfree

        labelfree.main(options.rounds or (10 if options.quick else labelfree.TRIALS), options.quick)
    elif options.what == "crowd":
        from benchmarks import crowd

        crowd.main(3 if options.quick else crowd.PEOPLE, options.rounds or crowd.MOVES)
    elif options.what == "soak":
        from benchmarks import soak

        soak.main(options.rounds or (100 if options.quick else soak.MOVES), 10 if options.quick else soak.CYCLES)
    else:
        from benchmarks import browser

        browser.main(options.rounds or 30)


if __name__ == "__main__":
    main()
