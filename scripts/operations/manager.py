#!/usr/bin/env python3
"""Start, stop and list the services. The shell scripts call this once the virtual environment is there.

Needs the standard library alone. Exit status: 0 done, 1 it did not work, 2 wrong usage.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from scripts.operations import gpus, modes, mps, pidfile, services, stack, verify
from scripts.operations.layouts import replicas, scheme_b
from scripts.operations.services import Launch, Options, UsageError

ROOT = Path(__file__).resolve().parents[2]

RUN_DIR = ROOT / "run"
LOG_DIR = ROOT / "logs"
START_HELP = """Makes the virtual environment if there is none, installs what is missing, starts the services and waits until
each of them is ready. If one does not come up: status 1, the reason, the end of its log, and nothing is left running.

environment:
  HOST                          address to listen on (default 127.0.0.1: this machine only)
  S2S_PORT ASR_PORT TTS_PORT    ports (default 8002 8003 8004)
  S2S_ARGS ASR_ARGS TTS_ARGS    further options for a service, e.g. S2S_ARGS='--max-sessions 8'
  FUN_AUDIO_API_KEY             key that clients must send; set it when HOST is not loopback
"""
VLLM_HELP = """Scheme B: S2S (8002), text to speech (8004), and Whisper-large-v3 by `vllm serve` (8005) for speech to text, with
OpenAI's interface. Chooses GPUs and memory shares, and checks first that it fits. Stop it with ./scripts/stop_services.sh.

environment:
  HOST                          address to listen on (default 127.0.0.1)
  S2S_PORT TTS_PORT ASR_PORT    ports (default 8002 8004 8005)
  S2S_ARGS TTS_ARGS WHISPER_ARGS   further options, e.g. WHISPER_ARGS='--max-model-len 448'
  WHISPER_MODEL                 folder or name (default pretrained_models/whisper-large-v3, else openai/whisper-large-v3)
  VLLM                          the program (default .venv-vllm/bin/vllm)
  VLLM_API_KEY                  key that clients of Whisper must send
