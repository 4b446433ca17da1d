#!/usr/bin/env python3
"""Deploy to a host over SSH: copy or clone the code, set up, download the models, start, verify.

    python3 scripts/auto_deploy.py root@203.0.113.7 --port 22022 --mode auto
    python3 scripts/auto_deploy.py gpu-box --cpu-only --from start

Uses the `ssh` of this machine with its configuration and agent. Each step can be run again and does only what is missing, so
a deployment that broke off is resumed by the same command; a lost connection is taken up again by itself. Where
FUN_AUDIO_API_KEY is set here, the services get it; it appears in no command line. They get FUN_AUDIO_ALLOWED_HOSTS and
FUN_AUDIO_TRUSTED_PROXIES too, and on a RunPod pod are known by the names of its proxy. Exit status: 0 deployed, 1 a step
failed, 2 wrong usage.
"""

from __future__ import annotations

import argparse
import io
import os
import shlex
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
API_KEY_VARIABLE = "FUN_AUDIO_API_KEY"
HOSTS_VARIABLE = "FUN_AUDIO_ALLOWED_HOSTS"
PASSED_ON = (HOSTS_VARIABLE, "FUN_AUDIO_TRUSTED_PROXIES")
RUNPOD_FILE = "/etc/rp_environment"  # a pod's own variables, for what comes by SSH
RUNPOD_PORTS = (8002, 8003, 8004)
CONNECTION_LOST = 255  # ssh's own status
ATTEMPTS = 5
STEPS = ("code", "setup", "download", "start", "verify")


class StepFailed(Exception):
    """The message names the step and the way to go on."""


@dataclass(frozen=True)
class Step:
    """`command` runs in the deployment's folder on the host; `stdin` is sent to it."""

    name: str
    command: str
    stdin: Callable[[], bytes] = bytes


def parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("host", help="[user@]host, or a name from ~/.ssh/config")
    parser.add_argument("--port", type=int, help="of sshd")
    parser.add_argument("--identity", type=Path, help="private key file")
    parser.add_argument(
        "--ssh-option", action="append", default=[], metavar="NAME=VALUE", help="passed to ssh -o (repeat)"
    )
    parser.add_argument(
        "--dir", default="fun-audio-chat", help="folder on the host (default: fun-audio-chat in the home)"
    )
    parser.add_argument(
        "--clone", metavar="URL", help="clone this repository there; without it, this checkout is copied"
    )
    parser.add_argument("--ref", default="HEAD", help="with --clone: branch, tag or commit")
    parser.add_argument("--cpu-only", action="store_true", help="embedded engines: no torch, no models")
    parser.add_argument("--source", choices=("huggingface", "modelscope"), default="huggingface")
    parser.add_argument("--bind", default="127.0.0.1", help="address that the services listen on (default 127.0.0.1)")
    parser.add_argument("--mode", choices=("auto", "A", "B", "C", "D"), help="as in start_services.sh")
    parser.add_argument("--with-tts", action="store_true")
    parser.add_argument(
        "--from", dest="first", choices=STEPS, default=STEPS[0], help="leave out the steps before this one"
    )
    parser.add_argument("--dry-run", action="store_true", help="print what would be run on the host")
    args = parser.parse_args(argv)
    if args.host.startswith("-"):
        parser.error(f"{args.host!r} is not a host")
    return args


def steps_of(args: argparse.Namespace, environment: Mapping[str, str], root: Path) -> list[Step]:
    key = environment.get(API_KEY_VARIABLE, "")
    if args.clone:
        url, ref = shlex.quote(args.clone), shlex.quote(args.ref)
        code = Step(
            "code",
            f"[ -d .git ] || git clone {url} . && git fetch -q origin {ref} && git checkout -q --detach FETCH_HEAD",
        )
    else:
        code = Step("code", "tar -xzf -", lambda: archive(root))
    setup = "./scripts/full_setup.sh --no-doctor" + (" --cpu-only" if args.cpu_only else "")
    options = [*(["--mode", args.mode] if args.mode else []), *(["--with-tts"] if args.with_tts else [])]
    passed_on = [f"{name}={shlex.quote(environment[name])}" for name in PASSED_ON if environment.get(name)]
    known = "; ".join(filter(None, (f"export {' '.join(passed_on)}" if passed_on else "", runpod_names(RUNPOD_FILE))))
    start = f"{known}; HOST={shlex.quote(args.bind)} {shlex.join(['./scripts/start_services.sh', *options])}"
    steps = [
        code,
        Step("setup", setup),
        Step("download", f"./scripts/download_models.sh --source {args.source}"),
        # What an earlier deployment started runs older code.
        Step("start", _with_key(f"./scripts/stop_services.sh; {start}"), lambda: f"{key}\n".encode()),
        Step("verify", _with_key("./scripts/verify_deployment.sh"), lambda: f"{key}\n".encode()),
    ]
    chosen = steps[STEPS.index(args.first) :]
    return [step for step in chosen if step.name != "download" or not args.cpu_only]


