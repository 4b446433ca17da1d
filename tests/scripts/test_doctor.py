import socket
from pathlib import Path

import pytest

from scripts import doctor
from scripts.operations.verify import NOTE
from scripts.operations.weights import hub
from tests.scripts.operations.test_manager import Yard

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.long
def test_the_embedded_service_holds_a_spoken_turn() -> None:
    (finding,) = doctor.one_turn()
    assert finding.fault is None
    assert "go forward ten meters" in finding.detail


def test_every_core_package_is_imported() -> None:
    findings = list(doctor.packages(ROOT, models=False))
    assert [finding.what for finding in findings if finding.fault] == []
    assert {"package aiohttp", "package sphn", "package pocketsphinx"} <= {finding.what for finding in findings}


def test_a_missing_package_is_named_with_the_file_that_installs_it(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text("# comment\nno-such-package==1.0\n")
    (finding,) = doctor.packages(tmp_path, models=False)
    assert "no_such_package" in str(finding.fault)
    assert "pip install -r requirements.txt" in str(finding.fault)


def test_a_package_that_is_for_other_machines_is_not_missed_on_this_one(tmp_path: Path) -> None:
    lines = ('no-such-package==1.0 ; python_version < "3"  # why', 'aiohttp==3.0 ; python_version >= "3"')
    (tmp_path / "requirements.txt").write_text("\n".join(lines))
    assert [finding.what for finding in doctor.packages(tmp_path, models=False)] == ["package aiohttp"]


def test_a_port_in_use_is_named_with_its_variable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        faults = [finding.fault for finding in doctor.ports({"ASR_PORT": port}) if finding.what == f"port {port}"]
    assert "set ASR_PORT" in str(faults[0])


def test_a_service_of_ours_at_its_port_is_no_stranger_whatever_it_does(tmp_path: Path) -> None:
    yard = Yard(tmp_path)
    gate = tmp_path / "gate"
    try:
        launches = [yard.launch("s2s"), yard.launch("asr", "--loading-until", str(gate)), yard.launch("tts")]
        gate.touch()
        yard.start(*launches)
        gate.unlink()
        where = {f"{launch.name.upper()}_PORT": str(launch.port) for launch in launches}
        s2s, asr, _ = doctor.ports(where, yard.run_dir)
    finally:
        yard.stop(grace_s=0.0)
    assert (s2s.fault, asr.fault, asr.aside) == (None, None, NOTE)
    assert "s2s is running there (PID" in s2s.detail
    assert asr.detail.endswith("loading")


def test_what_is_only_told_is_not_called_ok(tmp_path: Path) -> None:
    findings = [*doctor.weights(tmp_path), *doctor.gpu({"PATH": ""}, models=False)]
    assert {str(finding)[:4] for finding in findings} == {"note"}


def test_weights_without_the_packages_that_run_them_are_in_the_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pretrained_models" / hub.MODELS["s2s"].folder).mkdir(parents=True)
    monkeypatch.setattr(doctor.importlib.util, "find_spec", lambda _name: None)
    (fault,) = [finding.fault for finding in doctor.weights(tmp_path) if finding.fault]
    assert "./scripts/full_setup.sh" in fault


def test_weights_that_are_not_there_come_with_the_command_that_fetches_them(tmp_path: Path) -> None:
    (tmp_path / "pretrained_models" / hub.MODELS["s2s"].folder).mkdir(parents=True)
    details = {finding.what: finding.detail for finding in doctor.weights(tmp_path)}
    assert details["weights Fun-Audio-Chat-8B"] == "there"
    assert details["weights Fun-ASR-Nano-2512"].endswith("./scripts/download_models.sh --only asr")