"""


def say(line: str) -> None:
    print(line, flush=True)


def device(text: str) -> str:
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", text):
        raise argparse.ArgumentTypeError(f"a device is auto, cpu, cuda or cuda:N, got {text!r}")
    return text


def gpu_number(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"TTS_GPU is the number of a GPU (0, 1, …), got {text!r}")
    return int(text)


def some(text: str) -> int:
    if not text.isdecimal() or not 2 <= int(text) <= 64:
        raise argparse.ArgumentTypeError(f"a number of services from 2 to 64, got {text!r}")
    return int(text)


def positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"a number of seconds above 0, got {text!r}")
    return value


def _add_start_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--no-mps",
        action="store_true",
        help="on a GPU, do not start CUDA MPS: answers come later, and a fault of one program on the GPU stays its own",
    )
    parser.add_argument("--timeout-s", type=positive, default=600.0, help="how long loading may take (default 600)")
    parser.add_argument("--dry-run", action="store_true", help="print what would be started, and start nothing")


def parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python3 -m scripts.operations.manager", description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)

    start = commands.add_parser(
        "start",
        prog="./scripts/start_services.sh",
        description=START_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    start.add_argument(
        "tts_gpu",
        nargs="?",
        type=gpu_number,
        metavar="TTS_GPU",
        help="GPU that turns speech tokens and text into sound",
    )
    start.add_argument(
        "asr_device", nargs="?", type=device, metavar="ASR_DEVICE", help="device of speech to text: cuda:0, cpu, …"
    )
    start.add_argument("--with-tts", action="store_true", help="start the text-to-speech service too")
    start.add_argument(
        "--use-vllm",
        action="store_true",
        help="text to speech: its language model in vLLM, which ./scripts/full_setup.sh --with-vllm installs",
    )
    start.add_argument(
        "--mode",
        choices=("auto", *modes.LAYOUTS),
        help="choose the devices, and check first that the GPUs can hold it: A one GPU of 24 GB without speech to text, "
        "B two GPUs, C one big GPU, D all three services, auto the fullest of them that fits",
    )
    start.add_argument(
        "--replicas",
        type=some,
        metavar="N",
        help="start N S2S services, one on each GPU, behind HAProxy at S2S_PORT (they listen at S2S_PORT + 101, 102, …)",
    )
    start.add_argument(
        "--models", action="store_true", help="install the packages of the real engines even without weights"
    )
    _add_start_options(start)

    vllm = commands.add_parser(
        "start-vllm",
        prog="./scripts/start_vllm_services.sh",
        description=VLLM_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_start_options(vllm)

    stop = commands.add_parser(
        "stop", prog="./scripts/stop_services.sh", description="Stop exactly what start_services.sh started."
    )
    stop.add_argument(
        "--timeout-s", type=positive, default=45.0, help="time to finish running work before a kill (default 45)"
    )

    commands.add_parser(
        "verify",
        prog="./scripts/verify_deployment.sh",
        description="Check what start_services.sh started: processes, health, GPU memory, one real request to each service, "
        "the last log lines. Status 0 when all of it serves.",
    )
    commands.add_parser("status", description="List what is running.")
    return parser.parse_args(argv)


def options_of(args: argparse.Namespace, environment: Mapping[str, str]) -> Options:
    if args.mode is None:
        return Options(tts_gpu=args.tts_gpu, asr_device=args.asr_device, with_tts=args.with_tts, use_vllm=args.use_vllm)
    if args.tts_gpu is not None:
        raise UsageError("--mode chooses the devices: leave TTS_GPU and ASR_DEVICE out")
    if args.with_tts and args.mode in ("A", "B", "C"):
        raise UsageError(f"mode {args.mode} has no text-to-speech service: --with-tts goes with --mode D or auto")
    found = gpus.look(environment)
    plan = modes.automatic(found, with_tts=args.with_tts) if args.mode == "auto" else modes.plan(args.mode, found)
    for line in plan.arithmetic:
        say(f"mode {plan.mode}: {line}")
    return plan.options(use_vllm=args.use_vllm, with_tts=args.with_tts)


def launches_of(args: argparse.Namespace, environment: Mapping[str, str]) -> list[Launch]:
    options = options_of(args, environment)
    chosen = services.choose(options, ROOT)
    launches = [services.launch(service, options, environment, LOG_DIR) for service in chosen]
    if args.replicas:
        if args.mode or args.tts_gpu is not None:
            raise UsageError("--replicas gives each service a GPU of its own: leave --mode and TTS_GPU out")
        found = gpus.look(environment)
        launches = replicas.launches(args.replicas, found, options, environment, LOG_DIR, RUN_DIR) + launches[1:]
    services.check_ports(launches)
    return launches


def vllm_launches(environment: Mapping[str, str], *, dry_run: bool) -> list[Launch]:
    plan = scheme_b.plan(gpus.look(environment))
    for line in plan.arithmetic:
        say(f"scheme B: {line}")
    launches = scheme_b.launches(plan, environment, ROOT, LOG_DIR)
    services.check_ports(launches)
    if not dry_run:
        scheme_b.check_program(launches[-1], ROOT)
    return launches


def start(args: argparse.Namespace, environment: Mapping[str, str]) -> int:
    vllm = args.command == "start-vllm"
    launches = vllm_launches(environment, dry_run=args.dry_run) if vllm else launches_of(args, environment)
    if args.dry_run:
        for launch in launches:
            say(f"{launch}  # {launch.title}, log {launch.log}")
        return 0
    if any(not is_loopback(launch.host) for launch in launches) and not environment.get("FUN_AUDIO_API_KEY"):
        say("note: listening beyond this machine without a key; set FUN_AUDIO_API_KEY unless the network is trusted")
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    running = _start_all(launches, environment, args)
    say("")
    for item in running:
        launch = item.launch
        say(f"{launch.title:<17} {launch.url}{launch.use}  PID {item.child.pid}  log {launch.log}")
    if better := stack.advice(running, language_of(environment)):
        say(better)
    say("stop them with ./scripts/stop_services.sh")
    return 0


def language_of(environment: Mapping[str, str]) -> str:
    """Of the person at this terminal, as far as we have words: zh or en."""
    locale = next(filter(None, (environment.get(name) for name in ("LC_ALL", "LC_MESSAGES", "LANG"))), "")
    return "zh" if locale.lower().startswith("zh") else "en"


def _start_all(
    launches: Sequence[Launch], environment: Mapping[str, str], args: argparse.Namespace
) -> list[stack.Running]:
    if args.command == "start" and args.replicas:
        RUN_DIR.mkdir(parents=True, exist_ok=True)
        behind = [launch for launch in launches if launch.name.startswith(services.S2S.name)]
        replicas.config_path(RUN_DIR).write_text(replicas.config(ROOT, behind), "utf-8")
    shared = {}
    if not args.no_mps and gpus.look(environment):
        shared = mps.begin(RUN_DIR, LOG_DIR, environment, say)
    launches = [replace(launch, environment={**launch.environment, **shared}) for launch in launches]
    try:
        return stack.start(launches, RUN_DIR, timeout_s=args.timeout_s, say=say)
    except BaseException:
        if shared and not any(RUN_DIR.glob(f"*{pidfile.SUFFIX}")):  # else another start's services use it
            mps.end(RUN_DIR, environment, say)
        raise


def _stop(environment: Mapping[str, str], grace_s: float) -> bool:
    clean = stack.stop(RUN_DIR, grace_s=grace_s, say=say)
    mps.end(RUN_DIR, environment, say)
    return clean


def is_loopback(host: str) -> bool:
    return host in ("localhost", "::1") or host.startswith("127.")


def status() -> int:
    known = pidfile.read_all(RUN_DIR) if RUN_DIR.is_dir() else []
    for item in known:
        say(f"{item.name}: {'running' if item.running else 'died'}, PID {item.pid}, {item.url}, log {item.log}")
    if not known:
        say("nothing is running")
    return 0 if known and all(item.running for item in known) else 1


def _interrupt(number: int, _frame: object) -> None:
    raise KeyboardInterrupt(signal.Signals(number).name)


def main(argv: Sequence[str] | None = None) -> int:
    args = parse(sys.argv[1:] if argv is None else argv)
    try:
        match args.command:
            case "start" | "start-vllm":
                return start(args, os.environ)
            case "stop":
                return 0 if _stop(os.environ, args.timeout_s) else 1
            case "verify":
                return 0 if verify.verify(RUN_DIR, os.environ, say) else 1
            case _:
                return status()
    except UsageError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except (stack.StartFailed, pidfile.DamagedPidFile, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted: everything that was started has been stopped again", file=sys.stderr)
        return 130


if __name__ == "__main__":
    raise SystemExit(main())
