"""The downloader against a hub on the loopback address, whose line is cut and whose files go bad."""

import hashlib
import http.server
import io
import json
import tarfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from scripts.operations.weights import download, laptop
from scripts.operations.weights import main as program
from scripts.operations.weights.hub import MODELS, Hub, HubError, RemoteFile
from tests import tiny_sherpa
from web_demo.engines.asr.sherpa import models as asr_models
from web_demo.engines.tts.sherpa import models as tts_models

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


# --- --laptop ---------------------------------------------------------------------------------------------------------


def archive(files: dict[str, bytes]) -> bytes:
    """As the releases have them: one folder, with more in it than is wanted."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:bz2") as content:
        for name, data in {**files, "test_wavs/zh.wav": b"RIFF"}.items():
            member = tarfile.TarInfo(f"some-model/{name}")
            member.size = len(data)
            content.addfile(member, io.BytesIO(data))
        leading_out = tarfile.TarInfo("some-model/../../escaped")
        leading_out.size = 1
        content.addfile(leading_out, io.BytesIO(b"x"))
    return out.getvalue()


class LaptopHandler(HubHandler):
    """Repositories with the files of all laptop models, their licence, and releases on GitHub."""

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        if path.startswith("/repos/"):
            self.server.requests.append((path, "", ""))
            self.json({"assets": [asset(self.server, name) for name in self.server.assets]})
        elif path.startswith("/download/"):
            self.server.requests.append((path, self.headers.get("Range", ""), ""))
            self.body(self.server.assets[path.removeprefix("/download/")])
        elif path.startswith("/api/models/") and "/tree/" not in path:
            self.json({"tags": ["onnx", "license:apache-2.0"]})
        elif path.startswith("/api/v1/models/") and not path.endswith(("/repo", "/repo/files")):
            self.json({"Data": {"License": "Apache License 2.0"}})
        else:
            super().do_GET()


def asset(server: FakeHub, name: str) -> dict[str, object]:
    data = server.listed_assets.get(name, server.assets[name])
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    return {"name": name, "size": len(data), "digest": digest, "browser_download_url": f"{server.url}/download/{name}"}


@pytest.fixture
def releases(hub: FakeHub) -> FakeHub:
    hub.RequestHandlerClass = LaptopHandler
    names = dict.fromkeys(name for model in laptop.MODELS.values() for name in model.files)
    hub.served = {name: f"content of {name}".encode() * 50 for name in names}
    hub.listed = dict(hub.served)
    hub.assets = {"vocos-16khz-univ.onnx": hub.served["vocos-16khz-univ.onnx"]}
    hub.listed_assets = {}
    for model in laptop.MODELS.values():
        for place in model.places.get("github", ()):
            for name in place.files:
                if name.endswith(".tar.bz2"):
                    hub.assets[name] = archive({file: hub.served[file] for file in model.files if "vocos" not in file})
    return hub


@pytest.fixture
def laptop_get(releases: FakeHub, get: Callable[..., int], tmp_path: Path) -> Callable[..., int]:
    """All hubs are the one on the loopback address."""

    def run(*words: str) -> int:
        environment = {"HF_ENDPOINT": releases.url, "MODELSCOPE_ENDPOINT": releases.url}
        return program.main(["--laptop", "--models-dir", str(tmp_path), *words], environment)

    return run


@pytest.mark.parametrize("source", laptop.SOURCES)
def test_the_two_default_models_come_whole_from_each_place_and_a_second_run_fetches_nothing(
    source: str, releases: FakeHub, laptop_get: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert laptop_get("--source", source) == 0
    for name in laptop.DEFAULT:
        model = laptop.MODELS[name]
        for file in model.files:
            assert (tmp_path / model.folder / file).read_bytes() == releases.served[file]
        assert not list((tmp_path / model.folder).glob("*.tar.bz2"))
    told = capsys.readouterr().out
    assert "sense-voice: recogniser SenseVoice: Chinese, Cantonese, English, Japanese, Korean; " in told
    assert "licence " in told
    assert "modelscope.cn/models/iic/SenseVoiceSmall" in told
    if source != "github":
        assert "icence apache-2.0" in told.replace("Apache License 2.0", "apache-2.0")
    assert f"checked against what {source} lists" in told
    assert not (tmp_path.parent / "escaped").exists()
    releases.served.clear()
    releases.listed_assets = dict(releases.assets)
    assert laptop_get("--source", source) == 0
    assert laptop_get("--source", source, "--check") == 0


def test_without_a_source_the_first_that_answers_is_taken_and_said(
    releases: FakeHub, laptop_get: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--laptop", "--models-dir", str(tmp_path), "--only", "sense-voice")
    environment = {"HF_ENDPOINT": "http://127.0.0.1:9", "MODELSCOPE_ENDPOINT": releases.url}
    assert program.main(words, environment) == 0
    told = capsys.readouterr().out
    assert "cannot reach http://127.0.0.1:9" in told
    assert "trying modelscope" in told
    assert "from modelscope" in told


def test_an_archive_is_resumed_and_one_of_another_content_is_refused(
    releases: FakeHub, laptop_get: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = "sherpa-onnx-sense-voice-zh-en-ja-ko-yue-int8-2024-07-17.tar.bz2"
    releases.cut_after = 200
    assert laptop_get("--source", "github", "--only", "sense-voice") == 0
    assert any(span for path, span, _ in releases.requests if path.endswith(name))
    folder = tmp_path / laptop.MODELS["sense-voice"].folder
    (folder / "tokens.txt").write_text("damaged")
    releases.cut_after = None
    assert laptop_get("--source", "github", "--only", "sense-voice", "--check") == 1
    assert "is not complete" in capsys.readouterr().err
    good = releases.assets[name]
    releases.listed_assets = {name: good}
    releases.assets[name] = good[:-1] + bytes([good[-1] ^ 1])
    assert laptop_get("--source", "github", "--only", "sense-voice") == 1
    assert "wrong SHA-256" in capsys.readouterr().err


def test_what_is_fetched_is_what_the_engines_look_for(
    releases: FakeHub, laptop_get: Callable[..., int], tmp_path: Path
) -> None:
    """With the content of the tiny models, every model that can be fetched is found by its engine."""
    tiny_sherpa.write_all(tmp_path / "tiny")
    made = {path.parent.name: path.parent for path in (tmp_path / "tiny").glob("*/*")}
    for name, model in laptop.MODELS.items():
        source = made[model.folder.replace("yue-2024", "yue-int8-2024")]
        releases.served = releases.listed = {file: (source / file).read_bytes() for file in model.files}
        archives = [file for place in model.places["github"] for file in place.files if file.endswith(".bz2")]
        releases.assets = {archives[0]: archive(releases.served), **releases.served}
        into = tmp_path / name
        assert laptop_get("--source", "github", "--only", name, "--models-dir", str(into)) == 0
        assert asr_models.find(into / model.folder) or tts_models.find(into / model.folder), name
