"""The command line's way in: run one command, print its result, return its exit status.

Results go to standard output (`--json` for programs), progress to standard error. Status 0 done, 2 the input is
wrong, 130 stopped; what is wrong is one line, `error: what, where, what to do`.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence

from esm_viz.cli.argument_parser import HelpShown, argument_parser
from esm_viz.cli.commands import print_result
from esm_viz.core.errors import Cancelled, EsmVizError

DONE, FAILED, WRONG_INPUT, STOPPED = 0, 1, 2, 130
_log = logging.getLogger("esm_viz")


def main(argv: Sequence[str]) -> int:
    """Run one command, `app` where none is given, and return its exit status.

    It never exits, and may be called many times in one process.
    """
    try:
        options = argument_parser().parse_args(list(argv) or ["app"])
        result, text = options.run(options)
        print_result(options, result, text)
    except BrokenPipeError:  # the reader of our output had enough
        return DONE
    except (Cancelled, KeyboardInterrupt):
        print("stopped", file=sys.stderr)
        return STOPPED
    except EsmVizError as error:
        print(f"error: {error}", file=sys.stderr)
        return WRONG_INPUT
    except HelpShown:
        return DONE
    except Exception as error:  # noqa: BLE001 - the last line of defence: one sentence, the rest in the debug log
        _log.debug("unexpected", exc_info=True)
        print(f"error: {type(error).__name__} that should not happen, please report it", file=sys.stderr)
        return FAILED
    return DONE
