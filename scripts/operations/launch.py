"""Become a service: write the PID file, then turn into the program, which keeps the PID and the start time.

    python3 -m scripts.operations.launch RUN_DIR NAME URL LOG PROGRAM [ARGUMENT …]

The file is written on this side of the fork, so that a start that is itself killed leaves no service without one.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from scripts.operations import pidfile
from scripts.operations.processes import find


def main() -> None:
    run_dir, name, url, log, *command = sys.argv[1:]
    me = find(os.getpid())
    assert me is not None
    pidfile.write(Path(run_dir), pidfile.PidFile(name=name, pid=me.pid, started=me.started, url=url, log=log))
    try:
        os.execvp(command[0], command)  # noqa: S606  # the same argument list that Popen would run
    except OSError as error:
        sys.exit(f"cannot run {command[0]}: {error.strerror}")


if __name__ == "__main__":
    main()
