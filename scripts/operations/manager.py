#!/usr/bin/env python3
"""Start, stop and list the services. The shell scripts call this once the virtual environment is there.

Needs the standard library alone. Exit status: 0 done, 1 it did not work, 2 wrong usage.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from scripts.operations import commands, console, pidfile, services, stack, verify
from scripts.operations.layouts import gpus, modes, mps, replicas, scheme_b
from scripts.operations.layouts.gpus import Gpu
from scripts.operations.services import Launch, Options, UsageError

ROOT = Path(__file__).resolve().parents[2]

RUN_DIR = ROOT / "run"
LOG_DIR = ROOT / "logs"
VENV = ROOT / ".venv"

Say = Callable[[str], None]


def say(line: str) -> None:
    print(line, flush=True)


def _silent(_line: str) -> None:
    pass


def options_of(args: argparse.Namespace, found: Sequence[Gpu], environment: Mapping[str, str], tell: Say) -> Options:
    only = args.only or ()
    if args.with_tts and only and "tts" not in only:
        raise UsageError(f"--only {','.join(only)} leaves tts out: leave --with-tts out too")
    with_tts = args.with_tts or "tts" in only
    if args.mode is None:
        return Options(tts_gpu=args.tts_gpu, asr_device=args.asr_device, with_tts=with_tts, use_vllm=args.use_vllm)
    if args.tts_gpu is not None:
        raise UsageError("--mode chooses the devices: leave TTS_GPU and ASR_DEVICE out")
    if with_tts and args.mode in ("A", "B", "C"):
        raise UsageError(f"mode {args.mode} has no text-to-speech service: --with-tts goes with --mode D or auto")
    there = running_parts(args)
    auto = args.mode == "auto"
    needs = modes.needs_of(services.words_of("S2S_ARGS", environment))
    if auto:
        plan = modes.automatic(found, with_tts=with_tts, running=there, needs=needs)
    else:
        plan = modes.plan(args.mode, found, there, needs)
    for line in (*plan.arithmetic, *plan.left_out()):
        tell(f"mode {plan.mode}: {line}")
    return plan.options(use_vllm=args.use_vllm and "tts" not in plan.no_room, with_tts=with_tts)


def running_parts(args: argparse.Namespace) -> set[modes.Part]:
    """What of ours is on the GPUs already; nothing is on those of --gpus."""
    if args.gpus:
        return set()
    known = pidfile.read_all(RUN_DIR) if RUN_DIR.is_dir() else []
    return {part for item in known if item.running for part in modes.PARTS_OF.get(services.family(item.name), ())}


def launches_of(args: argparse.Namespace, environment: Mapping[str, str], tell: Say) -> list[Launch]:
    if args.gpus and not (args.mode or args.replicas):
        args.mode = "auto"
    found = args.gpus or (gpus.look(environment) if args.mode or args.replicas else [])
    options = options_of(args, found, environment, tell)
    chosen = services.choose(options, ROOT)
    launches = [services.launch(service, options, environment, LOG_DIR) for service in chosen]
    if args.replicas:
        if args.mode or args.tts_gpu is not None:
            raise UsageError("--replicas gives each service a GPU of its own: leave --mode and TTS_GPU out")
        launches = replicas.launches(args.replicas, found, options, environment, LOG_DIR, RUN_DIR) + launches[1:]
    return launches


def vllm_launches(args: argparse.Namespace, environment: Mapping[str, str], tell: Say) -> list[Launch]:
    needs = modes.needs_of(services.words_of("S2S_ARGS", environment))
    plan = scheme_b.plan(args.gpus or gpus.look(environment), running_parts(args), needs)
    for line in plan.arithmetic:
        tell(f"scheme B: {line}")
    launches = scheme_b.launches(plan, environment, ROOT, LOG_DIR)
    if not args.dry_run and (not args.only or "whisper" in args.only):
        scheme_b.check_program(launches[-1], ROOT)
    return launches


def wanted(args: argparse.Namespace, environment: Mapping[str, str], tell: Say) -> list[Launch]:
    """What is to be started. Raises UsageError."""
    args.dry_run = args.dry_run or bool(args.gpus)
    all_of = vllm_launches if args.command == "start-vllm" else launches_of
    launches = all_of(args, environment, tell)
    services.check_ports(launches)
    if args.only:
        there = {services.family(launch.name) for launch in launches}
        if absent := [name for name in args.only if name not in there]:
            raise UsageError(f"--only {absent[0]}: what was chosen starts {', '.join(sorted(there))} alone")
        launches = [launch for launch in launches if services.family(launch.name) in args.only]
    return launches


def preflight(words: Sequence[str], environment: Mapping[str, str]) -> int:
    """Before anything is installed for it: can a start with these words come to a good end, as far as can be seen?"""
    if {"-h", "--help"} & set(words):
        return 0  # the start itself shows it
    args = commands.parse(words)
    launches = wanted(args, environment, _silent)
    if not args.dry_run:
        require_writable()
        stack.check(launches, RUN_DIR, instead=args.restart)
    return 0


def require_writable() -> None:
    """Raises StartFailed where the checkout may be read alone."""
    for folder in (VENV, RUN_DIR, LOG_DIR):
        there = folder if folder.exists() else folder.parent
        if not os.access(there, os.W_OK | os.X_OK):
            raise stack.StartFailed(
                f"{there} cannot be written by this user: the environment (.venv), PID files (run) and logs (logs) are kept in "
                f"the checkout. Work in a copy that you own: git clone {ROOT} ~/fun-audio-chat"
            )


def start(args: argparse.Namespace, environment: Mapping[str, str]) -> int:
    launches = wanted(args, environment, say)
    if args.dry_run:
        for launch in launches:
            say(f"{launch}  # {launch.title}, log {launch.log}")
        if args.gpus:
            say("planned for GPUs of the sizes given, and started nothing")
        return 0
    require_writable()
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
    say(" ".join(["stop them with ./scripts/stop_services.sh", *(args.only or ())]))
    return 0


def language_of(environment: Mapping[str, str]) -> str:
    """Of the person at this terminal, as far as we have words: zh or en."""
    locale = next(filter(None, (environment.get(name) for name in ("LC_ALL", "LC_MESSAGES", "LANG"))), "")
    return "zh" if locale.lower().startswith("zh") else "en"


def _start_all(
    launches: Sequence[Launch], environment: Mapping[str, str], args: argparse.Namespace
) -> list[stack.Running]:
    behind = [launch for launch in launches if services.family(launch.name) == services.S2S.name]
    if args.command == "start" and args.replicas and behind:
        RUN_DIR.mkdir(parents=True, exist_ok=True)
        replicas.config_path(RUN_DIR).write_text(replicas.config(ROOT, behind), "utf-8")
    shared = {}
    if not args.no_mps and gpus.look(environment):
        shared = mps.begin(RUN_DIR, LOG_DIR, environment, say)
    launches = [replace(launch, environment={**launch.environment, **shared}) for launch in launches]
    try:
        return stack.start(launches, RUN_DIR, timeout_s=args.timeout_s, say=say, instead=args.restart)
    except BaseException:
        if shared:
            _end_mps(environment)
        raise


def _stop(environment: Mapping[str, str], grace_s: float, names: Sequence[str] = ()) -> bool:
    clean = stack.stop(RUN_DIR, grace_s=grace_s, say=say, names=names)
    _end_mps(environment)
    return clean


def _end_mps(environment: Mapping[str, str]) -> None:
    """Unless other services use it."""
    if not any(RUN_DIR.glob(f"*{pidfile.SUFFIX}")):
        mps.end(RUN_DIR, environment, say)


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


@console.program
def main(argv: Sequence[str] | None = None) -> int:
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        if words[:1] == ["preflight"]:
            return preflight(words[1:], os.environ)
        args = commands.parse(words)
        match args.command:
            case "start" | "start-vllm":
                return start(args, os.environ)
            case "stop":
                return 0 if _stop(os.environ, args.timeout_s, args.names) else 1
            case "verify":
                return 0 if verify.verify(RUN_DIR, os.environ, say) else 1
            case _:
                return status()
    except UsageError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        raise
    except (stack.StartFailed, pidfile.DamagedPidFile, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted: everything that was started has been stopped again", file=sys.stderr)
        return 130


if __name__ == "__main__":
    raise SystemExit(main())
