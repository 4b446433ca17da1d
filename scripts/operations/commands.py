"""The command lines of start_services.sh, start_vllm_services.sh, stop_services.sh and verify_deployment.sh. Pure."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Mapping, Sequence

from scripts.operations.layouts import modes
from scripts.operations.layouts.gpus import Gpu

OURS = ("s2s", "asr", "tts")
SCHEME_B = ("s2s", "tts", "whisper")
MOST_GPUS = 64

START_HELP = """Makes the virtual environment if there is none, installs what is missing, starts the services and waits until
each of them is ready. If one does not come up: status 1, the reason, the end of its log, and nothing that this start began
is left running; services that ran before go on.

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


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """`command`, and what its words say. A wrong word shows the usage of the script that was called, and ends with status 2."""
    if not argv or argv[0] not in PARSERS:
        parser = argparse.ArgumentParser(prog="fun-audio-services", description="Start, stop and list the services.")
        parser.add_argument("command", choices=PARSERS)
        parser.parse_args(argv[:1])
    args = PARSERS[argv[0]]().parse_args(argv[1:])
    args.command = argv[0]
    return args


def _parser(program: str, description: str) -> argparse.ArgumentParser:
    return argparse.ArgumentParser(
        prog=program, description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )


def _start() -> argparse.ArgumentParser:
    start = _parser("./scripts/start_services.sh", START_HELP)
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
        "B two GPUs, C one big GPU, D all three services, auto the fullest that fits, and it says what it left out",
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
    _add_start_options(start, OURS)
    return start


def _start_vllm() -> argparse.ArgumentParser:
    vllm = _parser("./scripts/start_vllm_services.sh", VLLM_HELP)
    _add_start_options(vllm, SCHEME_B)
    return vllm


def _add_start_options(parser: argparse.ArgumentParser, names: Sequence[str]) -> None:
    parser.add_argument(
        "--only",
        action="extend",
        type=_names(names),
        metavar="NAME[,NAME]",
        help=f"start just these of {', '.join(names)}; what else runs goes on",
    )
    parser.add_argument(
        "--restart",
        action="store_true",
        help="first stop those of the services to be started that run: running answers finish. Settings are those of this call",
    )
    parser.add_argument(
        "--no-mps",
        action="store_true",
        help="on a GPU, do not start CUDA MPS: answers come later, and a fault of one program on the GPU stays its own",
    )
    parser.add_argument("--timeout-s", type=positive, default=600.0, help="how long loading may take (default 600)")
    parser.add_argument("--dry-run", action="store_true", help="print what would be started, and start nothing")
    parser.add_argument(
        "--gpus",
        type=planned_gpus,
        metavar="GB[,GB]",
        help="plan for GPUs of these sizes instead of those that are here, e.g. 24,24: prints the plan and starts nothing",
    )


def _stop() -> argparse.ArgumentParser:
    stop = _parser(
        "./scripts/stop_services.sh", "Stop exactly what start_services.sh started: all of it, or what is named."
    )
    stop.add_argument(
        "names",
        nargs="*",
        type=_name,
        metavar="NAME",
        help="s2s, asr, tts or whisper (default: all that runs)",
    )
    stop.add_argument(
        "--timeout-s", type=positive, default=45.0, help="time to finish running work before a kill (default 45)"
    )
    return stop


def _verify() -> argparse.ArgumentParser:
    return _parser(
        "./scripts/verify_deployment.sh",
        "Check what start_services.sh started: processes, health, GPU memory, one real request to each service, "
        "the last log lines.\nStatus 0 when all of it serves; what could not be tried does not count as serving.",
    )


def _status() -> argparse.ArgumentParser:
    return _parser("fun-audio-services status", "List what is running.")


PARSERS: Mapping[str, Callable[[], argparse.ArgumentParser]] = {
    "start": _start,
    "start-vllm": _start_vllm,
    "stop": _stop,
    "verify": _verify,
    "status": _status,
}


def _names(known: Sequence[str]) -> Callable[[str], list[str]]:
    def names(text: str) -> list[str]:
        return [_known(name.strip(), known) for name in text.split(",")]

    return names


def _name(text: str) -> str:
    return _known(text, (*OURS, "whisper"))


def _known(name: str, known: Sequence[str]) -> str:
    if name not in known:
        raise argparse.ArgumentTypeError(f"the services are {', '.join(known)}, got {name!r}")
    return name


def device(text: str) -> str:
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", text):
        raise argparse.ArgumentTypeError(f"a device is auto, cpu, cuda or cuda:N, got {text!r}")
    return text


def gpu_number(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"TTS_GPU is the number of a GPU (0, 1, …), got {text!r}")
    return int(text)


def planned_gpus(text: str) -> list[Gpu]:
    """`24,24`: empty GPUs of so many GB each."""
    sizes = [word.strip() for word in text.split(",")]
    if len(sizes) > MOST_GPUS or not all(re.fullmatch(r"\d{1,4}(\.\d+)?", size) and float(size) for size in sizes):
        raise argparse.ArgumentTypeError(f"sizes of GPUs in GB, such as 24,24 (at most {MOST_GPUS}), got {text!r}")
    return [Gpu(index, f"{size} GB, planned", float(size), float(size)) for index, size in enumerate(sizes)]


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
