"""What runs inside the worker processes of the sherpa engine. The library ends its process at many errors: never in the service."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np
import sherpa_onnx

from web_demo.audio.samples import SPEECH_RATE, Samples
from web_demo.engines.asr.languages import NAMES
from web_demo.engines.asr.sherpa.messages import GROWING, More, Piece, Recognised
from web_demo.engines.asr.sherpa.models import FunAsrNano, Model, Paraformer, SenseVoice

MAX_TOKENS = 512  # of one piece's text
TAIL_S = 0.8  # of silence, behind which the streaming recogniser gives its last words


def build(model: Model, threads: int) -> Callable[[Piece], Recognised]:
    recognise: Callable[[Piece], Recognised]
    match model:
        case SenseVoice():
            recognise = _SenseVoice(model, threads)
        case FunAsrNano():
            recognise = _FunAsrNano(model, threads)
        case Paraformer():
            recognise = _Paraformer(model, threads)
    recognise(Piece(np.zeros(SPEECH_RATE, np.float32), "", itn=True, hotwords=()))  # the first is the slowest
    return recognise


class _SenseVoice:
    """The language is one of the recogniser, not of a recording: beside the one that finds it out, that of the language which
    was named last is kept, with memory of its own."""

    def __init__(self, model: SenseVoice, threads: int) -> None:
        self._model = model
        self._threads = threads
        self._any = self._load("auto")
        self._one = "auto", self._any

    def __call__(self, piece: Piece) -> Recognised:
        recogniser = self._of(piece.language)
        stream = recogniser.create_stream()
        stream.set_option("use_itn", "1" if piece.itn else "0")
        result = _decoded(recogniser, stream, piece.samples)
        language = result.lang.strip("<|>")
        return Recognised(result.text.strip(), language, tuple(result.tokens), tuple(result.timestamps))

    def _of(self, language: str) -> Any:
        if not language:
            return self._any
        if self._one[0] != language:
            self._one = language, self._load(language)
        return self._one[1]

    def _load(self, language: str) -> Any:
        return sherpa_onnx.OfflineRecognizer.from_sense_voice(
            model=str(self._model.model),
            tokens=str(self._model.tokens),
            num_threads=self._threads,
            language=language,
            use_itn=True,
        )


class _FunAsrNano:
    def __init__(self, model: FunAsrNano, threads: int) -> None:
        self._recogniser = sherpa_onnx.OfflineRecognizer.from_funasr_nano(
            encoder_adaptor=str(model.encoder),
            llm=str(model.llm),
            embedding=str(model.embedding),
            tokenizer=str(model.tokenizer),
            num_threads=threads,
            max_new_tokens=MAX_TOKENS,
            temperature=0.0,
        )

    def __call__(self, piece: Piece) -> Recognised:
        stream = self._recogniser.create_stream()
        stream.set_option("language", NAMES[piece.language][0] if piece.language else "")
        stream.set_option("itn", "1" if piece.itn else "0")
        stream.set_option("hotwords", ",".join(piece.hotwords))
        return Recognised(_decoded(self._recogniser, stream, piece.samples).text.strip(), piece.language)


def _decoded(recogniser: Any, stream: Any, samples: Samples) -> Any:
    stream.accept_waveform(SPEECH_RATE, samples)
    recogniser.decode_stream(stream)
    return stream.result


def _load_paraformer(model: Paraformer, threads: int) -> Any:
    return sherpa_onnx.OnlineRecognizer.from_paraformer(
        tokens=str(model.tokens),
        encoder=str(model.encoder),
        decoder=str(model.decoder),
        num_threads=threads,
    )


def _heard(recogniser: Any, stream: Any) -> str:
    while recogniser.is_ready(stream):
        recogniser.decode_stream(stream)
    text: str = recogniser.get_result(stream)
    return text.strip()


class _Paraformer:
    """A whole utterance at once."""

    def __init__(self, model: Paraformer, threads: int) -> None:
        self._recogniser = _load_paraformer(model, threads)

    def __call__(self, piece: Piece) -> Recognised:
        stream = self._recogniser.create_stream()
        stream.accept_waveform(SPEECH_RATE, piece.samples)
        stream.accept_waveform(SPEECH_RATE, np.zeros(round(TAIL_S * SPEECH_RATE), np.float32))
        stream.input_finished()
        return Recognised(_heard(self._recogniser, stream), piece.language)


def build_growing(model: Paraformer, threads: int) -> Callable[[More], str | None]:
    return Growing(_load_paraformer(model, threads))


class Growing:
    """Texts of utterances that go on, each with the state of its decoding."""

    def __init__(self, recogniser: Any) -> None:
        self._recogniser = recogniser
        self._streams: OrderedDict[str, tuple[Any, int]] = OrderedDict()  # with how much of it was heard

    def __call__(self, more: More) -> str | None:
        """The text so far. None where what came before `more.at` is not known: then all is to come from 0."""
        if more.at == 0:
            self._streams[more.utterance] = self._recogniser.create_stream(), 0
        stream, heard = self._streams.get(more.utterance, (None, -1))
        if heard != more.at:
            return None
        self._streams[more.utterance] = stream, more.at + len(more.samples)
        self._streams.move_to_end(more.utterance)
        while len(self._streams) > GROWING:
            self._streams.popitem(last=False)
        stream.accept_waveform(SPEECH_RATE, more.samples)
        return _heard(self._recogniser, stream)
