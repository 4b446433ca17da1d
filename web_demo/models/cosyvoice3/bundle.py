"""Everything that text to speech needs, loaded from one directory."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass, field
from pathlib import Path

import torch

from web_demo.errors import SetupError

from .config import load_config
from .frontend import Frontend
from .lm import load_lm
from .lm_batch import LmBatch
from .load import choose_dtype, load_flow, load_vocoder
from .synthesizer import Synthesizer
from .token2wav import StreamSettings, Token2Wav, powers_of_two
from .voices import SPEAKERS_NAME, VoiceStore, load_voices

log = logging.getLogger(__name__)

LM_CAPACITY = 4096  # positions of one utterance: prompt, text and tokens


@dataclass(frozen=True)
class CosyVoice3:
    frontend: Frontend
    voices: VoiceStore
    token2wav: Token2Wav
    synthesizer: Synthesizer
    frontend_lock: threading.Lock = field(default_factory=threading.Lock)  # the frontend is not thread-safe


def default_device() -> str:
    return "cuda:0" if torch.cuda.is_available() else "cpu"


def load_models(directory: Path, *, device: str, dtype: str = "auto", slots: int = 8) -> CosyVoice3:
    """Load, allocate `slots` utterances and streams, and record graphs where there is a GPU."""
    config = load_config(directory)
    chosen = choose_dtype(dtype, device)
    batches = powers_of_two(slots)
    try:
        frontend = Frontend(directory, config)
    except FileNotFoundError as error:
        raise SetupError(str(error)) from error
    token2wav = Token2Wav(
        load_flow(directory, device=device, dtype=chosen, config=config),
        load_vocoder(directory, device=device, config=config),
        StreamSettings(slots=slots, batches=batches),
    )
    lm = load_lm(directory, device=device, dtype=chosen, config=config)
    lm_batch = LmBatch(lm, slots=slots, capacity=LM_CAPACITY, batches=batches)
    captured = token2wav.warm_up() + lm_batch.warm_up()
    log.info("loaded %s device=%s dtype=%s slots=%d graphs=%d", directory, device, chosen, slots, captured)
    voices = load_voices(directory / SPEAKERS_NAME)
    return CosyVoice3(frontend, voices, token2wav, Synthesizer(lm_batch, token2wav))
