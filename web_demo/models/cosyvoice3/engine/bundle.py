"""Everything that text to speech needs, loaded from one directory."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass, field, replace
from pathlib import Path

from web_demo.errors import SetupError
from web_demo.models.runtime import memory
from web_demo.models.runtime.device import choose_dtype, require

from ..config import load_config
from ..flow.stream import slot_bytes
from ..frontend import Frontend
from ..lm.batch import LmBatch
from ..lm.lm import load_lm
from ..load import load_flow, load_vocoder
from ..voices import SPEAKERS_NAME, VoiceStore, load_voices
from .synthesizer import AHEAD, SpeechLm, Synthesizer
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


def load_models(
    directory: Path, *, device: str, dtype: str = "auto", streams: int = 8, lm: SpeechLm | None = None
) -> CosyVoice3:
    """Load, make room for `streams` requests at once (fewer on a small GPU: the others wait for a slot), and record
    graphs where there is a GPU. `lm`: instead of our own."""
    require(device)
    config = load_config(directory)
    chosen = choose_dtype(dtype, device)
    try:
        frontend = Frontend(directory, config)
    except FileNotFoundError as error:
        raise SetupError(str(error)) from error
    flow = load_flow(directory, device=device, dtype=chosen, config=config)
    vocoder = load_vocoder(directory, device=device, config=config)
    own_lm = load_lm(directory, device=device, dtype=chosen, config=config) if lm is None else None
    settings = StreamSettings()
    bytes_a_slot = slot_bytes(flow, context_blocks(flow, vocoder, settings.context_s))
    slots = min(streams, CPU_STREAMS)
    if device.startswith("cuda"):
        slots = memory.streams_alone(bytes_a_slot, free=memory.free_and_total(device)[0], most=streams)
    token2wav = Token2Wav(flow, vocoder, replace(settings, slots=slots, batches=powers_of_two(slots)))
    captured = token2wav.warm_up()
    if own_lm is not None:
        utterances = AHEAD * slots
        lm = batch = LmBatch(own_lm, slots=utterances, capacity=LM_CAPACITY, batches=powers_of_two(utterances))
        captured += batch.warm_up()
    assert lm is not None
    log.info("loaded %s device=%s dtype=%s slots=%d graphs=%d", directory, device, chosen, slots, captured)
    voices = load_voices(directory / SPEAKERS_NAME)
    return CosyVoice3(frontend, voices, token2wav, Synthesizer(lm, token2wav))
