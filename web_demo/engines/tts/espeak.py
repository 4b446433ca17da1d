"""espeak-ng (https://github.com/espeak-ng/espeak-ng, GPL-3.0-or-later) through ctypes: the voice that needs no weights.

The library holds one global state, so a process has one `Espeak`, used by one thread at a time; that is why it lives in
a child process of its own. `EspeakBackend` makes it a backend of the detokenizer.
"""

from __future__ import annotations

import ctypes
import functools
import queue
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from web_demo.audio.samples import WIRE_RATE, Resampler, Samples, from_int16
from web_demo.detokenizer.backend import Mark, Window
from web_demo.errors import EngineFailed, NotFound, SetupError
from web_demo.text.plain import plain
from web_demo.text.scripts import Script, has_words, script_runs

# From speak_lib.h.
_OUTPUT_SYNCHRONOUS = 2
_INITIALIZE_DONT_EXIT = 0x8000
_CHARS_UTF8 = 1  # and neither SSML (0x10) nor phoneme input (0x100): text is text
_PARAMETER_RATE = 1
_GO_ON, _STOP = 0, 1
_LIST_TERMINATED, _WORD = 0, 1  # kinds of events
_MAX_EVENTS = 10_000  # in one callback; the list is ended by one that says so

NORMAL_WORDS_PER_MINUTE = 175
MIN_SPEED = 0.46  # slower than 80 words a minute espeak-ng does not go
MAX_SPEED = 4.0

QUIET = 0.01  # of full scale: below it is near-silence
EDGE_S = 0.02  # near-silence kept at either end of a run
RUN_PAUSE_S = 0.04  # between two runs of one text that differ in script
SENTENCE_PAUSE_S = 0.28  # between two texts of one turn
BUFFER_MS = 200  # espeak-ng hands its sound over in pieces of this length; making one takes it less than a millisecond

CLASSIC_VOICES = {  # the names of CosyVoice's built-in speakers
    "中文女": "cmn+f3",
    "中文男": "cmn",
    "英文女": "en-us+f3",
    "英文男": "en-us",
    "日语男": "ja",
    "粤语女": "yue+f3",
    "韩语女": "ko+f3",
}
_ALIASES = {"zh": "cmn", "zh-cn": "cmn", "en-gb": "en", "fr-fr": "fr"}  # common names that it refuses
_LANGUAGE_OF_SCRIPT = {Script.HAN: "cmn", Script.KANA: "ja", Script.HANGUL: "ko", Script.OTHER: "en-us"}
_SCRIPTS_READ = {"cmn": Script.HAN, "yue": Script.HAN, "hak": Script.HAN, "ja": Script.KANA, "ko": Script.HANGUL}


class _VoiceRecord(ctypes.Structure):
    """`espeak_VOICE`; `identifier` is the voice's file: a folder and the name that selects it, such as "gmw/en-us"."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("languages", ctypes.c_char_p),
        ("identifier", ctypes.c_char_p),
        ("gender", ctypes.c_ubyte),
        ("age", ctypes.c_ubyte),
        ("variant", ctypes.c_ubyte),
        ("reserved", ctypes.c_ubyte),
        ("score", ctypes.c_int),
        ("spare", ctypes.c_void_p),
    )


class _EventId(ctypes.Union):
    _fields_ = (("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8))


class _Event(ctypes.Structure):
    """`espeak_EVENT`; `text_position` counts characters from 1, `sample` from the beginning of the text's sound."""

    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _EventId),
    )


_SYNTH_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_int16), ctypes.c_int, ctypes.POINTER(_Event))


@dataclass(frozen=True)
class EspeakVoice:
    """`language` is what espeak-ng calls a voice, "" for the one that fits the text; `variant` is "" or like "f3"."""

    language: str = ""
    variant: str = ""

    @classmethod
    def parse(cls, name: str) -> EspeakVoice:
        """`name`: "", one of the classic names, or espeak-ng's own, such as "de" or "en-us+f3"."""
        language, _, variant = CLASSIC_VOICES.get(name, name).lower().partition("+")
        return cls(_ALIASES.get(language, language), variant)

    def for_script(self, script: Script | None) -> str:
        """The name for espeak-ng: this voice's language if it reads `script`, else one that does."""
        language = self.language or _LANGUAGE_OF_SCRIPT[script or Script.OTHER]
        if script is not None and _SCRIPTS_READ.get(language, Script.OTHER) is not script:
            language = _LANGUAGE_OF_SCRIPT[script]
        return f"{language}+{self.variant}" if self.variant else language


