"""The manager, with the official package, against a server that answers as RunPod's GraphQL interface does."""

import http.server
import json
import re
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from scripts import runpod_manager

KEY = "rpa_ASECRETKEY"
POD: dict[str, Any] = {
    "id": "abc123xyz",
    "name": "voice",
    "desiredStatus": "RUNNING",
    "gpuCount": 1,
    "costPerHr": 0.39,
    "ports": "8002/http,8003/http,22/tcp",
    "machine": {"gpuDisplayName": "A40"},
    "runtime": {
        "ports": [
            {"ip": "100.65.0.1", "isIpPublic": False, "privatePort": 8002, "publicPort": 60001, "type": "http"},
            {"ip": "203.0.113.7", "isIpPublic": True, "privatePort": 22, "publicPort": 10022, "type": "tcp"},
        ]
    },
}
GPU = {
    "id": "NVIDIA A40",
    "displayName": "A40",
    "memoryInGb": 48,
    "securePrice": 0.4,
    "communityPrice": None,
    "manufacturer": "Nvidia",
    "maxGpuCount": 8,
}


class FakeRunPod(http.server.ThreadingHTTPServer):
    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), RunPodHandler)
        self.mutations: list[str] = []
        self.pod: dict[str, Any] | None = POD


class RunPodHandler(http.server.BaseHTTPRequestHandler):
    server: FakeRunPod

    def do_POST(self) -> None:
        query = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["query"]
        if self.headers["Authorization"] != f"Bearer {KEY}":
            self.reply({}, 401)
            return
        if query.strip().startswith("mutation"):
            self.server.mutations.append(" ".join(query.split()))
        answers = {
            r"podFindAndDeployOnDemand": {"podFindAndDeployOnDemand": {"id": "new456"}},
            r"podResume": {"podResume": {"id": POD["id"], "desiredStatus": "RUNNING"}},
            r"podStop": {"podStop": {"id": POD["id"], "desiredStatus": "EXITED"}},
            r"podTerminate": {"podTerminate": None},
            r"gpuTypes": {"gpuTypes": [GPU]},
            r"myself": {"myself": {"id": "me", "pods": [self.server.pod] if self.server.pod else []}},
            r"pod\(": {"pod": self.server.pod},
        }
        for pattern, data in answers.items():
            if re.search(pattern, query):
                self.reply({"data": data})
                return
        self.reply({"errors": [{"message": "Something went wrong"}]})

    def reply(self, value: object, status: int = 200) -> None:
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def runpod(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeRunPod]:
    with FakeRunPod() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        monkeypatch.setenv("RUNPOD_API_BASE_URL", f"http://127.0.0.1:{server.server_address[1]}")
        monkeypatch.setenv("RUNPOD_API_KEY", KEY)
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def manage(runpod: FakeRunPod, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    """Runs a command; gives the status and all that was printed, which never holds the key."""

    def run(*words: str) -> tuple[int, str]:
        status = runpod_manager.main(words)
        printed = capsys.readouterr()
        assert KEY not in printed.out + printed.err
        return status, printed.out + printed.err

    return run


def test_pods_are_listed_with_what_they_cost(manage: Callable[..., tuple[int, str]]) -> None:
    status, printed = manage("list")
    assert status == 0
    assert re.search(r"abc123xyz +voice +RUNNING +1 x A40 +\$0\.39/h", printed)


def test_prices_are_shown_for_the_number_of_gpus(manage: Callable[..., tuple[int, str]]) -> None:
    assert "48 GB  NVIDIA A40" in manage("price")[1]
    printed = manage("price", "NVIDIA A40", "--count", "2")[1]
    assert re.search(r"secure cloud +\$0\.80/h", printed)
    assert re.search(r"community cloud +not offered", printed)


def test_create_rents_what_was_asked_for(manage: Callable[..., tuple[int, str]], runpod: FakeRunPod) -> None:
    status, printed = manage("create", "--gpu", "NVIDIA A40", "--name", "voice", "--yes")
    assert status == 0
    assert "$0.40 an hour" in printed
    assert "created new456" in printed
    (mutation,) = runpod.mutations
    for part in (
        'gpuTypeId: "NVIDIA A40"',
        'ports: "8002/http,8003/http,8004/http,22/tcp"',
        'volumeMountPath: "/workspace"',
        '{ key: "FUN_AUDIO_ALLOWED_HOSTS", value: ".proxy.runpod.net" }',
    ):
        assert part in mutation


def test_a_gpu_that_the_cloud_does_not_offer_is_refused(
    manage: Callable[..., tuple[int, str]], runpod: FakeRunPod
) -> None:
    status, printed = manage("create", "--gpu", "NVIDIA A40", "--cloud", "COMMUNITY", "--yes")
    assert status == 1
    assert "not offered in the community cloud" in printed
    assert runpod.mutations == []


@pytest.mark.parametrize(
    ("command", "mutation"), [("start", "podResume"), ("stop", "podStop"), ("terminate", "podTerminate")]
)
def test_a_change_is_asked_for_unless_yes_was_given(
    command: str, mutation: str, manage: Callable[..., tuple[int, str]], runpod: FakeRunPod
) -> None:
    status, printed = manage(command, POD["id"])  # the tests have no terminal
    assert status == 1
    assert "nobody is there to ask; add --yes" in printed
    assert manage(command, POD["id"], "--dry-run")[0] == 0
    assert runpod.mutations == []
    assert manage(command, POD["id"], "--yes")[0] == 0
    assert mutation in runpod.mutations[0]
    assert POD["id"] in runpod.mutations[0]


@pytest.mark.parametrize(("answer", "done"), [("yes", 1), ("y", 0), ("", 0)])
def test_only_yes_is_a_yes(
    answer: str, done: int, manage: Callable[..., tuple[int, str]], runpod: FakeRunPod, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda _: answer)
    manage("terminate", POD["id"])
    assert len(runpod.mutations) == done


def test_addresses_of_a_running_pod(manage: Callable[..., tuple[int, str]]) -> None:
    assert manage("ssh", POD["id"]) == (0, "ssh root@203.0.113.7 -p 10022\n")
    printed = manage("urls", POD["id"])[1]
    assert "https://abc123xyz-8002.proxy.runpod.net/" in printed
    assert "8004" not in printed


def test_a_pod_that_is_not_running_has_no_ssh_address(
    manage: Callable[..., tuple[int, str]], runpod: FakeRunPod
) -> None:
    runpod.pod = {**POD, "runtime": None}
    status, printed = manage("ssh", POD["id"])
    assert status == 1
    assert "has no public SSH port (yet)" in printed


def test_an_unknown_pod_is_said(manage: Callable[..., tuple[int, str]], runpod: FakeRunPod) -> None:
    runpod.pod = None
    status, printed = manage("stop", "nosuch", "--yes")
    assert status == 1
    assert "there is no pod nosuch" in printed
    assert manage("list") == (0, "no pods\n")


def test_a_wrong_key_and_no_key_are_said(
    manage: Callable[..., tuple[int, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUNPOD_API_KEY", "wrong")
    assert "check your API key" in manage("list")[1]
    monkeypatch.delenv("RUNPOD_API_KEY")
    assert "set RUNPOD_API_KEY" in manage("list")[1]


@pytest.mark.parametrize(
    "words",
    [
        ["stop", 'x"}) { id } }'],
        ["price", 'A40"'],
        ["create", "--gpu", "A40", "--name", 'a"b'],
        ["start", "x", "--count", "0"],
    ],
)
def test_words_that_would_change_the_query_are_refused(words: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        runpod_manager.main(words)
    assert ended.value.code == 2
