"""The manager with fake services, over real processes and sockets."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from scripts.operations import manager, pidfile, processes, stack
from scripts.operations.services import Launch
from scripts.operations.stack import StartFailed

FAKE = Path(__file__).with_name("fake_service.py")
ROOT = Path(__file__).resolve().parents[3]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Yard:
    """A folder for PID files and logs, and what the manager said."""

    def __init__(self, folder: Path) -> None:
        self.run_dir = folder / "run"
        self.log_dir = folder / "logs"
        self.said: list[str] = []

    def launch(self, name: str, *arguments: str, port: int | None = None) -> Launch:
        port = port or free_port()
        command = (sys.executable, str(FAKE), "--port", str(port), *arguments)
        return Launch(name, name, command, "127.0.0.1", port, self.log_dir / f"{name}.log")

    def start(self, *launches: Launch, timeout_s: float = 60.0) -> list[processes.Process]:
        stack.start(launches, self.run_dir, timeout_s=timeout_s, say=self.said.append)
        return [item.process for item in pidfile.read_all(self.run_dir)]

    def stop(self, grace_s: float = 30.0) -> bool:
        return stack.stop(self.run_dir, grace_s=grace_s, say=self.said.append)

    def files(self) -> list[str]:
        return sorted(item.name for item in self.run_dir.iterdir())


@pytest.fixture
def yard(tmp_path: Path) -> Iterator[Yard]:
    yard = Yard(tmp_path)
    yield yard
    yard.stop(grace_s=0.0)


def test_start_waits_until_each_service_is_healthy(yard: Yard, tmp_path: Path) -> None:
    gate = tmp_path / "gate"

    def say(line: str) -> None:
        yard.said.append(line)
        if line.startswith("quick: ready"):
            gate.touch()  # only now may the slow one get ready

    launches = [yard.launch("slow", "--loading-until", str(gate)), yard.launch("quick")]
    running = stack.start(launches, yard.run_dir, timeout_s=60.0, say=say)
    assert [item.launch.name for item in running if item.ready_s is not None] == ["slow", "quick"]
    assert yard.said[-1].startswith("slow: ready")
    assert yard.said[-1].endswith("engine fake")


def test_stop_ends_what_was_started_and_nothing_else(yard: Yard) -> None:
    port = free_port()
    stranger = subprocess.Popen([sys.executable, str(FAKE), "--port", str(port)])  # the same program, not ours
    try:
        ours = yard.start(yard.launch("s2s"), yard.launch("asr"))
        assert yard.stop()
        assert not any(map(processes.is_alive, ours))
        assert stranger.poll() is None
        assert yard.files() == []
    finally:
        stranger.kill()
        stranger.wait()


def test_stop_leaves_the_new_owner_of_a_reused_pid_alone(yard: Yard) -> None:
    stranger = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
    try:
        process = processes.find(stranger.pid)
        assert process is not None
        yard.run_dir.mkdir()
        pidfile.write(yard.run_dir, pidfile.PidFile("s2s", stranger.pid, process.started + "9", "http://x", "x.log"))
        assert yard.stop()
        assert stranger.poll() is None
        assert yard.said[-1] == f"s2s: was not running any more (PID {stranger.pid})"
        assert yard.files() == []
    finally:
        stranger.kill()
        stranger.wait()


def test_a_service_that_ignores_sigterm_is_killed_with_its_child(yard: Yard, tmp_path: Path) -> None:
    child_file = tmp_path / "child"
    ours = yard.start(yard.launch("s2s", "--ignore-sigterm", "--child", str(child_file)))
    child = processes.find(int(child_file.read_text()))
    assert child is not None
    assert yard.stop(grace_s=0.2)
    assert not any(map(processes.is_alive, [*ours, child]))
    assert "killed" in yard.said[-1]


def test_a_service_that_dies_at_start_gives_its_log_and_takes_the_others_down(yard: Yard) -> None:
    good = yard.launch("s2s")
    with pytest.raises(StartFailed, match=r"(?s)asr ended with exit status 1.*the weights are not there"):
        yard.start(good, yard.launch("asr", "--die"))
    assert yard.files() == []
    assert stack.probe.port_fault("127.0.0.1", good.port) is None


def test_a_program_that_is_not_there_is_named(yard: Yard) -> None:
    launch = Launch("s2s", "s2s", ("/nonexistent/python",), "127.0.0.1", free_port(), yard.log_dir / "s2s.log")
    with pytest.raises(StartFailed, match="cannot run /nonexistent/python: No such file or directory"):
        yard.start(launch)
    assert yard.files() == []


def test_an_unhealthy_service_fails_the_start_with_its_reason(yard: Yard) -> None:
    with pytest.raises(StartFailed, match="s2s is unhealthy: it is unhealthy"):
        yard.start(yard.launch("s2s", "--health", "unhealthy"))
    assert yard.files() == []


def test_a_service_that_never_gets_ready_ends_the_start_at_the_timeout(yard: Yard, tmp_path: Path) -> None:
    launch = yard.launch("s2s", "--loading-until", str(tmp_path / "never"))
    with pytest.raises(StartFailed, match=r"s2s was not healthy after 1 s \(last: it is loading\)"):
        yard.start(launch, timeout_s=1.0)
    assert yard.files() == []
    assert stack.probe.port_fault("127.0.0.1", launch.port) is None


def test_a_second_start_is_refused_and_the_first_goes_on(yard: Yard) -> None:
    ours = yard.start(yard.launch("s2s"))
    with pytest.raises(StartFailed, match=rf"already running: s2s \(PID {ours[0].pid}, .*stop_services.sh"):
        yard.start(yard.launch("s2s"))
    assert processes.is_alive(ours[0])


def test_a_port_in_use_is_named_before_anything_starts(yard: Yard) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(
            StartFailed, match=rf"asr cannot listen on 127.0.0.1:{port}: Address already in use.*ASR_PORT"
        ):
            yard.start(yard.launch("s2s"), yard.launch("asr", port=port))
    assert yard.said == []
    assert yard.files() == []


def test_the_pid_file_of_a_service_that_has_died_does_not_block_a_start(yard: Yard) -> None:
    first = yard.start(yard.launch("s2s"))[0]
    processes.end([first], grace_s=0.0)
    second = yard.start(yard.launch("s2s"))[0]
    assert second != first
    assert any("removed the PID file" in line for line in yard.said)


def test_a_damaged_pid_file_kills_nobody(yard: Yard) -> None:
    yard.run_dir.mkdir()
    path = yard.run_dir / "s2s.pid"
    for text in ("", "1", '{"pid": 1}', '{"name": "s2s", "pid": 1, "started": "", "url": "", "log": ""}', "\x00\xff"):
        path.write_text(text)
        assert not yard.stop(), text
        with pytest.raises(StartFailed, match=r"s2s\.pid"):
            yard.start(yard.launch("s2s"))
    path.unlink()


def test_two_starts_at_once_do_not_mix(yard: Yard) -> None:
    with stack.locked(yard.run_dir), pytest.raises(StartFailed, match="another start or stop is at work"):
        yard.start(yard.launch("s2s"))


def test_an_interrupted_start_leaves_nothing(yard: Yard, tmp_path: Path) -> None:
    launch = yard.launch("s2s", "--loading-until", str(tmp_path / "never"))

    def interrupt(_line: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stack.start([launch], yard.run_dir, timeout_s=60.0, say=interrupt)
    assert yard.files() == []
    assert stack.probe.port_fault("127.0.0.1", launch.port) is None


def test_after_a_killed_start_stop_still_finds_the_service(yard: Yard, tmp_path: Path) -> None:
    code = f"""
