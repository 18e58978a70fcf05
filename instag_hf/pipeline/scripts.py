"""How a script ends: with what it was asked for, or with one sentence."""

import logging
import sys
from collections.abc import Callable

from instag_hf.errors import InstagError, Interrupted


def run_script(main: Callable[[], None]) -> None:
    """Call what a script does; our own errors and Ctrl-C end it with status 1 and one sentence."""
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)  # or it lists the tasks that a run which ends early leaves
    try:
        main()
    except (Interrupted, KeyboardInterrupt):
        sys.exit("\nstopped; run the same line again, and it goes on where it stopped")
    except InstagError as error:
        sys.exit(f"error: {error}")
