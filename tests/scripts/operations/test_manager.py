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

    def stop(self, *names: str, grace_s: float = 30.0) -> bool:
        return stack.stop(self.run_dir, grace_s=grace_s, say=self.said.append, names=names)

    def pid(self, name: str) -> int:
        return pidfile.read(pidfile.path_of(self.run_dir, name)).pid

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


# --- one service alone -------------------------------------------------------------------------------------------------


def test_one_service_starts_stops_and_starts_again_while_another_goes_on(yard: Yard) -> None:
    yard.start(yard.launch("s2s"))
    other = yard.pid("s2s")
    yard.start(yard.launch("asr"))
    assert yard.stop("asr")
    assert yard.said[-1].startswith("asr: stopped")
    assert yard.files() == ["s2s.pid"]
    yard.start(yard.launch("asr"))
    assert yard.stop("asr", "tts")
    assert yard.said[-1] == "tts: is not running"
    assert pidfile.read_all(yard.run_dir)[0].running
    assert yard.pid("s2s") == other


def test_a_start_that_fails_leaves_alone_what_ran_before(yard: Yard) -> None:
    (before,) = yard.start(yard.launch("s2s"))
    with pytest.raises(StartFailed, match="asr ended with exit status 1"):
        yard.start(yard.launch("asr", "--die"))
    assert processes.is_alive(before)
    assert yard.files() == ["s2s.pid"]


def test_a_restart_takes_the_place_of_the_old_one_at_its_port_and_of_no_other(yard: Yard) -> None:
    asr = yard.launch("asr")
    yard.start(yard.launch("s2s"), asr)
    s2s, old = yard.pid("s2s"), yard.pid("asr")
    stack.start([asr], yard.run_dir, timeout_s=60.0, say=yard.said.append, instead=True)
    assert yard.pid("asr") != old
    assert yard.pid("s2s") == s2s
    assert any(line.startswith(f"asr: stopped (PID {old})") for line in yard.said)


def test_a_restart_that_cannot_begin_stops_nothing(yard: Yard) -> None:
    (before,) = yard.start(yard.launch("asr"))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        moved = yard.launch("asr", port=taken.getsockname()[1])
        with pytest.raises(StartFailed, match="Address already in use"):
            stack.start([moved], yard.run_dir, timeout_s=60.0, say=yard.said.append, instead=True)
    assert processes.is_alive(before)


def test_replicas_and_their_balancer_are_stopped_by_the_name_of_the_service(yard: Yard) -> None:
    yard.start(yard.launch("s2s-1"), yard.launch("s2s-2"), yard.launch("s2s"), yard.launch("asr"))
    assert yard.stop("s2s")
    assert yard.files() == ["asr.pid"]


def test_a_start_of_more_than_runs_says_how_the_rest_is_started(yard: Yard) -> None:
    yard.start(yard.launch("s2s"))
    with pytest.raises(StartFailed, match=r"stop_services.sh s2s.*--restart. To start the others beside: --only asr"):
        yard.start(yard.launch("s2s"), yard.launch("asr"))


def test_the_dead_are_forgotten_by_a_start_of_all_and_kept_beside_what_runs(yard: Yard) -> None:
    dead = yard.start(yard.launch("asr"), yard.launch("s2s"))
    processes.end(dead[:1], grace_s=0.0)
    yard.start(yard.launch("tts"))
    assert yard.files() == ["asr.pid", "s2s.pid", "tts.pid"]  # what died is still told of
    processes.end([item.process for item in pidfile.read_all(yard.run_dir)], grace_s=0.0)
    yard.start(yard.launch("tts"))
    assert yard.files() == ["tts.pid"]


# --- the command line -------------------------------------------------------------------------------------------------


