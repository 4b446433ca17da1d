"""The voices that users added: a recording and its transcript each, on disk under names that we make.

A voice is there when its record (`….json`) is: it is written last and removed first, so that a disk that is full or a process that
is killed leaves no half of a voice, only files that the next start removes. Names are compared in Unicode's NFC.
"""

from __future__ import annotations

import functools
import hashlib
import json
import logging
import os
import re
import unicodedata
from dataclasses import asdict, dataclass
from pathlib import Path

from web_demo.audio.samples import from_wav, to_wav
from web_demo.engines.base import VoicePrompt
from web_demo.errors import EngineFailed, Forbidden, InvalidRequest, NotFound, SetupError, TooLarge, Unavailable

log = logging.getLogger(__name__)

MAX_NAME_CHARS = 64
MAX_SPEAKERS = 500
CACHED_PROMPTS = 32
_OURS = re.compile(r"[0-9a-f]{32}\.(wav|part)")


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
        """Damaged voices are named in the log and left out, and left where they are. Raises SetupError for a folder that
        cannot be used."""
        try:
            folder.mkdir(parents=True, exist_ok=True)
            paths = sorted(folder.iterdir())
        except OSError as error:
            raise SetupError(f"cannot read the voices in {folder} (--speakers-dir): {error}") from error
        damaged = set()
        for path in paths:
            if path.suffix == ".json":
                try:
                    speaker = _read(path)
                except (OSError, ValueError, TypeError, RecursionError, InvalidRequest) as error:
                    damaged.add(path.stem)
                    log.error("a voice is damaged and left out file=%s: %s", path, error)
                else:
                    self._speakers[speaker.name] = speaker
        kept = damaged | {_digest(name) for name in self._speakers}
        for path in paths:
            if _OURS.fullmatch(path.name) and (path.suffix == ".part" or path.stem not in kept):
                log.warning("removing what is left of a voice that was not added whole file=%s", path)
                _remove(path)

    def list(self) -> tuple[Speaker, ...]:
        return tuple(self._speakers.values())

    def __contains__(self, name: str) -> bool:
        return normal(name) in self._speakers

    def transcript(self, name: str) -> str:
        """What is said in the recording of a voice; "" where there is none of that name."""
        speaker = self._speakers.get(normal(name))
        return speaker.transcript if speaker else ""

    def prompt(self, name: str) -> VoicePrompt:
        """The same object for the same voice, so that an engine can keep what it computed from it. Raises NotFound."""
        return self._prompt(normal(name))

    def add(self, speaker: Speaker, prompt: VoicePrompt) -> None:
        folder = self.require_writable()
        if speaker.name in self._speakers:
            raise InvalidRequest(f"there is a voice {speaker.name!r} already: delete it first, or choose another name")
        if len(self._speakers) >= MAX_SPEAKERS:
            raise TooLarge(f"there are {MAX_SPEAKERS} voices already, the most that are kept: delete one first")
        stem = folder / _digest(speaker.name)
        record, sound = stem.with_suffix(".json"), stem.with_suffix(".wav")
        if record.exists():
            raise InvalidRequest(f"there is a damaged voice {speaker.name!r}; the operator's log names its file")
        try:
            _write(sound, to_wav(prompt.audio))
            _write(record, json.dumps(asdict(speaker), ensure_ascii=False, indent=1).encode())
        except OSError as error:
            _remove(sound)
            log.error("a voice could not be kept in %s: %s", folder, error)
            raise Unavailable(f"the voice could not be kept: {error.strerror}") from error
        self._speakers[speaker.name] = speaker

    def remove(self, name: str) -> None:
        folder = self.require_writable()
        name = normal(name)
        if name not in self._speakers:
            raise NotFound(f"there is no added voice {name[:100]!r}; there are: {', '.join(self._speakers) or 'none'}")
        stem = folder / _digest(name)
        stem.with_suffix(".json").unlink(missing_ok=True)
        del self._speakers[name]
        self._prompt.cache_clear()
        _remove(stem.with_suffix(".wav"))

    def require_writable(self) -> Path:
        """The folder; raises Forbidden when there is none."""
        if self._folder is None:
            raise Forbidden("voices are not kept here: the operator can allow it with --speakers-dir FOLDER")
        return self._folder

    def _load_prompt(self, name: str) -> VoicePrompt:
        speaker = self._speakers.get(name)
        if speaker is None:  # deleted a moment ago
            raise NotFound(f"there is no voice {name[:100]!r} any more")
        try:
            data = (self.require_writable() / f"{_digest(name)}.wav").read_bytes()
            return VoicePrompt(from_wav(data), speaker.transcript)
        except (OSError, ValueError, RuntimeError) as error:
            log.error("the recording of a voice cannot be read file=%s.wav: %s", _digest(name), error)
            raise EngineFailed(
                f"the recording of the voice {name[:100]!r} is damaged: delete it and add it again"
            ) from error


def normal(name: str) -> str:
    """`name` as it is compared: "Zoë" typed in two characters is the same as in one."""
    return unicodedata.normalize("NFC", name).strip()


def check_name(name: str) -> str:
    """`name`, normalised; raises InvalidRequest for one that is no name."""
    name = normal(name)
    if not 1 <= len(name) <= MAX_NAME_CHARS:
        raise InvalidRequest(f"the name of a voice has 1 to {MAX_NAME_CHARS} characters, got {len(name)}")
    if not all(character.isalnum() or character in " _-." for character in name) or name.startswith("."):
        raise InvalidRequest("the name of a voice is made of letters, digits, spaces, '_', '-' and '.'")
    return name


def _digest(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:32]


def _read(path: Path) -> Speaker:
    """Of a voice that is whole. Raises what goes wrong with it."""
    speaker = Speaker(**json.loads(path.read_text("utf-8")))
    if not all(isinstance(text, str) for text in (speaker.name, speaker.transcript, speaker.created)):
        raise ValueError("its name, transcript and time must be texts")
    if check_name(speaker.name) != speaker.name or path.stem != _digest(speaker.name):
        raise ValueError(f"it is the record of another voice, {speaker.name[:100]!r}")
    with path.with_suffix(".wav").open("rb") as file:
        if file.read(4) != b"RIFF":
            raise ValueError("its recording is no WAV file")
    return speaker


def _write(path: Path, data: bytes) -> None:
    """Whole or not at all, also after a loss of power."""
    temporary = path.with_suffix(".part")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError:
        _remove(temporary)
        raise


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        log.error("cannot remove %s: %s", path, error)
