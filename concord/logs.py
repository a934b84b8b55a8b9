"""A job's log file: what it prints, and the reason where it ends early."""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from concord.errors import UserError


@contextmanager
def log_to(path: str) -> Iterator[None]:
    """Send standard output and error, of child processes too, to the file.

    A UserError ends the process with its text and status 1, without a traceback.
    """
    with open(path, "w", buffering=1, encoding="utf-8") as file:  # noqa: PTH123
        os.dup2(file.fileno(), sys.stdout.fileno())
        os.dup2(file.fileno(), sys.stderr.fileno())
        logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
        try:
            yield
        except UserError as error:
            print(f"error: {error}", file=sys.stderr)
            sys.exit(1)