import os, signal, sys
from pathlib import Path
from scripts.operations import stack
from scripts.operations.services import Launch
folder = Path({str(tmp_path)!r})
command = (sys.executable, {str(FAKE)!r}, "--port", "{free_port()}")
launch = Launch("s2s", "s2s", command, "127.0.0.1", {free_port()}, folder / "logs" / "s2s.log")
def say(line):
    while not (folder / "run" / "s2s.pid").exists():
        pass
    os.kill(os.getpid(), signal.SIGKILL)
stack.start([launch], folder / "run", timeout_s=60.0, say=say)
"""
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == -signal.SIGKILL
    known = pidfile.read_all(yard.run_dir)[0]
    assert known.running
    with pytest.raises(StartFailed, match="already running"):
        yard.start(yard.launch("s2s"))
    assert yard.stop()
    assert not known.running
    assert yard.files() == []


def test_ten_times_start_and_stop_leave_no_process_and_no_file(yard: Yard, tmp_path: Path) -> None:
    child_file = tmp_path / "child"
    launches = [yard.launch("s2s", "--child", str(child_file)), yard.launch("asr")]
    for _ in range(10):
        ours = yard.start(*launches)
        child = processes.find(int(child_file.read_text()))
        assert child is not None
        assert yard.stop()
        assert not any(map(processes.is_alive, [*ours, child]))
        assert yard.files() == []


def test_stop_with_nothing_running_says_so_and_is_content(yard: Yard) -> None:
    assert yard.stop()
    assert yard.said == ["nothing is running"]


# --- the command line -------------------------------------------------------------------------------------------------


@pytest.fixture
def manage(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """`manager.main` with one fake service in place of the real ones."""
    monkeypatch.setattr(manager, "RUN_DIR", yard.run_dir)
    monkeypatch.setattr(manager, "LOG_DIR", yard.log_dir)
    monkeypatch.setattr(manager, "launches_of", lambda *_: [yard.launch("s2s")])
    return lambda *words: manager.main(words)


def test_start_prints_address_log_and_pid_and_status_lists_them(
    yard: Yard, manage: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert manage("start") == 0
    known = pidfile.read_all(yard.run_dir)[0]
    printed = capsys.readouterr().out
    for part in (known.url, f"PID {known.pid}", str(yard.log_dir / "s2s.log")):
        assert part in printed
    assert manage("status") == 0
    assert f"s2s: running, PID {known.pid}" in capsys.readouterr().out
    assert manage("stop") == 0
    assert manage("status") == 1


def test_a_dry_run_starts_nothing(yard: Yard, manage: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    assert manage("start", "--dry-run") == 0
    assert "fake_service.py --port" in capsys.readouterr().out
    assert not yard.run_dir.exists()


@pytest.mark.parametrize(
    "words", [["start", "one"], ["start", "0", "gpu"], ["start", "--timeout-s", "0"], ["stop", "x"], []]
)
def test_wrong_usage_ends_with_status_2(words: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        manager.main(words)
    assert ended.value.code == 2


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own, small and full."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if os.geteuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", disk]).returncode != 0:
        pytest.skip("only root may mount a disk to fill")
    try:
        (disk / "run").mkdir()
        (disk / "logs").mkdir()
        with pytest.raises(OSError, match="No space left"):
            (disk / "filler").write_bytes(bytes(1 << 20))
        yield disk
    finally:
        subprocess.run(["umount", disk], check=True)


def test_a_full_disk_ends_the_start_in_words_and_a_clean_state(full_disk: Path) -> None:
    yard = Yard(full_disk)
    port = free_port()
    with pytest.raises((OSError, StartFailed), match="No space left"):
        yard.start(yard.launch("service", port=port))
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0
    assert yard.files() == []


def test_the_start_says_which_engine_runs_and_what_would_be_better_in_the_users_language(yard: Yard) -> None:
    better = {"en": "Fetch models.", "zh": "请下载模型。"}
    about = {"recogniser": "embedded: pocketsphinx", "languages": ["en"], "better": better}
    running = stack.start(
        [yard.launch("plain"), yard.launch("s2s", "--about", json.dumps(about))],
        yard.run_dir,
        timeout_s=60.0,
        say=yard.said.append,
    )
    assert any("engine fake (recogniser embedded: pocketsphinx; languages en)" in line for line in yard.said)
    assert stack.advice(running, "zh") == "请下载模型。"
    assert stack.advice(running, "fr") == "Fetch models."
    assert stack.advice(running[:1], "zh") == ""


def test_the_language_is_that_of_the_terminal() -> None:
    assert manager.language_of({"LANG": "zh_CN.UTF-8"}) == "zh"
    assert manager.language_of({"LC_ALL": "C", "LANG": "zh_CN.UTF-8"}) == "en"
    assert manager.language_of({}) == "en"
