"""The downloader against a hub on the loopback address, whose line is cut and whose files go bad."""

import hashlib
import http.server
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from scripts.operations.weights import download
from scripts.operations.weights import main as program
from scripts.operations.weights.hub import MODELS, Hub, HubError, RemoteFile

WEIGHTS = bytes(range(256)) * 1200  # 300 KiB
CONTENT = {"config.json": b'{"a": 1}', "model.safetensors": WEIGHTS, "assets/empty.txt": b""}
SPEAKER = b"a speaker file"


def git_sha1(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


class FakeHub(http.server.ThreadingHTTPServer):
    """Hugging Face's and ModelScope's interface for one model. `cut_after` bytes of a body, the connection is closed."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), HubHandler)
        self.cut_after: int | None = None
        self.ranges = True
        self.served = dict(CONTENT)  # may differ from what is listed
        self.listed = dict(CONTENT)
        self.requests: list[tuple[str, str, str]] = []  # path, Range, Authorization

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class HubHandler(http.server.BaseHTTPRequestHandler):
    server: FakeHub

    def do_GET(self) -> None:
        self.server.requests.append((self.path, self.headers.get("Range", ""), self.headers.get("Authorization", "")))
        url = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        if url.path.startswith("/api/models/") and "/tree/main" in url.path:
            self.page_of_tree(int(query.get("cursor", "0")))
        elif url.path.endswith("/repo/files"):
            files = [
                {"Path": path, "Size": len(data), "Sha256": hashlib.sha256(data).hexdigest(), "Type": "blob"}
                for path, data in self.server.listed.items()
            ]
            self.json({"Data": {"Files": [*files, {"Path": "assets", "Size": 0, "Type": "tree"}]}})
        elif "/contents/" in url.path:
            self.json({"size": len(SPEAKER), "sha": git_sha1(SPEAKER), "download_url": f"{self.server.url}/speaker"})
        elif url.path == "/speaker":
            self.body(SPEAKER)
        elif url.path.endswith("/repo"):
            self.body(self.server.served[query["FilePath"]])
        elif "/resolve/main/" in url.path:
            path = unquote(url.path.partition("/resolve/main/")[2])
            self.body(self.server.served[path])
        else:
            self.send_error(404)

    def page_of_tree(self, cursor: int) -> None:
        """One entry a page, so that a client that ignores `Link` misses files."""
        path, data = list(self.server.listed.items())[cursor]
        entry = {"type": "file", "path": path, "size": len(data), "oid": git_sha1(data)}
        if path.endswith(".safetensors"):
            entry["lfs"] = {"oid": hashlib.sha256(data).hexdigest(), "size": len(data)}
        more = cursor + 1 < len(self.server.listed)
        following = f'<{self.server.url}{urlsplit(self.path).path}?recursive=true&cursor={cursor + 1}>; rel="next"'
        self.json([entry], {"Link": following} if more else {})

    def json(self, value: object, headers: dict[str, str] | None = None) -> None:
        data = json.dumps(value).encode()
        self.send_response(200)
        for name, text in {"Content-Length": str(len(data)), **(headers or {})}.items():
            self.send_header(name, text)
        self.end_headers()
        self.wfile.write(data)

    def body(self, data: bytes) -> None:
        start = 0
        if self.server.ranges and "Range" in self.headers:
            start = int(self.headers["Range"].removeprefix("bytes=").removesuffix("-"))
            if start >= len(data):
                self.send_error(416)
                return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        end = len(data) if self.server.cut_after is None else start + self.server.cut_after
        self.wfile.write(data[start:end])
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    with FakeHub() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def get(hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """The command, without the waiting between attempts."""
    monkeypatch.setattr(program, "Hub", lambda *words: Hub(*words, github=hub.url))
    monkeypatch.setattr(download.time, "sleep", lambda _: None)
    monkeypatch.setattr(download.fetch, "__kwdefaults__", {"sleep": lambda _: None})

    def run(*words: str) -> int:
        where = ("--endpoint", hub.url, "--models-dir", str(tmp_path))
        return program.main([*where, *words], {"HF_TOKEN": "secret"})

    return run


def content(folder: Path) -> dict[str, bytes]:
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != download.MANIFEST]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


@pytest.mark.parametrize("source", ["huggingface", "modelscope"])
def test_everything_arrives_and_a_second_run_fetches_nothing(
    source: str, hub: FakeHub, get: Callable[..., int], tmp_path: Path
) -> None:
    assert get("--source", source, "--only", "s2s") == 0
    assert content(tmp_path / MODELS["s2s"].folder) == CONTENT
    hub.served.clear()
    assert get("--source", source, "--only", "s2s") == 0


def test_a_cut_line_is_resumed_where_it_broke(hub: FakeHub, get: Callable[..., int], tmp_path: Path) -> None:
    hub.cut_after = 100_000
    assert get("--only", "s2s") == 0
    assert content(tmp_path / MODELS["s2s"].folder) == CONTENT
    ranges = [given for path, given, _ in hub.requests if path.endswith("model.safetensors")]
    assert ranges == ["", "bytes=100000-", "bytes=200000-", "bytes=300000-"]


def test_a_server_that_cannot_resume_sends_all_of_it_again(
    hub: FakeHub, get: Callable[..., int], tmp_path: Path
) -> None:
    folder = tmp_path / MODELS["s2s"].folder
    folder.mkdir()
    (folder / "model.safetensors.part").write_bytes(b"from another time")
    hub.ranges = False
    assert get("--only", "s2s") == 0
    assert content(folder) == CONTENT


def test_a_dead_line_is_given_up_and_the_part_is_kept(
    hub: FakeHub, get: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.served["model.safetensors"] = WEIGHTS[:1000]  # ends early, and has nothing beyond
    assert get("--only", "s2s") == 1
    assert "given up after 8 attempts" in capsys.readouterr().err
    hub.served["model.safetensors"] = WEIGHTS
    assert get("--only", "s2s") == 0
    assert content(tmp_path / MODELS["s2s"].folder) == CONTENT


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_wrong_content_of_the_right_size_is_not_kept(
    name: str, hub: FakeHub, get: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.served[name] = b"x" * len(CONTENT[name])
    assert get("--only", "s2s") == 1
    assert f"{name}: wrong" in capsys.readouterr().err
    assert name not in content(tmp_path / MODELS["s2s"].folder)


def test_a_server_that_sends_more_than_it_listed_is_stopped(
    hub: FakeHub, get: Callable[..., int], tmp_path: Path
) -> None:
    hub.served["config.json"] = b"x" * 1000
    assert get("--only", "s2s") == 1
    assert (tmp_path / MODELS["s2s"].folder / "config.json.part").stat().st_size <= len(CONTENT["config.json"])


def test_a_damaged_file_is_found_by_check_and_fetched_again(get: Callable[..., int], tmp_path: Path) -> None:
    assert get("--only", "s2s") == 0
    folder = tmp_path / MODELS["s2s"].folder
    assert get("--only", "s2s", "--check") == 0
    (folder / "config.json").write_bytes(b'{"a": 2}')
    assert get("--only", "s2s", "--check") == 1
    (folder / download.MANIFEST).write_text("not JSON")
    assert get("--only", "s2s") == 0
    assert content(folder) == CONTENT


def test_the_speaker_file_comes_with_the_synthesiser(get: Callable[..., int], tmp_path: Path) -> None:
    assert get("--only", "tts") == 0
    assert (tmp_path / MODELS["tts"].folder / "spk2info.pt").read_bytes() == SPEAKER


def test_the_token_goes_to_the_hub_alone_and_is_never_printed(
    hub: FakeHub, get: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert get("--only", "s2s") == 0
    assert {given for _, _, given in hub.requests} == {"Bearer secret"}
    hub.requests.clear()
    elsewhere = Hub("huggingface", "http://hub.example", "secret")
    with elsewhere.open(f"{hub.url}/speaker"):
        pass
    assert hub.requests == [("/speaker", "", "")]
    printed = capsys.readouterr()
    assert "secret" not in printed.out + printed.err


@pytest.mark.parametrize("path", ["../evil", "/etc/passwd", "a/../../b", "a\\..\\b", ""])
def test_a_file_name_that_leads_out_of_the_folder_is_refused(
    path: str, hub: FakeHub, get: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    hub.listed = {path: b"x"}
    assert get("--only", "s2s") == 1
    assert "leads out of the model's folder" in capsys.readouterr().err


def test_too_little_disk_space_is_said_before_anything_is_fetched(tmp_path: Path) -> None:
    file = RemoteFile("model.safetensors", 1 << 60, "http://hub.example/x")
    with pytest.raises(HubError, match=r"needs .* GiB more .* are free"):
        download.fetch(Hub("huggingface", "http://hub.example"), [file], tmp_path, say=print)


def test_an_endpoint_that_is_not_there_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--endpoint", "http://127.0.0.1:9", "--models-dir", str(tmp_path)]
    assert program.main(words, {}) == 1
    assert "cannot reach http://127.0.0.1:9" in capsys.readouterr().err


def test_an_unknown_repository_is_named(
    hub: FakeHub, get: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert get("--only", "s2s", "--revision", "v9") == 1
    assert "not there (404)" in capsys.readouterr().err
