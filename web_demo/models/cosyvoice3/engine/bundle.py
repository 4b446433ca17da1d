"""Everything that text to speech needs, loaded from one directory."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from web_demo.errors import SetupError

from ..config import load_config
from ..flow.stream import slot_bytes
from ..frontend import Frontend
from ..lm.batch import LmBatch
from ..lm.lm import load_lm
from ..load import choose_dtype, load_flow, load_vocoder
from ..voices import SPEAKERS_NAME, VoiceStore, load_voices
from .synthesizer import AHEAD, Synthesizer
from .token2wav import StreamSettings, Token2Wav, context_blocks, powers_of_two

log = logging.getLogger(__name__)

LM_CAPACITY = 4096  # positions of one utterance: prompt, text and tokens
CPU_STREAMS = 4  # far from real time at full size, where a stream holds 0.7 GB in float32


@dataclass(frozen=True)
class CosyVoice3:
    frontend: Frontend
    voices: VoiceStore
    token2wav: Token2Wav
    synthesizer: Synthesizer
    frontend_lock: threading.Lock = field(default_factory=threading.Lock)  # the frontend is not thread-safe


def default_device() -> str:
    return "cuda:0" if torch.cuda.is_available() else "cpu"


def slots_that_fit(bytes_a_slot: int, device: str, wanted: int) -> int:
    """Streams whose state takes at most half of the memory that is free on a GPU now; at least 1, at most `wanted`. A few
    on a CPU."""
    if not device.startswith("cuda"):
        return min(wanted, CPU_STREAMS)
    free, _ = torch.cuda.mem_get_info(torch.device(device))
    return max(1, min(wanted, free // 2 // bytes_a_slot))


def load_models(directory: Path, *, device: str, dtype: str = "auto", streams: int = 8) -> CosyVoice3:
    """Load, make room for `streams` requests at once (fewer on a small GPU: the others wait for a slot), and record
    graphs where there is a GPU."""
    config = load_config(directory)
    chosen = choose_dtype(dtype, device)
    try:
        frontend = Frontend(directory, config)
    except FileNotFoundError as error:
        raise SetupError(str(error)) from error
    flow = load_flow(directory, device=device, dtype=chosen, config=config)
    vocoder = load_vocoder(directory, device=device, config=config)
    lm = load_lm(directory, device=device, dtype=chosen, config=config)
    settings = StreamSettings()
    bytes_a_slot = slot_bytes(flow, context_blocks(flow, vocoder, settings.context_s))
    slots = slots_that_fit(bytes_a_slot, device, streams)
    token2wav = Token2Wav(flow, vocoder, replace(settings, slots=slots, batches=powers_of_two(slots)))
    utterances = AHEAD * slots
    lm_batch = LmBatch(lm, slots=utterances, capacity=LM_CAPACITY, batches=powers_of_two(utterances))
    captured = token2wav.warm_up() + lm_batch.warm_up()
    log.info("loaded %s device=%s dtype=%s slots=%d graphs=%d", directory, device, chosen, slots, captured)
    voices = load_voices(directory / SPEAKERS_NAME)
    return CosyVoice3(frontend, voices, token2wav, Synthesizer(lm_batch, token2wav))
