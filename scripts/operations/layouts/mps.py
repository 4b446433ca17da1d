"""NVIDIA's Multi-Process Service: the speech model and its detokenizer share a GPU at once instead of by slices of time.

The control daemon is started for our services alone (a pipe folder of its own, named in their environment), and ended with
them. Where another one serves this user already, the services use that and it is left alone.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

CONTROL = "nvidia-cuda-mps-control"
PIPES, LOGS = "CUDA_MPS_PIPE_DIRECTORY", "CUDA_MPS_LOG_DIRECTORY"
USUAL_PIPES = Path("/tmp/nvidia-mps")  # noqa: S108  # where programs look that are told nothing
TIMEOUT_S = 20.0
LONGEST_PIPES = 80  # characters: the daemon makes sockets in that folder, whose whole path has room for 107

Say = Callable[[str], None]


def begin(run_dir: Path, log_dir: Path, environment: Mapping[str, str], say: Say) -> dict[str, str]:
    """Start the daemon where the driver has it; the variables that its programs need, or none without it."""
    control = shutil.which(CONTROL, path=environment.get("PATH"))
    if control is None:
        return {}
    if environment.get(PIPES) or _answers(control, {**environment, PIPES: str(USUAL_PIPES)}):
        say("GPU: using the CUDA MPS daemon that is there")
        return {}
    pipes, logs = (run_dir / "mps").resolve(), (log_dir / "mps").resolve()
    if len(str(pipes)) > LONGEST_PIPES:
        say(f"note: no CUDA MPS, the path {pipes} is too long for its sockets; the services take turns on the GPU")
        return {}
    for folder in (pipes, logs):
        folder.mkdir(parents=True, exist_ok=True)
    own = {PIPES: str(pipes), LOGS: str(logs)}
    whole = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", **environment, **own}
    if _answers(control, whole):  # of a start that was killed
        return own
    started = _ask(control, whole, "-d")
    if not _answers(control, whole):
        say(
            f"note: no CUDA MPS, its daemon did not start ({started or 'no reason given'}); the services take turns on the GPU"
        )
        shutil.rmtree(pipes)
        return {}
    say(f"GPU: CUDA MPS started, log {logs}/control.log")
    return own


def end(run_dir: Path, environment: Mapping[str, str], say: Say) -> None:
    """End the daemon that `begin` started, if there is one. Its programs must have ended: it waits for them."""
    pipes = (run_dir / "mps").resolve()
    control = shutil.which(CONTROL, path=environment.get("PATH"))
    if control is None or not pipes.is_dir():
        return
    own = {**environment, PIPES: str(pipes)}
    if _answers(control, own):
        _ask(control, own, command="quit")
        say("GPU: CUDA MPS stopped")
    shutil.rmtree(pipes, ignore_errors=True)


def _answers(control: str, environment: Mapping[str, str]) -> bool:
    """Whether a daemon listens. Its folder is looked at first: the program waits long for one that is not there."""
    if not os.path.exists(os.path.join(environment[PIPES], "control")):
        return False
    return _ask(control, environment, command="get_server_list") is None


def _ask(control: str, environment: Mapping[str, str], *options: str, command: str = "") -> str | None:
    """None when it did what it was asked, else what it said."""
    try:
        done = subprocess.run(
            [control, *options],
            input=command and f"{command}\n",
            capture_output=True,
            text=True,
            check=False,
            timeout=TIMEOUT_S,
            env=dict(environment),
        )
    except subprocess.TimeoutExpired:
        return f"no answer within {TIMEOUT_S:g} s"
    except OSError as error:
        return str(error)
    return None if done.returncode == 0 else (done.stderr or done.stdout).strip()
