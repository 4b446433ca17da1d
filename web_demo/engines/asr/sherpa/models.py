"""The recognisers of sherpa-onnx that are known here, each by the layout of its released folder. Pure but for looking at files."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from web_demo.engines.asr.languages import NANO
from web_demo.engines.onnx_models import Layout, first, folders, metadata, one_of
from web_demo.errors import SetupError

log = logging.getLogger(__name__)

DEFAULT_FOLDER = "Fun-ASR-Nano-2512"  # of --model-path: then the models beside it count
LONGEST_S = 30.0  # of one piece

# Of Fun-ASR-Nano's context (its metadata has the length): what the prompt takes without hotwords, and a second of speech, 17
# positions of sound and at most 8 of text.
_PROMPT_TOKENS, _TOKENS_PER_S = 160, 25
_USUAL_CONTEXT = 1024  # where the metadata has no length


@dataclass(frozen=True)
class SenseVoice:
    """https://github.com/FunAudioLLM/SenseVoice, a CTC recogniser: times of tokens, no hotwords."""

    folder: Path
    model: Path
    tokens: Path

    languages = ("zh", "en", "ja", "ko", "yue")
    hotwords, itn, times = False, True, "word"
    longest_s = LONGEST_S

    @classmethod
    def in_folder(cls, folder: Path) -> SenseVoice | None:
        model, tokens = one_of(folder, "model.int8.onnx", "model.onnx"), one_of(folder, "tokens.txt")
        if model is None or tokens is None or "lang_yue" not in metadata(model):
            return None
        return cls(folder, model, tokens)


@dataclass(frozen=True)
class FunAsrNano:
    """Fun-ASR-Nano-2512 as ONNX: an encoder and Qwen3-0.6B. Hotwords; the library's times of tokens are evenly spread, so they are
    none. `context`: positions of the language model."""

    folder: Path
    encoder: Path
    llm: Path
    embedding: Path
    tokenizer: Path
    context: int

    languages = NANO
    hotwords, itn, times = True, True, "segment"

    @property
    def longest_s(self) -> float:
        return max(1.0, min(LONGEST_S, (self.context - _PROMPT_TOKENS) / _TOKENS_PER_S))

    def fitting(self, hotwords: Iterable[str], seconds: float) -> list[str]:
        """Those of them, from the first on, that leave room for `seconds` of sound and its text: what does not fit would push out
        sound, without a word. A byte is at most one token."""
        room = self.context - _PROMPT_TOKENS - seconds * _TOKENS_PER_S
        taken = []
        for word in hotwords:
            room -= len(word.encode()) + 2
            if room < 0:
                break
            taken.append(word)
        return taken

    @classmethod
    def in_folder(cls, folder: Path) -> FunAsrNano | None:
        parts = [
            one_of(folder, f"{name}.int8.onnx", f"{name}.fp16.onnx", f"{name}.onnx")
            for name in ("encoder_adaptor", "llm", "embedding")
        ]
        encoder, llm, embedding = parts
        tokenizer = next((path.parent for path in folder.glob("*/tokenizer.json")), None)
        if encoder is None or llm is None or embedding is None or tokenizer is None:
            return None
        said = metadata(llm)
        context = said.get("max_total_len") or said.get("attention_mask_len", "")
        return cls(folder, encoder, llm, embedding, tokenizer, int(context) if context.isdecimal() else _USUAL_CONTEXT)


@dataclass(frozen=True)
class Paraformer:
    """The streaming Paraformer: text that grows with the sound; neither punctuation nor times."""

    folder: Path
    encoder: Path
    decoder: Path
    tokens: Path

    languages = ("zh", "en")
    hotwords, itn, times = False, False, "segment"
    longest_s = LONGEST_S

    @classmethod
    def in_folder(cls, folder: Path) -> Paraformer | None:
        encoder, decoder = (one_of(folder, f"{name}.int8.onnx", f"{name}.onnx") for name in ("encoder", "decoder"))
        tokens = one_of(folder, "tokens.txt")
        if encoder is None or decoder is None or tokens is None or "decoder_num_blocks" not in metadata(encoder):
            return None
        return cls(folder, encoder, decoder, tokens)


Model = SenseVoice | FunAsrNano | Paraformer
PREFERENCE: tuple[Layout[Model], ...] = (SenseVoice, FunAsrNano, Paraformer)


@dataclass(frozen=True)
class Found:
    """`partials`: the streaming one, where it is there as well: for texts of utterances that go on."""

    model: Model
    partials: Paraformer | None


def find(path: Path | None) -> Found | None:
    """The recogniser in `path`; where that is the default or holds several, the best one there. Raises SetupError for a damaged
    model."""
    places = folders(path, DEFAULT_FOLDER)
    named = first(PREFERENCE, places[:1])
    model = named or first(PREFERENCE, places)
    if model is None or path is None:
        return None
    if isinstance(model, Paraformer):
        return Found(model, model)
    return Found(model, _streaming((*places, *folders(model.folder.parent, ""))))


def _streaming(places: Iterable[Path]) -> Paraformer | None:
    """Partial texts are an extra: a damaged one is told of, and costs no more than them."""
    try:
        return first((Paraformer,), tuple(places))
    except SetupError as error:
        log.warning("no partial texts: %s", error)
        return None
