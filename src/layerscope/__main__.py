"""The program: ``layerscope``, or ``python -m layerscope``."""

from __future__ import annotations

import atexit
import os
import sys

__all__ = ["main"]


def main() -> None:
    """Run the command line and leave the process at once, with everything written.

    Python would take apart all objects, and the system unload PyTorch's libraries, for nothing: that takes up to half
    a second and more than 100 MB.
    """
    status: list[int] = []
    atexit.register(_leave, status)  # what is registered first is called last: before anything else is imported
    from layerscope.cli import app

    try:
        app()
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            status.append(end.code or 0)
        raise


def _leave(status: list[int]) -> None:
    """Leave with the status that the command ended with, unless something went wrong."""
    if not status:
        return
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:
        return  # nobody reads it any more, which Python has a status of its own for
    os._exit(status[0])


if __name__ == "__main__":
    main()
