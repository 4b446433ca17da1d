"""What a program does when nobody reads its output any more, as behind `| head`: it ends without a traceback."""

from __future__ import annotations

import functools
import os
import select
import sys
from collections.abc import Callable
from typing import ParamSpec

P = ParamSpec("P")

CLOSED = 141  # 128 + SIGPIPE, as a shell tells it of programs that the signal ends


def program(main: Callable[P, int]) -> Callable[P, int]:
    """Of a `main` that returns its exit status: CLOSED when standard output was closed before it was done. A pipe of its own
    that breaks is raised as ever."""

    @functools.wraps(main)
    def run(*args: P.args, **kwargs: P.kwargs) -> int:
        try:
            return main(*args, **kwargs)
        except BrokenPipeError:
            if not _closed():
                raise
            return CLOSED
        finally:  # also of what argparse prints before it exits: else the interpreter complains at its end
            _flush()

    return run


def _closed() -> bool:
    """Whether nobody holds the other end of standard output."""
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)
    return any(events & (select.POLLERR | select.POLLHUP) for _, events in poll.poll(0))


def _flush() -> None:
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())  # what is still buffered goes there
        os.close(nowhere)
