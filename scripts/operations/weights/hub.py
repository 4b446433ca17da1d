"""What there is to download: the models' files with size, checksum and address, as Hugging Face and ModelScope list them.

Hugging Face: `GET /api/models/REPO/tree/REVISION?recursive=true`, pages by the `Link` header; large files carry a SHA-256,
small ones the SHA-1 of their git blob. ModelScope: `GET /api/v1/models/REPO/repo/files`, SHA-256 for all, at most 2000 files.
"""

from __future__ import annotations

import json
import re
import urllib.error
import urllib.request
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

TIMEOUT_S = 30.0


class HubError(Exception):
    """The hub cannot be asked, or answered something that cannot be used."""


@dataclass(frozen=True)
class Model:
    folder: str
    repository: str


MODELS: Mapping[str, Model] = {
    "s2s": Model("Fun-Audio-Chat-8B", "FunAudioLLM/Fun-Audio-Chat-8B"),
    "tts": Model("Fun-CosyVoice3-0.5B-2512", "FunAudioLLM/Fun-CosyVoice3-0.5B-2512"),
    "asr": Model("Fun-ASR-Nano-2512", "FunAudioLLM/Fun-ASR-Nano-2512"),
    "whisper": Model("whisper-large-v3", "openai/whisper-large-v3"),
}
# The voice of the conversation lies beside the code of Fun-Audio-Chat, not beside the weights.
SPEAKER_FILE = "spk2info.pt"
SPEAKER_LISTING = "repos/FunAudioLLM/Fun-Audio-Chat/contents/utils/new_spk2info.pt"


@dataclass(frozen=True)
class RemoteFile:
    """`sha256` or `git_sha1` (of "blob SIZE\\0" and the content) is None where the hub publishes none."""

    path: str
    size: int
    url: str
    sha256: str | None = None
    git_sha1: str | None = None