def runpod_names(file: str) -> str:
    """Shell words after which the services of a RunPod pod are known by its proxy's names; elsewhere they do nothing."""
    names = ",".join(f"$RUNPOD_POD_ID-{port}.proxy.runpod.net" for port in RUNPOD_PORTS)
    return (
        f"[ ! -r {file} ] || . {file}; "
        f'[ -z "${{RUNPOD_POD_ID:-}}" ] || export {HOSTS_VARIABLE}="${{{HOSTS_VARIABLE}:+${HOSTS_VARIABLE},}}{names}"'
    )


def archive(root: Path) -> bytes:
    """The checkout as git sees it: tracked files, and untracked ones that are not ignored."""
    listing = subprocess.run(
        ["git", "ls-files", "-coz", "--exclude-standard"], cwd=root, capture_output=True, check=True
    ).stdout
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name in filter(None, listing.decode().split("\0")):
            if (root / name).exists():
                tar.add(root / name, arcname=name, recursive=False)
    return buffer.getvalue()


def run(args: argparse.Namespace, steps: Sequence[Step], sleep: Callable[[float], None] = time.sleep) -> None:
    """Raises StepFailed."""
    for step in steps:
        print(f"=== {step.name}: {step.command}", flush=True)
        for attempt in range(1, ATTEMPTS + 1):
            status = subprocess.run(ssh_command(args, step), input=step.stdin(), check=False).returncode
            if status != CONNECTION_LOST or attempt == ATTEMPTS:
                break
            print(f"=== the connection was lost, attempt {attempt + 1} of {ATTEMPTS}", flush=True)
            sleep(2.0**attempt)
        if status:
            reason = "the host cannot be reached" if status == CONNECTION_LOST else f"ended with status {status}"
            raise StepFailed(f"{step.name}: {reason}. Go on with the same command and --from {step.name}")


def ssh_command(args: argparse.Namespace, step: Step) -> list[str]:
    options = [
        "BatchMode=yes",
        "ConnectTimeout=20",
        "ServerAliveInterval=15",
        "ServerAliveCountMax=4",
        *args.ssh_option,
    ]
    port = ["-p", str(args.port)] if args.port else []
    identity = ["-i", str(args.identity)] if args.identity else []
    folder = shlex.quote(args.dir)
    script = f"set -e; mkdir -p {folder}; cd {folder}; {step.command}"
    return [
        "ssh",
        *port,
        *identity,
        *(f"-o{option}" for option in options),
        args.host,
        f"bash -c {shlex.quote(script)}",
    ]


def _with_key(command: str) -> str:
    """The key comes on standard input, so that no list of processes shows it."""
    return f"IFS= read -r {API_KEY_VARIABLE}; export {API_KEY_VARIABLE}; {command}"


def main(argv: Sequence[str] | None = None, root: Path = ROOT) -> int:
    args = parse(sys.argv[1:] if argv is None else argv)
    steps = steps_of(args, os.environ, root)
    if args.dry_run:
        for step in steps:
            print(shlex.join(ssh_command(args, step)))
        return 0
    try:
        run(args, steps)
    except (StepFailed, FileNotFoundError, subprocess.CalledProcessError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    where = f"{args.host}:{args.dir}"
    print(f"deployed to {where}. From here: ssh -L 8002:127.0.0.1:8002 {args.host}, then http://127.0.0.1:8002/")
    return 0


if __name__ == "__main__":
    if {"--dry-run", "-h", "--help"} & set(sys.argv):
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `| head`; where it works, pipes to ssh break without ending it
    raise SystemExit(main())
