"""What is deployed, read by the programs that read it in earnest: Kubernetes' schemas, kustomize, compose, systemd."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate.utils as kubernetes
import pytest
import yaml

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
OVERLAYS = ("kubernetes", "kubernetes-whisper")
VERSIONS = ("1.29", kubernetes.latest_version())
NOT_KUBERNETES = {"kustomization.yaml", "prometheus-adapter-values.yaml"}
PROFILES = ("embedded", "mode-a", "mode-b", "mode-c", "mode-d", "scheme-b")


def needs(program: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(shutil.which(program) is None, reason=f"{program} is not installed")


def output(*command: str, **environment: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **environment})
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


@pytest.mark.parametrize("version", VERSIONS)
def test_kubernetes_knows_every_field_of_every_manifest(version: str) -> None:
    found = [path for name in OVERLAYS for path in (DEPLOY / name).glob("*.yaml") if path.name not in NOT_KUBERNETES]
    assert len(found) >= 6
    for path in found:
        for document in yaml.safe_load_all(path.read_text()):
            kubernetes.validate(document, version, strict=True)


def test_a_field_that_kubernetes_does_not_know_is_found() -> None:
    (document, *_) = yaml.safe_load_all((DEPLOY / "kubernetes" / "asr.yaml").read_text())
    document["spec"]["template"]["spec"]["containers"][0]["readynessProbe"] = {}
    with pytest.raises(kubernetes.ValidationError, match="readynessProbe"):
        kubernetes.validate(document, VERSIONS[-1], strict=True)


def kustomized(name: str) -> dict[tuple[str, str], dict[str, Any]]:
    text = output("kubectl", "kustomize", str(DEPLOY / name))
    return {(item["kind"], item["metadata"]["name"]): item for item in yaml.safe_load_all(text)}


def container(item: dict[str, Any]) -> dict[str, Any]:
    (only,) = item["spec"]["template"]["spec"]["containers"]
    assert isinstance(only, dict)
    return only


@needs("kubectl")
def test_scheme_b_puts_the_asr_service_without_a_gpu_in_front_of_whisper() -> None:
    plain, whisper = map(kustomized, OVERLAYS)
    assert set(plain) < set(whisper)
    for item in whisper.values():
        kubernetes.validate(item, VERSIONS[-1], strict=True)
    asr = container(whisper["Deployment", "asr"])
    assert "nvidia.com/gpu" not in asr["resources"]["limits"]
    (port,) = whisper["Service", "whisper"]["spec"]["ports"]
    assert f"http://whisper:{port['port']}/v1" in asr["args"]
    assert container(plain["Deployment", "asr"])["resources"]["limits"]["nvidia.com/gpu"] == 1


@needs("kubectl")
def test_a_pod_finds_the_others_where_their_services_are() -> None:
    items = kustomized("kubernetes")
    for name, neighbours in (("s2s", ("asr", "tts")), ("tts", ("asr",))):
        args = container(items["Deployment", name])["args"]
        for other in neighbours:
            (port,) = items["Service", other]["spec"]["ports"]
            assert args[args.index(f"--{other}-url") + 1] == f"http://{other}:{port['port']}"


def composed(profile: str, folder: Path, *more: str) -> dict[str, Any]:
    """As compose reads the files. The program of Debian is older than the name of a project."""
    text = re.sub(r"^name:.*\n", "", (DEPLOY / "docker" / "compose.yaml").read_text(), flags=re.MULTILINE)
    (folder / "compose.yaml").write_text(text)
    files = [
        word
        for path in (folder / "compose.yaml", *(DEPLOY / "docker" / name for name in more))
        for word in ("-f", path)
    ]
    shown = yaml.safe_load(output("docker-compose", *map(str, files), "--profile", profile, "config"))
    assert isinstance(shown, dict)
    return shown


@needs("docker-compose")
def test_compose_takes_the_files_and_each_profile_has_one_service_of_a_name(tmp_path: Path) -> None:
    services = composed("embedded", tmp_path, "compose.tls.yaml")["services"]
    for profile in PROFILES:
        chosen = {name: service for name, service in services.items() if profile in service["profiles"]}
        known = [
            alias
            for name, service in chosen.items()
            for alias in {name, *((service.get("networks") or {}).get("default") or {}).get("aliases", ())}
        ]
        ports = [port for service in chosen.values() for port in service["ports"]]
        assert len(set(known)) == len(known), profile
        assert len(set(map(json.dumps, ports))) == len(ports), profile
        expected = (
            {"s2s", "asr"} if profile in ("mode-b", "mode-c") else {"s2s"} if profile == "mode-a" else {"asr", "tts"}
        )
        assert {alias.split("-")[0] for alias in known} >= expected, profile
        assert expected - {"s2s"} <= set(known), profile


@needs("systemd-analyze")
def test_systemd_takes_every_unit(tmp_path: Path) -> None:
    """The units as they are, but for the folder of the checkout, which is one of this test with a Python in it."""
    checkout = tmp_path / "checkout"
    (checkout / ".venv" / "bin").mkdir(parents=True)
    (checkout / ".venv" / "bin" / "python").symlink_to("/bin/sh")
    units = []
    for path in sorted((DEPLOY / "systemd").glob("fun-audio*")):
        if path.suffix in (".service", ".target"):
            unit = tmp_path / path.name
            unit.write_text(path.read_text().replace("/opt/fun-audio-chat", str(checkout)))
            units.append(str(unit))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *units], capture_output=True, text=True, check=False
    )
    ours = [line for line in done.stderr.splitlines() if "fun-audio" in line]
    assert (done.returncode, ours) == (0, []), done.stderr
