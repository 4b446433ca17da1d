"""Scheme B: S2S and TTS of ours, and Whisper for speech to text by vLLM's own server. Pure.

vLLM runs from an environment of its own; to it the GPU is given by CUDA_VISIBLE_DEVICES, and a share of its memory.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from scripts.operations import services
from scripts.operations.layouts import modes
from scripts.operations.layouts.gpus import Gpu
from scripts.operations.services import S2S, TTS, Launch, UsageError

WHISPER_PORT = 8005
WHISPER_NAME = "openai/whisper-large-v3"
VLLM = Path(".venv-vllm/bin/vllm")


def plan(
    found: Sequence[Gpu], running: Collection[modes.Part] = (), needs: modes.Needs = modes.NEEDS_GIB
) -> modes.Plan:
    """Raises DoesNotFit. Without a GPU: the embedded engines, and vLLM's CPU build."""
    if not found:
        return modes.Plan("embedded", {}, ("no NVIDIA GPU: the embedded engines, and vLLM as it is built for the CPU",))
    return modes.fit("scheme B", "B by vLLM", modes.VLLM_LAYOUTS, found, running, needs)


def launches(chosen: modes.Plan, environment: Mapping[str, str], root: Path, log_dir: Path) -> list[Launch]:
    """Raises UsageError. ASR_PORT is Whisper's port here."""
    on_gpu = bool(chosen.gpu_of)
    options = chosen.options(use_vllm=on_gpu, with_tts=True)
    ours = [services.launch(service, options, environment, log_dir) for service in (S2S, TTS) if service.exists(root)]
    return [*ours, whisper(chosen.gpu_of.get("whisper"), environment, root, log_dir)]


def whisper(gpu: Gpu | None, environment: Mapping[str, str], root: Path, log_dir: Path) -> Launch:
    program = environment.get("VLLM") or str(root / VLLM)
    host = environment.get("HOST") or "127.0.0.1"
    port = services.port_of("ASR", WHISPER_PORT, environment)
    local = root / "pretrained_models" / "whisper-large-v3"
    model = environment.get("WHISPER_MODEL") or (str(local) if local.is_dir() else WHISPER_NAME)
    share = ("--gpu-memory-utilization", str(modes.memory_share("whisper", gpu))) if gpu else ()
    name = ("--served-model-name", WHISPER_NAME)
    own = services.words_of("WHISPER_ARGS", environment)
    return Launch(
        name="whisper",
        title="speech to text",
        command=(program, "serve", model, *name, "--host", host, "--port", str(port), *share, *own),
        host=host,
        port=port,
        log=log_dir / "whisper.log",
        use="/v1/audio/transcriptions",
        environment={"CUDA_VISIBLE_DEVICES": physical(gpu, environment)} if gpu else {},
        port_setting="ASR_PORT",
    )


def physical(gpu: Gpu, environment: Mapping[str, str]) -> str:
    """The number by which CUDA_VISIBLE_DEVICES calls the GPU, which may itself be cut down already."""
    outer = environment.get("CUDA_VISIBLE_DEVICES")
    return outer.split(",")[gpu.index].strip() if outer else str(gpu.index)


def check_program(launch: Launch, root: Path) -> None:
    """Raises UsageError when vLLM is not installed."""
    program = root / launch.command[0]
    if not program.is_file():
        raise UsageError(
            f"{program} is not there: ./scripts/full_setup.sh --with-vllm installs vLLM, or set VLLM to its path"
        )
