"""What runs inside the detokenizer child of the sherpa voice: sherpa-onnx ends its process at many errors, never the service."""

from __future__ import annotations

import queue
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import sherpa_onnx

from web_demo.audio.samples import WIRE_RATE, Resampler, Samples
from web_demo.children.quiet import keep_library_quiet
from web_demo.detokenizer.backend import Mark, Window
from web_demo.engines.tts.sherpa import english
from web_demo.engines.tts.sherpa.models import Matcha, Model
from web_demo.errors import EngineFailed, NotFound, SetupError
from web_demo.text.language import language_of
from web_demo.text.scripts import has_words

SENTENCE_PAUSE_S = 0.2  # between two texts of one turn
CHUNKS_AHEAD = 4  # clauses that may wait to be taken
_GO_ON, _STOP = 1, 0

Take = Callable[[Samples], bool]  # False: no more is wanted


class SherpaBackend:
    """Speaks windows of text; see DetokenizerBackend. The library gives sound clause by clause, and works on one text at a time."""

    name = "sherpa"
    sample_rate = WIRE_RATE
    max_batch = 1
    max_turns = 10_000
    hop_tokens: tuple[int, ...] = ()

    def __init__(self, model: Model, threads: int) -> None:
        self._speakers = model.speakers
        self._default = next(iter(self._speakers))
        self._tts, self._known = _load(model, threads)
        self._voices: dict[str, str] = {}  # turn -> its voice
        self._spoke: set[str] = set()  # turns that had sound: the next sentence of those comes after a pause
        first = [*self._speak("你好, hello.", self._default, 1.0)]  # which is the slowest
        if not any(map(len, first)):
            raise SetupError("the voice gave no sound")

    def open(self, turn_id: str, voice: str) -> None:
        self._voices[turn_id] = voice

    def decode(self, windows: Sequence[Window]) -> Iterator[tuple[str, Samples | tuple[Mark, ...]]]:
        for window in windows:
            if not has_words(window.text):
                continue
            voice = window.voice or self._voices.get(window.turn_id, "") or self._voice_for(window.text)
            if window.turn_id in self._spoke:
                yield window.turn_id, np.zeros(round(SENTENCE_PAUSE_S * WIRE_RATE), np.float32)
            for chunk in self._speak(window.text, voice, window.speed):
                self._spoke.add(window.turn_id)
                yield window.turn_id, chunk

    def close(self, turn_id: str) -> None:
        self._voices.pop(turn_id, None)
        self._spoke.discard(turn_id)

    def _voice_for(self, text: str) -> str:
        """The first one of the text's language."""
        language = language_of(text)
        return next((name for name, each in self._speakers.items() if each.language == language), self._default)

    def _speak(self, text: str, voice: str, speed: float) -> Iterator[Samples]:
        speaker = self._speakers.get(voice)
        if speaker is None:
            raise NotFound(f"no voice {voice[:100]!r}; there are: {', '.join(self._speakers)}")
        how = sherpa_onnx.GenerationConfig()
        how.sid, how.speed = speaker.number, speed
        words = english.speakable(text, self._known)
        resampler = Resampler(self._tts.sample_rate, WIRE_RATE)

        def generate(take: Take) -> None:
            self._tts.generate(words, how, lambda samples, _: _GO_ON if take(samples) else _STOP)

        for chunk in streamed(generate):
            if len(sound := resampler.push(chunk)):
                yield sound
        if len(rest := resampler.rest()):
            yield rest


def streamed(generate: Callable[[Take], None]) -> Iterator[Samples]:
    """What `generate` hands to its `take`, as it comes; it runs in a thread. Closing the iterator makes `take` answer no, and
    returns when `generate` has. Raises EngineFailed with what it raised."""
    made: queue.Queue[Samples | None] = queue.Queue(CHUNKS_AHEAD)
    stopped = threading.Event()
    failures: list[Exception] = []

    def put(item: Samples | None) -> bool:
        while not stopped.is_set():
            try:
                made.put(item, timeout=0.1)
            except queue.Full:
                continue
            return True
        return False

    def work() -> None:
        try:
            generate(lambda samples: put(np.array(samples, np.float32)))  # the library's own is gone behind the call
        except Exception as error:  # noqa: BLE001  # raised again where the sound is wanted
            failures.append(error)
        put(None)

    thread = threading.Thread(target=work, name="generate", daemon=True)
    thread.start()
    try:
        while (chunk := made.get()) is not None:
            yield chunk
    finally:
        stopped.set()
        thread.join()
    if failures:
        raise EngineFailed(f"the voice could not speak this text: {failures[0]}") from failures[0]


def _load(model: Model, threads: int) -> tuple[Any, frozenset[str]]:
    """The library's voice, and the words in Latin letters that it can pronounce."""
    with tempfile.TemporaryDirectory(prefix="lexicon-") as folder:
        lexicons = [*model.lexicons]
        if not model.has_english and (source := english.dictionary()) is not None:
            lexicons.append(Path(folder, "english.txt"))
            with source.open(encoding="utf-8") as lines, lexicons[-1].open("w", encoding="utf-8") as file:
                file.writelines(english.entries(lines))
        known: set[str] = set()
        for lexicon in lexicons:
            with lexicon.open(encoding="utf-8") as lines:
                known.update(english.words_in(lines))
        voice = sherpa_onnx.OfflineTts(_configuration(model, ",".join(map(str, lexicons)), threads))
    return voice, frozenset(known)


def _configuration(model: Model, lexicon: str, threads: int) -> Any:
    if isinstance(model, Matcha):
        of_kind: dict[str, Any] = {
            "matcha": sherpa_onnx.OfflineTtsMatchaModelConfig(
                acoustic_model=str(model.acoustic),
                vocoder=str(model.vocoder),
                lexicon=lexicon,
                tokens=str(model.tokens),
            )
        }
    else:
        of_kind = {
            "kokoro": sherpa_onnx.OfflineTtsKokoroModelConfig(
                model=str(model.model), voices=str(model.voices), tokens=str(model.tokens), lexicon=lexicon
            )
        }
    kind = sherpa_onnx.OfflineTtsModelConfig(**of_kind, num_threads=threads, provider="cpu")
    return sherpa_onnx.OfflineTtsConfig(model=kind, max_num_sentences=1)


def create_backend(model: Model, threads: int) -> SherpaBackend:
    """The factory for BackendSpec, in a process of its own."""
    backend = SherpaBackend(model, threads)
    keep_library_quiet()  # it tells which words of a text no lexicon has
    return backend
