"""Replicas of the S2S service behind HAProxy: what is started, and a real balancer in front of stand-ins."""

from __future__ import annotations

import os
import shutil
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from scripts.operations import pidfile, probe
from scripts.operations.layouts import replicas
from scripts.operations.layouts.gpus import Gpu
from scripts.operations.services import Launch, Options, UsageError
from tests.scripts.operations.test_manager import ROOT, Yard, free_port

GPUS = [Gpu(index, "NVIDIA H200", 140.0, 139.0) for index in range(2)]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Where HAProxy is, or looks as if it were."""
    program = tmp_path / "bin" / "haproxy"
    program.parent.mkdir()
    program.touch(0o755)
    return {"PATH": str(program.parent), "HOST": "0.0.0.0", "S2S_PORT": "9000"}


def launches(environment: dict[str, str], count: int = 2, gpus: list[Gpu] | None = None) -> list[Launch]:
    return replicas.launches(count, GPUS if gpus is None else gpus, Options(), environment, Path("logs"), Path("run"))


def test_each_has_a_gpu_and_a_port_of_this_machine_alone(environment: dict[str, str]) -> None:
    first, second, balancer = launches(environment)
    for number, one in ((1, first), (2, second)):
        assert (one.name, one.host, one.port) == (f"s2s-{number}", "127.0.0.1", 9100 + number)
        assert f"--device cuda:{number - 1} --tts-gpu {number - 1}" in str(one)
    assert (balancer.name, balancer.port, balancer.environment["LISTEN"]) == ("s2s", 9000, "0.0.0.0:9000")
    text = replicas.config(ROOT, [first, second, balancer])
    assert [line.strip() for line in text.splitlines() if line.startswith("    server ")] == [
        "server s2s-1 127.0.0.1:9101", "server s2s-2 127.0.0.1:9102",
    ]  # fmt: skip
    assert "balance leastconn" in text


def test_without_gpus_the_embedded_engine_runs_in_each(environment: dict[str, str]) -> None:
    assert "--device" not in str(launches(environment, 3, [])[0])


@pytest.mark.parametrize(
    ("changes", "count", "reason"),
    [
        ({}, 3, "there are 2"),
        ({"S2S_ARGS": "--ssl-cert a.pem"}, 2, "TLS"),
        ({"PATH": ""}, 2, "apt-get install haproxy"),
    ],
)
def test_what_cannot_be_is_said(environment: dict[str, str], changes: dict[str, str], count: int, reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        launches(environment | changes, count)


@pytest.fixture
def yard(tmp_path: Path) -> Iterator[Yard]:
    yard = Yard(tmp_path)
    yield yard
    yard.stop(grace_s=0.0)


@pytest.mark.skipif(shutil.which("haproxy") is None, reason="haproxy is not installed")
def test_the_balancer_is_ready_with_the_first_replica_and_lets_requests_end(yard: Yard) -> None:
    port = free_port()
    environment = {**os.environ, "S2S_PORT": str(port), "HOST": "127.0.0.1", "S2S_ARGS": ""}
    *planned, balancer = replicas.launches(2, [], Options(), environment, yard.log_dir, yard.run_dir)
    behind = [replace(yard.launch(one.name), port=one.port) for one in planned]
    behind = [replace(one, command=(*one.command[:-1], str(one.port))) for one in behind]
    yard.run_dir.mkdir()
    replicas.config_path(yard.run_dir).write_text(replicas.config(ROOT, [*behind, balancer]))
    yard.start(*behind, balancer)
    assert probe.health(f"http://127.0.0.1:{port}").status == "healthy"
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5) as answer:
        assert answer.status == 200
    began = time.monotonic()
    assert yard.stop()
    assert not pidfile.read_all(yard.run_dir)
    assert not any("killed" in line for line in yard.said), f"{yard.said} after {time.monotonic() - began:.1f} s"