@pytest.fixture
def manage(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """`manager.main` with one fake service in place of the real ones."""
    monkeypatch.setattr(manager, "RUN_DIR", yard.run_dir)
    monkeypatch.setattr(manager, "LOG_DIR", yard.log_dir)
    monkeypatch.setattr(manager, "launches_of", lambda *_: [yard.launch("s2s"), yard.launch("asr")])
    return lambda *words: manager.main(words)


def test_start_prints_address_log_and_pid_and_status_lists_them(
    yard: Yard, manage: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert manage("start") == 0
    known = pidfile.read(pidfile.path_of(yard.run_dir, "s2s"))
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
    ("words", "program"),
    [
        (["start", "one"], "./scripts/start_services.sh"),
        (["start", "0", "gpu"], "./scripts/start_services.sh"),
        (["start", "--timeout-s", "0"], "./scripts/start_services.sh"),
        (["start", "--nonsense"], "./scripts/start_services.sh"),
        (["start", "--only", "s2s,whisper"], "./scripts/start_services.sh"),
        (["start-vllm", "--only", "asr"], "./scripts/start_vllm_services.sh"),
        (["stop", "x"], "./scripts/stop_services.sh"),
        (["stop", "--nonsense"], "./scripts/stop_services.sh"),
        (["verify", "--nonsense"], "./scripts/verify_deployment.sh"),
        (["preflight", "start", "--nonsense"], "./scripts/start_services.sh"),
        (["nonsense"], "fun-audio-services"),
        ([], "fun-audio-services"),
    ],
)
def test_wrong_words_end_with_status_2_and_the_usage_of_what_was_called(
    words: list[str], program: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        manager.main(words)
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith(f"usage: {program} ")


def test_only_starts_what_is_named_and_stop_stops_it(
    yard: Yard, manage: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert manage("start", "--only", "asr") == 0
    assert "stop them with ./scripts/stop_services.sh asr" in capsys.readouterr().out
    assert yard.files() == ["asr.pid"]
    assert manage("start", "--only", "tts") == 2
    assert "--only tts: what was chosen starts asr, s2s alone" in capsys.readouterr().err
    assert manage("stop", "s2s") == 0
    assert yard.files() == ["asr.pid"]
    assert manage("stop", "asr") == 0
    assert yard.files() == []


def test_only_brings_the_service_that_is_not_started_by_itself(capsys: pytest.CaptureFixture[str]) -> None:
    assert manager.main(["start", "--only", "tts", "--dry-run"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert "web_demo.server.tts_server" in line
    assert manager.main(["start", "--only", "asr", "--with-tts", "--dry-run"]) == 2


SCRIPTS = "start_services start_vllm_services stop_services verify_deployment download_models full_setup make_cert"


@pytest.mark.parametrize("name", SCRIPTS.split())
def test_a_script_shows_its_own_usage_for_wrong_words_and_does_nothing(name: str) -> None:
    done = subprocess.run([ROOT / "scripts" / f"{name}.sh", "--nonsense"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"usage: ./scripts/{name}.sh" in done.stderr
    assert "--nonsense" in done.stderr


# --- before the installation ------------------------------------------------------------------------------------------


def test_the_preflight_of_a_start_that_can_be_says_nothing_and_makes_nothing_run(
    yard: Yard, manage: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert manage("preflight", "start") == 0
    assert manage("preflight", "start", "--help") == 0
    assert capsys.readouterr().out == ""
    assert yard.files() == []


def test_the_preflight_finds_a_port_in_use_and_what_runs_already(
    yard: Yard, manage: Callable[..., int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        monkeypatch.setattr(manager, "launches_of", lambda *_: [yard.launch("asr", port=taken.getsockname()[1])])
        assert manage("preflight", "start") == 1
    assert "set ASR_PORT" in capsys.readouterr().err
    launch = yard.launch("asr")
    yard.start(launch)
    monkeypatch.setattr(manager, "launches_of", lambda *_: [launch])
    assert manage("preflight", "start") == 1
    assert "already running: asr" in capsys.readouterr().err
    assert manage("preflight", "start", "--restart") == 0


def test_a_checkout_that_cannot_be_written_is_told_in_a_sentence(
    tmp_path: Path, manage: Callable[..., int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    checkout = tmp_path / "checkout"
    checkout.mkdir()
    monkeypatch.setattr(manager, "RUN_DIR", checkout / "run")
    monkeypatch.setattr(os, "access", lambda path, _mode: Path(path) != checkout)  # root may write anywhere
    for words in (("preflight", "start"), ("start",)):
        assert manage(*words) == 1
        assert f"error: {checkout} cannot be written by this user" in capsys.readouterr().err
    assert not list(checkout.iterdir())


def test_the_start_scripts_look_before_they_install() -> None:
    """With a Python of the system alone, as in a fresh clone."""
    for script, word in (("start_services.sh", "start"), ("start_vllm_services.sh", "start-vllm")):
        lines = (ROOT / "scripts" / script).read_text().splitlines()
        before = next(number for number, line in enumerate(lines) if f"manager preflight {word}" in line)
        assert before < next(number for number, line in enumerate(lines) if line.startswith("start_with"))
    alone = [sys.executable, "-S", "-m", "scripts.operations.manager", "preflight", "start", "--gpus", "24"]
    done = subprocess.run(
        alone, cwd=ROOT, capture_output=True, text=True, check=False, env={"PATH": os.environ["PATH"]}
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


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