@dataclass(frozen=True)
class Hub:
    """`source` is "huggingface" or "modelscope"; `endpoint` that one, or a mirror with the same interface."""

    source: str
    endpoint: str
    token: str = ""
    github: str = "https://api.github.com"

    def open(self, url: str, headers: Mapping[str, str] | None = None) -> Any:
        """A response to read from; raises HubError, or OSError for a fault of the line."""
        if urlsplit(url).scheme not in ("http", "https"):
            raise HubError(f"refusing to open {url!r}: not an http address")
        request = urllib.request.Request(url, headers={"User-Agent": "fun-audio-chat-stack", **(headers or {})})  # noqa: S310
        if self.token and urlsplit(url).netloc == urlsplit(self.endpoint).netloc:
            # Not followed across a redirect: the storage behind the hub must not see the token.
            request.add_unredirected_header("Authorization", f"Bearer {self.token}")
        try:
            return urllib.request.urlopen(request, timeout=TIMEOUT_S)  # noqa: S310
        except urllib.error.HTTPError as error:
            error.close()
            if error.code in (401, 403):
                raise HubError(
                    f"{url}: access refused ({error.code}); is HF_TOKEN set, and the licence accepted?"
                ) from error
            if error.code == 404:
                raise HubError(f"{url}: not there (404); is the endpoint right?") from error
            if error.code == 416:
                raise
            raise OSError(f"{url}: the server answered {error.code}") from error

    def files(self, model: Model, revision: str | None) -> list[RemoteFile]:
        """Raises HubError."""
        try:
            found = (
                self._modelscope(model, revision or "master")
                if self.source == "modelscope"
                else (self._huggingface(model, revision or "main"))
            )
        except OSError as error:
            raise HubError(f"cannot reach {self.endpoint}: {error}; another one: --endpoint, --source") from error
        except (ValueError, KeyError, TypeError) as error:
            raise HubError(
                f"{self.endpoint} listed {model.repository} in a form that is not understood: {error!r}"
            ) from error
        if not found:
            raise HubError(f"{self.endpoint} lists no file of {model.repository}")
        return found

    def speaker_file(self) -> RemoteFile:
        """Raises HubError."""
        try:
            with self.open(f"{self.github}/{SPEAKER_LISTING}") as response:
                entry = json.load(response)
            return RemoteFile(SPEAKER_FILE, int(entry["size"]), str(entry["download_url"]), git_sha1=str(entry["sha"]))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise HubError(f"cannot find the speaker file through {self.github}: {error!r}") from error

    def assets(self, repository: str, tag: str) -> list[RemoteFile]:
        """Of a release on GitHub, with the checksums that it lists. Raises HubError."""
        try:
            with self.open(f"{self.github}/repos/{repository}/releases/tags/{quote(tag, safe='')}") as response:
                entries = json.load(response)["assets"]
            return [
                RemoteFile(
                    checked_path(entry["name"]),
                    int(entry["size"]),
                    str(entry["browser_download_url"]),
                    sha256=_hex(digest.removeprefix("sha256:"), 64) if (digest := entry.get("digest")) else None,
                )
                for entry in entries
            ]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise HubError(f"cannot list the release {tag} of {repository} through {self.github}: {error}") from error

    def licence(self, model: Model) -> str:
        """As the hub names it, "" where it does not."""
        try:
            if self.source == "modelscope":
                with self.open(f"{self.endpoint}/api/v1/models/{model.repository}") as response:
                    return str(json.load(response)["Data"].get("License") or "")
            with self.open(f"{self.endpoint}/api/models/{model.repository}") as response:
                tags = json.load(response).get("tags", [])
            return next((str(tag).removeprefix("license:") for tag in tags if str(tag).startswith("license:")), "")
        except (HubError, OSError, ValueError, KeyError, TypeError, AttributeError):
            return ""  # it is told where it can be read

    def _huggingface(self, model: Model, revision: str) -> list[RemoteFile]:
        base = f"{self.endpoint}/{model.repository}/resolve/{quote(revision, safe='')}"
        url: str | None = (
            f"{self.endpoint}/api/models/{model.repository}/tree/{quote(revision, safe='')}?recursive=true"
        )
        found: list[RemoteFile] = []
        while url:
            with self.open(url) as response:
                entries, link = json.load(response), response.headers.get("Link", "")
            for entry in _files(entries, "type", "file"):
                path = checked_path(entry["path"])
                lfs = entry.get("lfs")
                found.append(
                    RemoteFile(
                        path,
                        int(entry["size"]),
                        f"{base}/{quote(path)}",
                        sha256=_hex(lfs["oid"], 64) if lfs else None,
                        git_sha1=None if lfs else _hex(entry["oid"], 40),
                    )
                )
            following = re.search(r'<([^>]+)>;\s*rel="next"', link)
            url = following[1] if following else None
        return found

    def _modelscope(self, model: Model, revision: str) -> list[RemoteFile]:
        base = f"{self.endpoint}/api/v1/models/{model.repository}/repo"
        with self.open(f"{base}/files?{urlencode({'Revision': revision, 'Recursive': 'True'})}") as response:
            entries = json.load(response)["Data"]["Files"]
        return [
            RemoteFile(
                path := checked_path(entry["Path"]),
                int(entry["Size"]),
                f"{base}?{urlencode({'Revision': revision, 'FilePath': path})}",
                sha256=_hex(entry["Sha256"], 64) if entry.get("Sha256") else None,
            )
            for entry in _files(entries, "Type", "blob")
        ]


def checked_path(path: str) -> str:
    """A hub's file name, kept inside the model's folder; raises ValueError."""
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts or "\\" in path or "\0" in path:
        raise ValueError(f"the file name {path!r} leads out of the model's folder")
    return path


def _files(entries: Iterable[Any], key: str, value: str) -> list[dict[str, Any]]:
    return [entry for entry in entries if entry[key] == value]


def _hex(text: str, length: int) -> str:
    if not re.fullmatch(rf"[0-9a-f]{{{length}}}", text):
        raise ValueError(f"{text!r} is not a checksum of {length} hexadecimal digits")
    return text
