"""Does what was started really serve? Processes, health, GPU memory, one real request, the end of each log."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from scripts.operations import logs, pidfile, probe
from scripts.operations.layouts import gpus
from scripts.operations.pidfile import PidFile
from scripts.operations.services import UsageError, family

ROOT = Path(__file__).resolve().parents[2]
LOG_LINES = 5
REQUEST_TIMEOUT_S = 180.0

Say = Callable[[str], None]


@dataclass(frozen=True)
class Finding:
    """Something is in order, has a `fault`, or, with `aside`, is neither: a fact, or what was not tried."""

    what: str
    fault: str | None
    detail: str = ""
    aside: str = ""

    def __str__(self) -> str:
        label = "FAIL" if self.fault else self.aside or "ok"
        return f"{label:<4}  {self.what:<24} {self.fault or self.detail}".rstrip()


NOTE, SKIPPED = "note", "skip"


def verify(run_dir: Path, environment: Mapping[str, str], say: Say) -> bool:
    """True when everything that was started serves; what was not tried does not count as that."""
    try:
        known = pidfile.read_all(run_dir) if run_dir.is_dir() else []
    except pidfile.DamagedPidFile as error:
        say(str(Finding("PID files", str(error))))
        return False
    if not known:
        say(str(Finding("services", "nothing was started here: ./scripts/start_services.sh")))
        return False
    serves = True
    for item in known:
        findings = look_at(item)
        if any(finding.fault for finding in findings):
            findings.append(Finding(f"{item.name} request", None, "not tried", SKIPPED))
        else:
            findings.append(real_request(item, environment))
        for finding in findings:
            say(str(finding))
        serves = serves and not any(finding.fault or finding.aside == SKIPPED for finding in findings)
    for finding in gpu_memory(environment):
        say(str(finding))
        serves = serves and finding.fault is None
    for item in known:
        say(f"--- the last lines of {item.log} ---")
        say(logs.tail(Path(item.log), LOG_LINES))
    return serves


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


def real_request(item: PidFile, environment: Mapping[str, str]) -> Finding:
    """A turn, a transcription or a synthesis, as a client would. Of a service on this machine the certificate is not looked
    at: it is for the public name."""
    what = f"{item.name} request"
    match family(item.name):
        case "s2s":
            words = ["scripts.test_deployment", "--only", "s2s", "--insecure", "--url", item.url]
        case "asr" | "tts" as name:
            words = ["scripts.test_deployment", "--only", name, "--insecure", f"--{name}-url", item.url]
        case "whisper":
            words = ["scripts.operations.transcribe_openai", item.url]
        case _:
            return Finding(what, None, "not tried: this service is not known here", SKIPPED)
    return _run(what, words, environment)


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
