"""For child processes round a library that writes to standard error what it was given."""

from __future__ import annotations

import logging
import os
import sys


def keep_library_quiet() -> None:
    """From here on, what C code writes to standard error goes nowhere, also why it ends the process; what Python writes there, the
    log with it, goes where it went."""
    sys.stderr.flush()
    ours = os.fdopen(os.dup(2), "w", buffering=1, encoding="utf-8", errors="backslashreplace")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    os.close(nowhere)
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.StreamHandler) and handler.stream is sys.stderr:
            handler.setStream(ours)
    sys.stderr = ours
