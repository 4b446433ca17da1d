"""Everything that text to speech needs, loaded from one directory."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from web_demo.errors import SetupError

from .config import FlowConfig, load_config
from .flow import EULER_STEPS
from .frontend import Frontend
from .lm import load_lm
from .lm_batch import LmBatch
from .load import choose_dtype, load_flow, load_vocoder
from .synthesizer import AHEAD, Synthesizer
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


def slots_that_fit(config: FlowConfig, device: str, dtype: torch.dtype, context_s: float, wanted: int) -> int:
    """Streams whose state takes at most half of the memory that is free on a GPU now; at least 1, at most `wanted`."""
    if not device.startswith("cuda"):
        return wanted
    dit = config.dit
    frames = context_s * 50
    a_slot = EULER_STEPS * 2 * dit.depth * 2 * dit.heads * dit.dim_head * frames * torch.finfo(dtype).bits / 8
    free, _ = torch.cuda.mem_get_info(torch.device(device))
    return max(1, min(wanted, int(free / 2 / a_slot)))


def load_models(directory: Path, *, device: str, dtype: str = "auto", streams: int = 8) -> CosyVoice3:
    """Load, make room for `streams` requests at once (fewer on a small GPU: the others wait for a slot), and record
    graphs where there is a GPU."""
    config = load_config(directory)
    chosen = choose_dtype(dtype, device)
    stream_settings = StreamSettings()
    slots = slots_that_fit(config.flow, device, chosen, stream_settings.context_s, streams)
    batches = powers_of_two(slots)
    try:
        frontend = Frontend(directory, config)
    except FileNotFoundError as error:
        raise SetupError(str(error)) from error
    token2wav = Token2Wav(
        load_flow(directory, device=device, dtype=chosen, config=config),
        load_vocoder(directory, device=device, config=config),
        replace(stream_settings, slots=slots, batches=batches),
    )
    lm = load_lm(directory, device=device, dtype=chosen, config=config)
    utterances = AHEAD * slots
    lm_batch = LmBatch(lm, slots=utterances, capacity=LM_CAPACITY, batches=powers_of_two(utterances))
    captured = token2wav.warm_up() + lm_batch.warm_up()
    log.info("loaded %s device=%s dtype=%s slots=%d graphs=%d", directory, device, chosen, slots, captured)
    voices = load_voices(directory / SPEAKERS_NAME)
    return CosyVoice3(frontend, voices, token2wav, Synthesizer(lm_batch, token2wav))
