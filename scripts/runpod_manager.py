#!/usr/bin/env python3
"""Rent and run pods at RunPod: list, price, create, start, stop, terminate, and their addresses.

    python3 scripts/runpod_manager.py price "NVIDIA A40"
    python3 scripts/runpod_manager.py create --gpu "NVIDIA A40" --name voice
    python3 scripts/runpod_manager.py ssh POD_ID

Needs `pip install -r requirements-runpod.txt` and RUNPOD_API_KEY in the environment; the key is never printed. What spends
money or destroys data asks first, unless --yes is given; --dry-run only says what it would do. Exit status: 0 done, 1 it did
not work or was not wanted, 2 wrong usage.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

KEY_VARIABLE = "RUNPOD_API_KEY"
PORTS = {8002: "S2S", 8003: "ASR", 8004: "TTS"}
PROXY_NAMES = ".proxy.runpod.net"
IMAGE = "runpod/pytorch:2.8.0-py3.11-cuda12.8.1-cudnn-devel-ubuntu22.04"


class ManagerError(Exception):
    """The message says what to do."""


def pod_id(text: str) -> str:
    return _checked(text, r"[A-Za-z0-9]+", "a pod's id has letters and digits")


def gpu_id(text: str) -> str:
    return _checked(text, r"[A-Za-z0-9 ._-]+", "a GPU type is named like 'NVIDIA A40'")


def pod_name(text: str) -> str:
    return _checked(text, r"[A-Za-z0-9 ._-]{1,60}", "a name has up to 60 letters, digits, blanks, dots and dashes")


def image_name(text: str) -> str:
    return _checked(text, r"[A-Za-z0-9./:@_-]+", "an image is named like owner/name:tag")


def _checked(text: str, pattern: str, rule: str) -> str:
    """The package puts these words into its queries as they are."""
    if not re.fullmatch(pattern, text):
        raise argparse.ArgumentTypeError(f"{rule}, got {text!r}")
    return text


def count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"a number from 1, got {text!r}")
    return int(text)


def parse(argv: Sequence[str]) -> argparse.Namespace:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--dry-run", action="store_true", help="say what would be done, and do nothing")
    common.add_argument("--yes", action="store_true", help="do not ask")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)

    commands.add_parser("list", help="your pods")
    price = commands.add_parser("price", help="GPU types, or the price of one")
    price.add_argument("gpu", nargs="?", type=gpu_id)
    price.add_argument("--count", type=count, default=1)

    create = commands.add_parser("create", parents=[common], help="rent a pod")
    create.add_argument("--gpu", type=gpu_id, required=True)
    create.add_argument("--count", type=count, default=1, help="GPUs in the pod")
    create.add_argument("--name", type=pod_name, default="fun-audio-chat")
    create.add_argument("--image", type=image_name, default=IMAGE)
    create.add_argument("--cloud", choices=("ALL", "SECURE", "COMMUNITY"), default="SECURE")
    create.add_argument("--disk-gb", type=count, default=60, help="container disk (default 60)")
    create.add_argument("--volume-gb", type=count, default=100, help="kept while stopped (default 100), at /workspace")

    for name, text in {
        "start": "go on with a stopped pod",
        "stop": "stop it; its volume is kept and still costs",
        "terminate": "give it up with everything on it",
    }.items():
        changed = commands.add_parser(name, parents=[common], help=text)
        changed.add_argument("pod", type=pod_id)
        if name == "start":
            changed.add_argument("--count", type=count, default=1, help="GPUs")
    for name, text in {
        "ssh": "the command that logs in",
        "urls": "the services' addresses behind RunPod's proxy",
    }.items():
        commands.add_parser(name, help=text).add_argument("pod", type=pod_id)
    return parser.parse_args(argv)


def connect(environment: Mapping[str, str]) -> Any:
    """The runpod package with its key set. Raises ManagerError."""
    key = environment.get(KEY_VARIABLE, "")
    if not key:
        raise ManagerError(f"set {KEY_VARIABLE} to your API key (https://www.runpod.io/console/user/settings)")
    try:
        import runpod
    except ModuleNotFoundError as error:
        raise ManagerError("the package runpod is missing: pip install -r requirements-runpod.txt") from error
    runpod.api_key = key
    return runpod


def show_pods(api: Any) -> None:
    pods = api.get_pods()
    if not pods:
        print("no pods")
    for pod in pods:
        machine = pod.get("machine") or {}
        print(
            f"{pod['id']:<16} {pod['name']:<20} {pod['desiredStatus']:<8} "
            f"{pod.get('gpuCount') or 0} x {machine.get('gpuDisplayName') or '-':<14} ${pod.get('costPerHr') or 0:.2f}/h"
        )


def show_prices(api: Any, gpu: str | None, number: int) -> None:
    if gpu is None:
        for entry in sorted(api.get_gpus(), key=lambda entry: (entry["memoryInGb"], entry["id"])):
            print(f"{entry['memoryInGb']:>4} GB  {entry['id']}")
        return
    entry = api.get_gpu(gpu, number)
    print(f"{number} x {entry['displayName']}, {entry['memoryInGb']} GB each")
    for label, key in {"secure cloud": "securePrice", "community cloud": "communityPrice"}.items():
        price = entry.get(key)
        print(f"  {label:<16} " + (f"${price * number:.2f}/h" if price else "not offered"))


def hourly(api: Any, args: argparse.Namespace) -> str:
    """What the pod would cost, for the question: the dearer price where the cloud is open."""
    entry = api.get_gpu(args.gpu, args.count)
    keys = {"SECURE": ["securePrice"], "COMMUNITY": ["communityPrice"], "ALL": ["securePrice", "communityPrice"]}
    prices = [entry[key] for key in keys[args.cloud] if entry.get(key)]
    if not prices:
        raise ManagerError(f"{args.gpu} is not offered in the {args.cloud.lower()} cloud: see the command price")
    return f"${max(prices) * args.count:.2f} an hour, and storage"


def create(api: Any, args: argparse.Namespace) -> bool:
    cost = hourly(api, args)
    if not permitted(args, f"create {args.name!r}: {args.count} x {args.gpu} ({args.cloud.lower()} cloud) for {cost}"):
        return args.dry_run is True
    pod = api.create_pod(
        name=args.name,
        image_name=args.image,
        gpu_type_id=args.gpu,
        gpu_count=args.count,
        cloud_type=args.cloud,
        container_disk_in_gb=args.disk_gb,
        volume_in_gb=args.volume_gb,
        volume_mount_path="/workspace",
        ports=",".join([*(f"{port}/http" for port in PORTS), "22/tcp"]),
        env={"FUN_AUDIO_ALLOWED_HOSTS": PROXY_NAMES},  # for an image that starts the services by itself
    )
    print(f"created {pod['id']}. When it runs: scripts/runpod_manager.py ssh {pod['id']}, then scripts/auto_deploy.py")
    return True


def change(api: Any, args: argparse.Namespace) -> bool:
    pod = find(api, args.pod)
    what = f"{args.command} {pod['name']!r} ({args.pod})"
    price = f"${pod.get('costPerHr') or 0:.2f} an hour"
    question = {
        "start": f"{what} for {price}",
        "stop": f"{what}; running conversations end, the volume is kept and still costs",
        "terminate": f"{what}; ALL DATA ON IT IS LOST",
    }[args.command]
    if not permitted(args, question):
        return args.dry_run is True
    act: dict[str, Callable[[], object]] = {
        "start": lambda: api.resume_pod(args.pod, args.count),
        "stop": lambda: api.stop_pod(args.pod),
        "terminate": lambda: api.terminate_pod(args.pod),
    }
    act[args.command]()
    print(f"{args.pod}: {args.command} was accepted")
    return True


def permitted(args: argparse.Namespace, what: str) -> bool:
    if args.dry_run:
        print(f"would {what}")
        return False
    if args.yes:
        print(what)
        return True
    if not sys.stdin.isatty():
        raise ManagerError(f"{what}: nobody is there to ask; add --yes if that is wanted")
    return input(f"{what}. Type yes: ").strip().lower() == "yes"


def find(api: Any, pod: str) -> dict[str, Any]:
    found = api.get_pod(pod)
    if not found:
        raise ManagerError(f"there is no pod {pod}: see the command list")
    return dict(found)


def show_ssh(api: Any, pod: str) -> None:
    runtime = find(api, pod).get("runtime") or {}
    for port in runtime.get("ports") or []:
        if port["privatePort"] == 22 and port["isIpPublic"]:
            print(f"ssh root@{port['ip']} -p {port['publicPort']}")
            return
    raise ManagerError(f"{pod} has no public SSH port (yet): it must be running, with 22/tcp among its ports")


def show_urls(api: Any, pod: str) -> None:
    ports = str(find(api, pod).get("ports") or "")
    for port, name in PORTS.items():
        if f"{port}/http" in ports.split(","):
            print(f"{name:<4} https://{pod}-{port}{PROXY_NAMES}/")


def act(api: Any, args: argparse.Namespace) -> bool:
    match args.command:
        case "list":
            show_pods(api)
        case "price":
            show_prices(api, args.gpu, args.count)
        case "create":
            return create(api, args)
        case "ssh":
            show_ssh(api, args.pod)
        case "urls":
            show_urls(api, args.pod)
        case _:
            return change(api, args)
    return True


def main(argv: Sequence[str] | None = None) -> int:
    args = parse(sys.argv[1:] if argv is None else argv)
    try:
        api = connect(os.environ)
        import requests
        from runpod.error import RunPodError

        try:
            return 0 if act(api, args) else 1
        except (RunPodError, requests.RequestException, ValueError) as error:
            raise ManagerError(f"RunPod: {error}") from error
    except ManagerError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    raise SystemExit(main())
