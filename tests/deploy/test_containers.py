"""What can be known of images and manifests without a container runtime."""

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from scripts.containers import healthcheck
from scripts.operations.layouts import modes, scheme_b
from tests.scripts.operations.test_manager import Yard
from tests.scripts.operations.test_modes import cards
from tests.web_demo.server.common.tiny_service import TinyService, serving
from web_demo.detokenizer.supervisor import READY_TIMEOUT_S

ROOT = Path(__file__).resolve().parents[2]
DOCKER = ROOT / "deploy" / "docker"
KUBERNETES = ROOT / "deploy" / "kubernetes"
COMPOSE: dict[str, Any] = yaml.safe_load((DOCKER / "compose.yaml").read_text())


def documents(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((KUBERNETES / name).read_text()))


@pytest.mark.parametrize("path", sorted(DOCKER.glob("Dockerfile*")), ids=lambda path: path.name)
def test_an_image_copies_what_exists_runs_without_root_and_watches_its_health(path: Path) -> None:
    text = path.read_text()
    for line in re.findall(r"^COPY (?!--from)(.*)$", text, re.MULTILINE):
        for source in line.split()[:-1]:
            assert (ROOT / source).exists(), source
    assert re.search(r"^USER \d+$", text, re.MULTILINE)
    assert "HEALTHCHECK" in text
    assert (ROOT / "scripts" / "containers" / "healthcheck.py").exists()


def test_what_an_image_copies_is_not_kept_out_by_dockerignore() -> None:
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert allowed == {"requirements*.txt", "pyproject.toml", "scripts", "utils", "web_demo"}


@pytest.mark.parametrize(("mode", "name"), [("A", "one 4090"), ("B", "two 4090"), ("C", "one A40"), ("D", "one A40")])
def test_a_profile_starts_what_its_mode_plans(mode: modes.Mode, name: str) -> None:
    options = modes.plan(mode, cards(name)).options(use_vllm=False)
    chosen = [
        service["command"] for service in COMPOSE["services"].values() if f"mode-{mode.lower()}" in service["profiles"]
    ]
    devices = {command[0]: command[command.index("--device") + 1] for command in chosen}
    planned = {"web_demo.server.server": options.s2s_device}
    if options.with_asr:
        planned["web_demo.server.asr_server"] = options.asr_device
    if options.with_tts:
        planned["web_demo.server.tts_server"] = options.tts_device
    assert devices == planned
    s2s = next(command for command in chosen if command[0] == "web_demo.server.server")
    assert s2s[s2s.index("--tts-gpu") + 1] == str(options.tts_gpu)


def test_scheme_b_starts_whisper_as_the_start_script_does() -> None:
    gpu = cards("one A40")[0]
    planned = scheme_b.whisper(gpu, {"WHISPER_MODEL": "/app/pretrained_models/whisper-large-v3"}, ROOT, ROOT)
    words = list(planned.command[2:])
    words[words.index("--host") + 1] = "0.0.0.0"
    (command,) = [service["command"] for name, service in COMPOSE["services"].items() if name == "whisper"]
    assert [re.sub(r"\$\{\w+:-(.*)\}", r"\1", word) for word in command] == words
    container = documents("../kubernetes-whisper/whisper.yaml")[0]["spec"]["template"]["spec"]["containers"][0]
    alone = words[: words.index("--gpu-memory-utilization")]  # the whole GPU is its own
    assert container["args"] == alone == default_command("Dockerfile.vllm")


def default_command(dockerfile: str) -> list[str]:
    last = (DOCKER / dockerfile).read_text().splitlines()[-1]
    return [str(word) for word in yaml.safe_load(last.removeprefix("CMD "))]


def test_containers_are_published_on_this_machine_only_unless_told_otherwise() -> None:
    for name, service in COMPOSE["services"].items():
        assert all(port.startswith("${BIND:-127.0.0.1}:") for port in service["ports"]), name


def test_a_container_has_time_to_drain() -> None:
    for name, service in COMPOSE["services"].items():
        command = service["command"]
        if name == "whisper":  # vLLM ends when its requests have
            continue
        drain_s = int(command[command.index("--drain-s") + 1])
        assert int(service["stop_grace_period"].removesuffix("s")) > drain_s, name


def test_the_proxy_knows_the_services_and_the_files_of_compose() -> None:
    proxy = yaml.safe_load((DOCKER / "compose.tls.yaml").read_text())["services"]["proxy"]
    for variable in ("S2S", "ASR", "TTS"):
        default = re.fullmatch(r"\$\{\w+:-(.*)\}", proxy["environment"][variable])
        assert default is not None
        assert default[1] in COMPOSE["services"]
        assert f"{{${variable}}}" in (DOCKER / "Caddyfile").read_text()


