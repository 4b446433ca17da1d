"""Does what was started really serve? Processes, health, GPU memory, one real request, the end of each log."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from scripts.operations import gpus, logs, pidfile, probe
from scripts.operations.pidfile import PidFile
from scripts.operations.services import UsageError

ROOT = Path(__file__).resolve().parents[2]
LOG_LINES = 5
REQUEST_TIMEOUT_S = 180.0

Say = Callable[[str], None]


@dataclass(frozen=True)
class Finding:
    what: str
    fault: str | None
    detail: str = ""

    def __str__(self) -> str:
        return f"{'FAIL' if self.fault else 'ok  '}  {self.what:<24} {self.fault or self.detail}".rstrip()


def verify(run_dir: Path, environment: Mapping[str, str], say: Say) -> bool:
    """True when everything that was started serves."""
    try:
        known = pidfile.read_all(run_dir) if run_dir.is_dir() else []
    except pidfile.DamagedPidFile as error:
        say(str(Finding("PID files", str(error))))
        return False
    if not known:
        say(str(Finding("services", "nothing was started here: ./scripts/start_services.sh")))
        return False
    findings = [finding for item in known for finding in look_at(item)]
    findings += gpu_memory(environment)
    if not any(finding.fault for finding in findings):
        findings += real_requests(known, environment)
    for finding in findings:
        say(str(finding))
    for item in known:
        say(f"--- the last lines of {item.log} ---")
        say(logs.tail(Path(item.log), LOG_LINES))
    return not any(finding.fault for finding in findings)


def look_at(item: PidFile) -> list[Finding]:
    if not item.running:
        return [Finding(f"{item.name} process", f"PID {item.pid} has ended", "")]
    health = probe.health(item.url)
    body = health.body or {}
    detail = ", ".join(f"{key} {body[key]}" for key in ("engine", "model", "device") if body.get(key))
    fault = None if health.status == "healthy" else f"{health.status}: {health.reason}"
    return [
        Finding(f"{item.name} process", None, f"PID {item.pid}"),
        Finding(f"{item.name} health", fault, f"{item.url}  {detail}"),
    ]


def gpu_memory(environment: Mapping[str, str]) -> list[Finding]:
    try:
        found = gpus.look(environment)
    except UsageError as error:
        return [Finding("GPU", str(error))]
    return [
        Finding(
            f"GPU {gpu.index}", None, f"{gpu.name}, {gpu.total_gib - gpu.free_gib:.1f} of {gpu.total_gib:.1f} GiB used"
        )
        for gpu in found
    ]


def real_requests(known: Sequence[PidFile], environment: Mapping[str, str]) -> list[Finding]:
    """One turn, one transcription, one synthesis, with the client script; what does not run is left out by it."""
    by_name = {item.name: urlsplit(item.url) for item in known}
    findings = []
    if "s2s" in by_name and by_name["s2s"].scheme == "https":
        findings.append(Finding("one real request to each", None, "not tried: the client script speaks http only"))
    elif "s2s" in by_name:
        ports = {"--port": "s2s", "--asr-port": "asr", "--tts-port": "tts"}
        # Port 9 (discard) stands for a service that was not started here: whatever has its usual port is not ours to try.
        words = [word for option, name in ports.items() for word in (option, str(_port(by_name.get(name))))]
        findings.append(
            _run(
                "one real request to each",
                ["scripts.test_deployment", "--host", _host(by_name["s2s"]), *words],
                environment,
            )
        )
    if "whisper" in by_name:
        findings.append(
            _run(
                "one real request: whisper",
                ["scripts.operations.transcribe_openai", by_name["whisper"].geturl()],
                environment,
            )
        )
    return findings


def _run(what: str, words: Sequence[str], environment: Mapping[str, str]) -> Finding:
    command = [sys.executable, "-m", *words]
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=False,
            timeout=REQUEST_TIMEOUT_S,
            env=dict(environment),
            cwd=ROOT,
        )
    except subprocess.TimeoutExpired:
        return Finding(what, f"no end after {REQUEST_TIMEOUT_S:g} s")
    output = (done.stdout + done.stderr).strip()
    return Finding(what, output if done.returncode else None, "answered" if not output else "\n" + output)


def _host(url: SplitResult) -> str:
    return url.hostname or "127.0.0.1"


def _port(url: SplitResult | None) -> int:
    return (url.port if url else None) or 9
