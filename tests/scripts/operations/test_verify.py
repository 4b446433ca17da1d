"""What verify finds wrong with services that were started; a turn with a real one is in tests/scripts/test_doctor.py."""

import os
from pathlib import Path

import pytest

from scripts.operations import pidfile, processes, verify
from tests.scripts.operations.test_manager import Yard


@pytest.fixture
def yard(tmp_path: Path):
    yard = Yard(tmp_path)
    yield yard
    yard.stop(grace_s=0.0)


def outcome(yard: Yard) -> tuple[bool, str]:
    said: list[str] = []
    return verify.verify(yard.run_dir, os.environ, said.append), "\n".join(said)


def test_what_was_not_tried_does_not_count_as_serving(yard: Yard) -> None:
    process = yard.start(yard.launch("helper"))[0]  # healthy, and nobody knows what to ask it
    passed, said = outcome(yard)
    assert not passed
    assert f"PID {process.pid}" in said
    assert "engine fake" in said
    assert "skip  helper request" in said
    assert "fake service: reading its settings" in said


def test_a_service_that_has_died_fails(yard: Yard) -> None:
    process = yard.start(yard.launch("asr"), yard.launch("tts"))[0]
    processes.end([process], grace_s=0.0)
    passed, said = outcome(yard)
    assert not passed
    assert f"PID {process.pid} has ended" in said
    assert "skip  asr request              not tried" in said
    assert "FAIL  tts request" in said  # it is tried all the same, and answers nothing


def test_a_service_that_became_unhealthy_fails_with_its_reason(yard: Yard, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    gate.touch()
    yard.start(yard.launch("asr", "--loading-until", str(gate)))
    gate.unlink()
    passed, said = outcome(yard)
    assert not passed
    assert "loading: it is loading" in said


def test_nothing_started_and_a_damaged_pid_file_fail(yard: Yard) -> None:
    passed, said = outcome(yard)
    assert not passed
    assert "nothing was started" in said
    yard.run_dir.mkdir()
    path = pidfile.path_of(yard.run_dir, "s2s")
    path.write_text("?")
    assert not outcome(yard)[0]
    path.unlink()


def test_a_service_that_answers_no_real_request_fails_though_its_health_is_good(yard: Yard) -> None:
    yard.start(yard.launch("s2s"))  # healthy, but it knows no WebSocket
    passed, said = outcome(yard)
    assert not passed
    assert "FAIL  s2s request" in said