@pytest.mark.parametrize("name", ["s2s.yaml", "asr.yaml", "tts.yaml"])
def test_a_pod_is_ready_by_health_alive_until_it_stays_unhealthy_and_may_drain(name: str) -> None:
    deployment = documents(name)[0]
    spec = deployment["spec"]["template"]["spec"]
    container = spec["containers"][0]
    assert container["readinessProbe"]["httpGet"]["path"] == "/health"
    liveness = container["livenessProbe"]
    assert liveness["exec"]["command"][-1] == "--alive"
    assert liveness["periodSeconds"] * liveness["failureThreshold"] >= READY_TIMEOUT_S
    drain_s = int(container["args"][container["args"].index("--drain-s") + 1])
    before_s = int(container["lifecycle"]["preStop"]["exec"]["command"][1])
    assert spec["terminationGracePeriodSeconds"] > drain_s + before_s
    assert container["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert spec["securityContext"]["runAsNonRoot"]
    port = container["ports"][0]["containerPort"]
    assert str(port) in container["args"]
    service, budget = documents(name)[1:]
    assert service["spec"]["ports"][0]["port"] == port
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert service["spec"]["selector"] == labels == budget["spec"]["selector"]["matchLabels"]
    volumes = {volume["name"] for volume in spec["volumes"]}
    assert {mount["name"] for mount in container["volumeMounts"]} == volumes


def test_the_autoscaler_counts_a_metric_that_the_service_has_below_its_limit() -> None:
    from prometheus_client import CollectorRegistry

    from web_demo.server.conversation.metrics import S2sMetrics

    (scaler,) = documents("s2s-autoscaler.yaml")
    deployment = documents("s2s.yaml")[0]
    assert scaler["spec"]["scaleTargetRef"]["name"] == deployment["metadata"]["name"]
    pods = scaler["spec"]["metrics"][0]["pods"]
    registry = CollectorRegistry()
    S2sMetrics(registry)
    assert pods["metric"]["name"] in {metric.name for metric in registry.collect()}
    command = deployment["spec"]["template"]["spec"]["containers"][0]["args"]
    assert int(pods["target"]["averageValue"]) < int(command[command.index("--max-sessions") + 1])


def test_kustomization_lists_every_manifest() -> None:
    listed = set(documents("kustomization.yaml")[0]["resources"])
    manifests = {path.name for path in KUBERNETES.glob("*.yaml")} - {
        "kustomization.yaml",
        "prometheus-adapter-values.yaml",
    }
    assert listed == manifests


@pytest.mark.parametrize("path", sorted((ROOT / "deploy" / "systemd").glob("*.service")), ids=lambda path: path.name)
def test_a_unit_gives_the_service_time_to_drain_and_signals_it_alone(path: Path) -> None:
    text = path.read_text()
    drain_s = re.search(r"--drain-s (\d+)", text)
    stop_s = re.search(r"TimeoutStopSec=(\d+)", text)
    assert drain_s is not None
    assert stop_s is not None
    assert int(stop_s[1]) > int(drain_s[1])
    assert "KillMode=mixed" in text
    assert path.name in (path.parent / "fun-audio.target").read_text()


def test_the_health_check_tells_ready_from_alive(tmp_path: Path) -> None:
    yard = Yard(tmp_path)
    gate = tmp_path / "gate"
    gate.touch()
    try:
        launch = yard.launch("s2s", "--loading-until", str(gate))
        yard.start(launch)
        assert healthcheck.main([launch.url]) == 0
        gate.unlink()
        assert healthcheck.main([launch.url]) == 1
        assert healthcheck.main([launch.url, "--alive"]) == 0
    finally:
        yard.stop(grace_s=0.0)
    assert healthcheck.main([launch.url, "--alive"]) == 1


async def test_a_service_that_lost_its_engine_is_neither_ready_nor_alive() -> None:
    service = TinyService()
    async with serving(service) as client:
        url = str(client.make_url("/"))
        assert await asyncio.to_thread(healthcheck.main, [url, "--alive"]) == 0
        await service.started()
        assert await asyncio.to_thread(healthcheck.main, [url]) == 0
        service.fault = "the model has stopped; the service must be restarted"
        assert await asyncio.to_thread(healthcheck.main, [url]) == 1
        assert await asyncio.to_thread(healthcheck.main, [url, "--alive"]) == 1
