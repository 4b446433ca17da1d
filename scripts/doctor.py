#!/usr/bin/env python3
"""Look at everything that the services need on this machine, and say what to do about each problem.

Imports every package, looks at GPU, driver, memory, disk, ports, weights and programs, then starts the embedded S2S service
on a free port and holds one spoken turn with it. Exit status: 0 nothing is in the way, 1 something is.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from packaging.markers import Marker

from scripts.operations import console, pidfile, probe, services, stack, verify
from scripts.operations.layouts import gpus
from scripts.operations.services import ASR, S2S, TTS, Launch, UsageError
from scripts.operations.verify import NOTE, Finding
from scripts.operations.weights import hub, laptop

ROOT = Path(__file__).resolve().parent.parent

GIB = 1 << 30
NEEDED_DISK_GIB = 5
NEEDED_MEMORY_GIB = 2
# Where a package is imported by another name than it is installed by.
IMPORT_NAMES = {"kaldi-native-fbank": "kaldi_native_fbank", "PyYAML": "yaml", "prometheus-client": "prometheus_client"}
NOT_IMPORTED = {"silero-vad", "pipecat-ai"}  # only files of theirs are used; importing them would need much more


def packages(root: Path, *, models: bool) -> Iterator[Finding]:
    files = ["requirements.txt", *(["requirements-models.txt"] if models else [])]
    for file in files:
        for line in (root / file).read_text().splitlines():
            requirement = line.partition(" #")[0].strip()
            pinned = re.match(r"([A-Za-z0-9._-]+)==[^ ;]+\s*(?:;(.*))?$", requirement)
            if pinned and pinned[1] not in NOT_IMPORTED and (not pinned[2] or Marker(pinned[2]).evaluate()):
                yield _import(pinned[1], file)


def _import(package: str, file: str) -> Finding:
    name = IMPORT_NAMES.get(package, package.replace("-", "_"))
    try:
        module = importlib.import_module(name)
    except Exception as error:  # noqa: BLE001  # a broken binary package raises anything; it becomes the finding
        return Finding(f"package {package}", f"{error!r}; .venv/bin/pip install -r {file}")
    return Finding(f"package {package}", None, str(getattr(module, "__version__", "")))


def gpu(environment: Mapping[str, str], *, models: bool) -> Iterator[Finding]:
    try:
        found = gpus.look(environment)
    except UsageError as error:
        yield Finding("GPU", f"{error}; reinstall the NVIDIA driver, then reboot")
        return
    if not found:
        yield Finding("GPU", None, "none: the embedded engines run on the CPU", NOTE)
        return
    for item in found:
        yield Finding(f"GPU {item.index}", None, f"{item.name}, {item.free_gib:.1f} of {item.total_gib:.1f} GiB free")
    if models and importlib.util.find_spec("torch"):  # without it the list of packages has told
        torch = importlib.import_module("torch")
        usable = torch.cuda.is_available()
        yield Finding(
            "torch with CUDA",
            None
            if usable
            else f"torch {torch.__version__} cannot use the GPU: ./scripts/full_setup.sh installs a build that can",
            str(torch.version.cuda),
        )


def machine(root: Path) -> Iterator[Finding]:
    version = ".".join(map(str, sys.version_info[:3]))
    yield Finding("Python", None if sys.version_info >= (3, 11) else f"{version} is too old: 3.11 or newer", version)
    free = shutil.disk_usage(root).free / GIB
    yield Finding(
        "disk", None if free >= NEEDED_DISK_GIB else f"only {free:.1f} GiB free, make room", f"{free:.0f} GiB free"
    )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIB
    yield Finding("memory", None if memory >= NEEDED_MEMORY_GIB else f"only {memory:.1f} GiB", f"{memory:.0f} GiB")
    ffmpeg = shutil.which("ffmpeg")
    if ffmpeg:
        yield Finding("ffmpeg", None, ffmpeg)
    else:
        text = "not installed: only the reference CosyVoice code and your own tools may want it"
        yield Finding("ffmpeg", None, text, NOTE)


def ports(environment: Mapping[str, str], run_dir: Path = ROOT / "run") -> Iterator[Finding]:
    host = environment.get("HOST") or "127.0.0.1"
    started = {item.url.rpartition(":")[2]: item for item in _started(run_dir)}
    for service in (S2S, ASR, TTS):
        port = services.port_of(service.prefix, service.port, environment)
        what = f"port {port}"
        fault = probe.port_fault(host, port)
        ours = started.get(str(port))
        url = ours.url if ours else services.address(service, environment)
        health = probe.health(url) if fault else probe.Health("silent")
        who = f"{ours.name} is running there (PID {ours.pid})" if ours else f"{service.name} is running there"
        match health.status:
            case "healthy" | "loading":
                yield Finding(what, None, f"{who}, {health.status}", "" if health.status == "healthy" else NOTE)
            case "unhealthy" if ours:
                yield Finding(what, f"{who}, and is unhealthy: {health.reason}; look into {ours.log}")
            case _:
                hint = f"stop what uses it, or set {service.prefix}_PORT"
                yield Finding(what, f"{fault}: {hint}" if fault else None, f"free, for {service.name}")


def _started(run_dir: Path) -> list[pidfile.PidFile]:
    try:
        return [item for item in pidfile.read_all(run_dir) if item.running]
    except pidfile.DamagedPidFile:
        return []  # then the port alone tells; verify names the file


def weights(root: Path) -> Iterator[Finding]:
    for name, model in hub.MODELS.items():
        what = f"weights {model.folder}"
        if not (root / "pretrained_models" / model.folder).is_dir():
            yield Finding(what, None, f"not there; ./scripts/download_models.sh --only {name}", NOTE)
        elif name != "whisper" and importlib.util.find_spec("torch") is None:  # Whisper's packages are those of vLLM
            yield Finding(what, "there, and the packages that run them are not: ./scripts/full_setup.sh")
        else:
            yield Finding(what, None, "there")
    for name in laptop.DEFAULT:
        folder = laptop.MODELS[name].folder
        what = f"weights {folder}, without a GPU"
        if not (root / "pretrained_models" / folder).is_dir():
            yield Finding(what, None, "not there; ./scripts/download_models.sh --laptop", NOTE)
        elif importlib.util.find_spec("sherpa_onnx") is None:
            yield Finding(what, "there, and what runs them is not: pip install -r requirements-sherpa.txt")
        else:
            yield Finding(what, None, "there")


def one_turn() -> Iterator[Finding]:
    """The embedded service on a free port, and a recorded sentence said to it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        run_dir = Path(folder) / "run"
        command = (sys.executable, "-m", S2S.module, "--engine", "embedded", "--port", str(port))
        launch = Launch("s2s", S2S.title, command, "127.0.0.1", port, Path(folder) / "server.log")
        try:
            stack.start([launch], run_dir, timeout_s=120.0, say=_quiet)
            for item in pidfile.read_all(run_dir):
                yield verify.real_request(item, os.environ)
        except stack.StartFailed as error:
            yield Finding("embedded service", str(error))
        finally:
            stack.stop(run_dir, grace_s=10.0, say=_quiet)


def _quiet(_line: str) -> None:
    pass


def driver() -> Iterator[Finding]:
    if shutil.which("nvidia-smi"):
        words = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=30)
        if done.returncode == 0:  # else the GPU's line says what is wrong
            yield Finding("NVIDIA driver", None, done.stdout.split("\n")[0])


@console.program
def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", action="store_true", help="the packages of the real engines must be there too")
    parser.add_argument("--no-turn", action="store_true", help="leave the spoken turn out")
    args = parser.parse_args(argv)
    checks: list[Callable[[], Iterator[Finding]]] = [
        lambda: machine(ROOT),
        driver,
        lambda: packages(ROOT, models=args.models),
        lambda: gpu(os.environ, models=args.models),
        lambda: ports(os.environ),
        lambda: weights(ROOT),
    ]
    if not args.no_turn:
        checks.append(one_turn)
    faults = 0
    for check in checks:
        for finding in check():
            print(finding, flush=True)
            faults += finding.fault is not None
    print(f"{faults} problem{'s' * (faults != 1)} found" if faults else "nothing is in the way")
    return 1 if faults else 0


if __name__ == "__main__":
    raise SystemExit(main())
