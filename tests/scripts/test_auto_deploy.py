"""The deployment against a real sshd on the loopback address; the project deployed is a small one that writes down what
was called."""

import getpass
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from scripts import auto_deploy
from tests.scripts.operations.test_manager import free_port

SSHD = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin")
pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(SSHD is None or shutil.which("ssh") is None, reason="OpenSSH's server is not installed"),
]

SCRIPTS = ("full_setup", "download_models", "start_services", "stop_services", "verify_deployment")
RECORD = """#!/bin/bash
names=${FUN_AUDIO_ALLOWED_HOSTS:+ NAMES=$FUN_AUDIO_ALLOWED_HOSTS}
echo "$(basename "$0") $* HOST=${HOST:-} KEY=${FUN_AUDIO_API_KEY:-}$names" >> calls
"""
# Ends the sshd that serves this very connection, the first time.
CUT_LINE = """
if [[ ! -e was-cut ]]; then
    touch was-cut
    process=$$
    while [[ $(</proc/$process/comm) != sshd ]]; do process=$(cut -d' ' -f4 /proc/$process/stat); done
    kill -9 "$process"
fi
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    (folder / "scripts").mkdir(parents=True)
    for name in SCRIPTS:
        script = folder / "scripts" / f"{name}.sh"
        script.write_text(RECORD)
        script.chmod(0o755)
    (folder / ".gitignore").write_text("*.secret\n")
    (folder / "weights.secret").write_text("stays here")
    for words in (["init", "-q"], ["add", "-A"], ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "x"]):
        subprocess.run(["git", *words], cwd=folder, check=True)
    return folder


@pytest.fixture
def ssh(tmp_path: Path) -> Iterator[list[str]]:
    """Options by which `auto_deploy` reaches an sshd of our own."""
    for name in ("host_key", "user_key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / name], check=True)
    shutil.copy(tmp_path / "user_key.pub", tmp_path / "authorized_keys")
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # sshd's own demand when it runs as root
    port = free_port()
    settings = {
        "Port": port,
        "ListenAddress": "127.0.0.1",
        "HostKey": tmp_path / "host_key",
        "AuthorizedKeysFile": tmp_path / "authorized_keys",
        "StrictModes": "no",
        "UsePAM": "no",
        "UseDNS": "no",
        "PermitRootLogin": "prohibit-password",
        "PidFile": "none",
    }
    config = tmp_path / "sshd_config"
    config.write_text("".join(f"{name} {value}\n" for name, value in settings.items()))
    server = subprocess.Popen([str(SSHD), "-D", "-e", "-f", str(config)], stderr=subprocess.DEVNULL)
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            break
        except ConnectionRefusedError:
            assert server.poll() is None, "sshd did not start"
            time.sleep(0.02)
    yield [
        *(f"{getpass.getuser()}@127.0.0.1", "--port", str(port), "--identity", str(tmp_path / "user_key")),
        *("--ssh-option", "StrictHostKeyChecking=accept-new"),
        *("--ssh-option", f"UserKnownHostsFile={tmp_path / 'known_hosts'}"),
    ]
    server.terminate()
    server.wait()


@pytest.fixture
def deploy(
    ssh: list[str], project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[int, list[str]]]:
    """Runs a deployment to a folder with a space in its name; gives the status and what was called there."""
    target = tmp_path / "the host"
    monkeypatch.setattr(auto_deploy.run, "__defaults__", (lambda _: None,))
    monkeypatch.delenv("FUN_AUDIO_API_KEY", raising=False)

    def run(*words: str) -> tuple[int, list[str]]:
        status = auto_deploy.main([*ssh, "--dir", str(target), *words], project)
        calls = target / "calls"
        return status, calls.read_text().splitlines() if calls.exists() else []

    return run


def test_a_deployment_copies_the_checkout_and_runs_every_step_in_order(
    deploy: Callable[..., tuple[int, list[str]]], tmp_path: Path
) -> None:
    status, calls = deploy("--mode", "D", "--bind", "0.0.0.0")
    assert status == 0
    assert calls == [
        "full_setup.sh --no-doctor HOST= KEY=",
        "download_models.sh --source huggingface HOST= KEY=",
        "stop_services.sh  HOST= KEY=",
        "start_services.sh --mode D HOST=0.0.0.0 KEY=",
        "verify_deployment.sh  HOST= KEY=",
    ]
    assert not (tmp_path / "the host" / "weights.secret").exists()


def test_the_names_that_the_services_may_have_reach_them(
    deploy: Callable[..., tuple[int, list[str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FUN_AUDIO_ALLOWED_HOSTS", "voice.example, .other.example")
    _, calls = deploy("--cpu-only")
    assert "start_services.sh  HOST=127.0.0.1 KEY= NAMES=voice.example, .other.example" in calls


@pytest.mark.parametrize("before", ["", "voice.example"])
def test_a_pod_is_known_by_the_names_of_its_proxy_and_another_host_by_none_of_them(tmp_path: Path, before: str) -> None:
    file = tmp_path / "rp_environment"
    words = f"set -e; {auto_deploy.runpod_names(str(file))}; echo $FUN_AUDIO_ALLOWED_HOSTS"

    def names() -> str:
        environment = {"FUN_AUDIO_ALLOWED_HOSTS": before, "PATH": os.environ["PATH"]}
        return subprocess.run(["bash", "-c", words], env=environment, capture_output=True, text=True, check=True).stdout

    assert names() == f"{before}\n"
    file.write_text('export RUNPOD_POD_ID="abc123"\n')
    ours = [f"abc123-{port}.proxy.runpod.net" for port in (8002, 8003, 8004)]
    assert names().strip().split(",") == [*([before] if before else []), *ours]


def test_the_key_reaches_the_services_and_no_command_line(
    deploy: Callable[..., tuple[int, list[str]]],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("FUN_AUDIO_API_KEY", "a secret'key")
    status, calls = deploy("--cpu-only", "--from", "code")
    assert status == 0
    assert calls[2] == "start_services.sh  HOST=127.0.0.1 KEY=a secret'key"
    assert deploy("--dry-run")[0] == 0
    assert "secret" not in capfd.readouterr().out


def test_a_clone_takes_the_commit_that_was_asked_for_and_follows_it(
    deploy: Callable[..., tuple[int, list[str]]], project: Path, tmp_path: Path
) -> None:
    version = tmp_path / "the host" / "VERSION"
    for text in ("1", "2", "3"):
        (project / "VERSION").write_text(text)
        for words in (
            ["add", "-A"],
            ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", text],
            ["tag", f"v{text}"],
        ):
            subprocess.run(["git", *words], cwd=project, check=True)
    for ref in ("v1", "v2"):  # the second time there is a clone already
        assert deploy("--clone", str(project), "--ref", ref, "--cpu-only")[0] == 0
        assert f"v{version.read_text()}" == ref


def test_a_step_that_fails_ends_the_deployment_and_says_how_to_go_on(
    deploy: Callable[..., tuple[int, list[str]]], project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script = project / "scripts" / "full_setup.sh"
    script.write_text(RECORD + "exit 3\n")
    status, calls = deploy()
    assert status == 1
    assert len(calls) == 1
    assert "setup: ended with status 3. Go on with the same command and --from setup" in capsys.readouterr().err


def test_a_lost_connection_is_taken_up_again(deploy: Callable[..., tuple[int, list[str]]], project: Path) -> None:
    (project / "scripts" / "download_models.sh").write_text(RECORD + CUT_LINE)
    status, calls = deploy()
    assert status == 0
    assert [call.split()[0] for call in calls].count("download_models.sh") == 2
    assert calls[-1].startswith("verify_deployment.sh")


def test_a_host_that_cannot_be_reached_is_said(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auto_deploy.run, "__defaults__", (lambda _: None,))
    assert auto_deploy.main(["127.0.0.1", "--port", "9"], project) == 1
    assert "code: the host cannot be reached" in capsys.readouterr().err
