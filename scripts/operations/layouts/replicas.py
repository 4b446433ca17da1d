"""Several S2S services on one machine, one for each GPU, behind HAProxy at the address of one. Pure but for the configuration.

The rules are those of deploy/haproxy, which serve replicas on other machines: a conversation stays where it began, a new one
goes where the fewest are, and a replica that is ill gets none.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from scripts.operations import services
from scripts.operations.layouts.gpus import Gpu
from scripts.operations.services import S2S, Launch, Options, UsageError

CONFIG = Path("deploy/haproxy/haproxy.cfg")
PORTS_FROM = 100  # replica N listens at the port of the service plus this plus N, to this machine alone
# HAProxy cuts all connections at SIGTERM and lets them end at SIGUSR1: the conversations that the replicas still drain.
_BALANCER = 'trap "kill -USR1 \\$balancer" TERM; "$0" -db -f "$1" & balancer=$!; wait; wait $balancer'
_SERVER = re.compile(r"^    server s2s.*\n", re.MULTILINE)


def launches(
    count: int, gpus: Sequence[Gpu], options: Options, environment: Mapping[str, str], log_dir: Path, run_dir: Path
) -> list[Launch]:
    """The replicas, and the balancer in front of them, which has the service's name. Raises UsageError."""
    if gpus and count > len(gpus):
        raise UsageError(
            f"--replicas {count} needs a GPU for each, and there {'is' if len(gpus) == 1 else 'are'} {len(gpus)}"
        )
    if any(word.startswith("--ssl-") for word in services.words_of("S2S_ARGS", environment)):
        raise UsageError("--replicas serves http: put what ends TLS in front of it, or give HAProxy the certificate")
    front = services.launch(S2S, options, environment, log_dir)
    program = shutil.which("haproxy", path=environment.get("PATH"))
    if program is None:
        raise UsageError("--replicas needs HAProxy in front of the services: apt-get install haproxy")
    replicas = [_replica(number, front.port, gpus, options, environment, log_dir) for number in range(1, count + 1)]
    balancer = replace(
        front,
        command=("/bin/sh", "-c", _BALANCER, program, str(config_path(run_dir))),
        log=log_dir / "haproxy.log",
        environment={"LISTEN": f"{front.host}:{front.port}"},
    )
    return [*replicas, balancer]


def config_path(run_dir: Path) -> Path:
    return (run_dir / "haproxy.cfg").resolve()


def config(root: Path, launches: Sequence[Launch]) -> str:
    """The configuration of deploy/haproxy with these replicas (the last of `launches` is the balancer)."""
    lines = "".join(f"    server {one.name} {one.host}:{one.port}\n" for one in launches[:-1])
    return _SERVER.sub("", (root / CONFIG).read_text("utf-8")).rstrip("\n") + "\n" + lines


def _replica(
    number: int, port: int, gpus: Sequence[Gpu], options: Options, environment: Mapping[str, str], log_dir: Path
) -> Launch:
    own = {**environment, "HOST": "127.0.0.1", "S2S_PORT": str(port + PORTS_FROM + number)}
    if gpus:
        index = gpus[number - 1].index
        options = replace(options, s2s_device=f"cuda:{index}", tts_gpu=index)
    launch = services.launch(S2S, options, own, log_dir)
    name = f"{S2S.name}-{number}"
    return replace(launch, name=name, title=f"{S2S.title} {number}", log=log_dir / f"server-{number}.log")
