"""The voices that users added: a recording and its transcript each, on disk under names that we make."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import unicodedata
from dataclasses import asdict, dataclass
from pathlib import Path

from web_demo.audio.samples import from_wav, to_wav
from web_demo.engines.base import VoicePrompt
from web_demo.errors import Forbidden, InvalidRequest, NotFound, SetupError, TooLarge

MAX_NAME_CHARS = 64
MAX_SPEAKERS = 500
CACHED_PROMPTS = 32


@dataclass(frozen=True)
class Speaker:
    name: str
    transcript: str
    seconds: float
    created: str  # ISO 8601, UTC


class SpeakerStore:
    """`folder` None: nothing can be added. Blocking; one change at a time."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._speakers: dict[str, Speaker] = {}
        self._prompt = functools.lru_cache(CACHED_PROMPTS)(self._load_prompt)
        if folder is not None:
            self._open(folder)

    def _open(self, folder: Path) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for path in sorted(folder.glob("*.json")):
                speaker = Speaker(**json.loads(path.read_text("utf-8")))
                self._speakers[speaker.name] = speaker
        except (OSError, ValueError, TypeError) as error:
            raise SetupError(f"cannot read the voices in {folder} (--speakers-dir): {error}") from error

    def list(self) -> tuple[Speaker, ...]:
        return tuple(self._speakers.values())

    def __contains__(self, name: str) -> bool:
        return name in self._speakers

    def prompt(self, name: str) -> VoicePrompt:
        """The same object for the same voice, so that an engine can keep what it computed from it."""
        return self._prompt(name)

    def add(self, speaker: Speaker, prompt: VoicePrompt) -> None:
        folder = self.require_writable()
        if speaker.name in self._speakers:
            raise InvalidRequest(f"there is a voice {speaker.name!r} already: delete it first, or choose another name")
        if len(self._speakers) >= MAX_SPEAKERS:
            raise TooLarge(f"there are {MAX_SPEAKERS} voices already, the most that are kept: delete one first")
        stem = folder / _digest(speaker.name)
        _write(stem.with_suffix(".wav"), to_wav(prompt.audio))
        _write(stem.with_suffix(".json"), json.dumps(asdict(speaker), ensure_ascii=False, indent=1).encode())
        self._speakers[speaker.name] = speaker

    def remove(self, name: str) -> None:
        folder = self.require_writable()
        if name not in self._speakers:
            raise NotFound(f"there is no added voice {name[:100]!r}; there are: {', '.join(self._speakers) or 'none'}")
        stem = folder / _digest(name)
        stem.with_suffix(".json").unlink(missing_ok=True)
        stem.with_suffix(".wav").unlink(missing_ok=True)
        del self._speakers[name]
        self._prompt.cache_clear()

    def require_writable(self) -> Path:
        """The folder; raises Forbidden when there is none."""
        if self._folder is None:
            raise Forbidden("voices are not kept here: the operator can allow it with --speakers-dir FOLDER")
        return self._folder

    def _load_prompt(self, name: str) -> VoicePrompt:
        data = (self.require_writable() / f"{_digest(name)}.wav").read_bytes()
        return VoicePrompt(from_wav(data), self._speakers[name].transcript)


def check_name(name: str) -> str:
    """`name`, normalised; raises InvalidRequest for one that is no name."""
    name = unicodedata.normalize("NFC", name).strip()
    if not 1 <= len(name) <= MAX_NAME_CHARS:
        raise InvalidRequest(f"the name of a voice has 1 to {MAX_NAME_CHARS} characters, got {len(name)}")
    if not all(character.isalnum() or character in " _-." for character in name) or name.startswith("."):
        raise InvalidRequest("the name of a voice is made of letters, digits, spaces, '_', '-' and '.'")
    return name


def _digest(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:32]


def _write(path: Path, data: bytes) -> None:
    """Whole or not at all."""
    temporary = path.with_suffix(".part")
    temporary.write_bytes(data)
    os.replace(temporary, path)