class Espeak:
    """The loaded library. One in a process, one thread at a time. Raises SetupError when it cannot be loaded."""

    def __init__(self) -> None:
        try:
            import espeakng_loader

            self._library = ctypes.CDLL(espeakng_loader.get_library_path())
            data = str(espeakng_loader.get_data_path())
        except (ImportError, OSError) as error:
            raise SetupError(
                f"the embedded voice needs espeak-ng ({error}): pip install espeakng-loader (see requirements.txt)"
            ) from error
        self.native_rate: int = self._library.espeak_Initialize(
            _OUTPUT_SYNCHRONOUS, BUFFER_MS, data.encode(), _INITIALIZE_DONT_EXIT
        )
        if self.native_rate <= 0:
            raise SetupError(f"espeak-ng did not start with its data in {data}")
        self._sink: queue.Queue[Samples | None] = queue.Queue()
        self._words: list[tuple[int, int]] = []  # of the text under way: position from 0, and sample, of each
        self._stopped = threading.Event()
        self._callback = _SYNTH_CALLBACK(self._receive)  # ctypes does not keep it alive: this attribute does
        self._library.espeak_SetSynthCallback(self._callback)

    @functools.cached_property
    def languages(self) -> tuple[str, ...]:
        """The names that espeak-ng knows its voices by, sorted; any takes a variant such as "+f3"."""
        listing = self._library.espeak_ListVoices
        listing.restype = ctypes.POINTER(ctypes.POINTER(_VoiceRecord))
        names, record = set(), listing(None)
        for index in range(10_000):  # ended by a null pointer
            if not record[index]:
                break
            names.add(record[index].contents.identifier.decode().lower().rpartition("/")[2])
        return tuple(sorted(names))

    def speak(
        self, text: str, voice: EspeakVoice, speed: float = 1.0, marks: list[Mark] | None = None
    ) -> Iterator[Samples]:
        """Pieces of float32 at WIRE_RATE, as they are made. Closing the iterator stops espeak-ng within one piece. `marks` gets
        those of the words, whose positions are right where `text` is plain already.

        `text` is plain text, never markup. A text without words gives nothing. Raises NotFound for an unknown voice.
        """
        resampler = Resampler(self.native_rate, WIRE_RATE)
        started = False
        position = length = 0  # of the run in the text, and in samples of the sound before it
        for script, run in script_runs(plain(text)):
            position += len(run)
            if not has_words(run):
                continue
            self._select(voice.for_script(script), speed)
            pieces = _Trimmed(self._synthesize(run), self.native_rate)
            pause = np.zeros(round(RUN_PAUSE_S * self.native_rate) if started else 0, np.float32)
            began = length + len(pause)
            for piece in _after(pause, pieces):
                length += len(piece)
                if len(resampled := resampler.push(piece)):
                    yield resampled
            started = True
            if marks is not None:
                for at, sample in self._words:
                    start = began + max(sample - pieces.dropped, 0)
                    marks.append(Mark(position - len(run) + at, min(start, length) / self.native_rate))
        if started and len(rest := resampler.rest()):
            yield rest

    def _select(self, name: str, speed: float) -> None:
        if not MIN_SPEED <= speed <= MAX_SPEED:
            raise ValueError(f"speed must be {MIN_SPEED} to {MAX_SPEED}, got {speed}")
        if self._library.espeak_SetVoiceByName(name.encode()) != 0:
            raise NotFound(f"espeak-ng has no voice {name[:100]!r}; it has: {', '.join(self.languages)}")
        self._library.espeak_SetParameter(_PARAMETER_RATE, round(NORMAL_WORDS_PER_MINUTE * speed), 0)

    def _synthesize(self, text: str) -> Iterator[Samples]:
        """espeak-ng calls back from inside one long call, so that call gets a thread, and a queue carries the sound."""
        self._sink = queue.Queue(maxsize=4)
        self._words = []
        self._stopped.clear()
        status: list[int] = []
        thread = threading.Thread(target=self._call, args=(text.encode(), status), name="espeak", daemon=True)
        thread.start()
        try:
            while (piece := self._sink.get()) is not None:
                yield piece
        finally:
            self._stopped.set()
            while thread.is_alive():  # it may be waiting for room in the queue
                _drain(self._sink)
                thread.join(0.001)
        if status != [0]:
            raise EngineFailed(f"espeak-ng could not speak this text (status {status})")

    def _call(self, text: bytes, status: list[int]) -> None:
        try:
            status.append(
                self._library.espeak_Synth(text, ctypes.c_size_t(len(text) + 1), 0, 0, 0, _CHARS_UTF8, None, None)
            )
        finally:
            if not self._stopped.is_set():
                self._sink.put(None)

    def _receive(self, samples: ctypes._Pointer[ctypes.c_int16], count: int, events: ctypes._Pointer[_Event]) -> int:
        if events:
            for index in range(_MAX_EVENTS):
                if (event := events[index]).type == _LIST_TERMINATED:
                    break
                if event.type == _WORD:
                    self._words.append((event.text_position - 1, event.sample))
        if samples and count > 0 and not self._stopped.is_set():
            self._sink.put(from_int16(np.ctypeslib.as_array(samples, (count,))))
        return _STOP if self._stopped.is_set() else _GO_ON


def _drain(sink: queue.Queue[Samples | None]) -> None:
    while True:
        try:
            sink.get_nowait()
        except queue.Empty:
            return


def _after(first: Samples, pieces: Iterable[Samples]) -> Iterator[Samples]:
    if len(first):
        yield first
    yield from pieces


class _Trimmed:
    """`pieces` with at most EDGE_S of near-silence before the first sound and after the last; inside nothing changes. `dropped`:
    samples left out at the beginning.

    A quiet end of a piece waits until sound follows it.
    """

    def __init__(self, pieces: Iterator[Samples], rate: int) -> None:
        self._pieces = pieces
        self._edge = round(EDGE_S * rate)
        self.dropped = 0

    def __iter__(self) -> Iterator[Samples]:
        held = np.zeros(0, np.float32)
        sounded = False
        for piece in self._pieces:
            loud = np.flatnonzero(np.abs(piece) > QUIET)
            if len(loud) == 0:
                held = np.concatenate((held, piece))
                continue
            end = int(loud[-1]) + 1
            sound = np.concatenate((held, piece[:end]))
            if not sounded:
                self.dropped = max(len(held) + int(loud[0]) - self._edge, 0)
                sound = sound[self.dropped :]
                sounded = True
            held = piece[end:]
            yield sound
        if sounded and len(held):
            yield held[: self._edge]


class EspeakBackend:
    """Speaks windows of text with `voice` (or the window's own, or the turn's); see DetokenizerBackend."""

    name = "espeak-ng"
    sample_rate = WIRE_RATE
    max_batch = 1
    max_turns = 10_000
    hop_tokens: tuple[int, ...] = ()

    def __init__(self, voice: str = "", speed: float = 1.0) -> None:
        self._espeak = Espeak()
        self._default = voice
        self._speed = speed
        self._voices: dict[str, str] = {}  # turn -> its voice
        self._spoke: set[str] = set()  # turns that had sound: the next sentence of those comes after a pause

    def open(self, turn_id: str, voice: str) -> None:
        self._voices[turn_id] = voice

    def decode(self, windows: Sequence[Window]) -> Iterator[tuple[str, Samples | tuple[Mark, ...]]]:
        for window in windows:
            marks: list[Mark] | None = [] if window.marked else None
            paused_s = 0.0
            voice = EspeakVoice.parse(window.voice or self._voices.get(window.turn_id, "") or self._default)
            for piece in self._espeak.speak(window.text, voice, self._speed * window.speed, marks):
                if window.turn_id in self._spoke and len(piece):
                    paused_s = SENTENCE_PAUSE_S
                    yield window.turn_id, np.zeros(round(SENTENCE_PAUSE_S * WIRE_RATE), np.float32)
                    self._spoke.discard(window.turn_id)
                yield window.turn_id, piece
            if marks:
                yield window.turn_id, tuple(Mark(mark.position, mark.start_s + paused_s) for mark in marks)
            if has_words(window.text):
                self._spoke.add(window.turn_id)

    def close(self, turn_id: str) -> None:
        self._voices.pop(turn_id, None)
        self._spoke.discard(turn_id)


def create_backend(voice: str = "", speed: float = 1.0) -> EspeakBackend:
    """The factory for BackendSpec: `voice` as in EspeakVoice.parse, `speed` 1.0 is normal."""
    return EspeakBackend(voice, speed)
