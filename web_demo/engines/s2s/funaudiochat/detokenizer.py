"""The S2S detokenizer's backend: speech codes to sound with CosyVoice3's flow and vocoder, many turns in one batch.

It runs in the detokenizer child, whose device is chosen with `--tts-gpu`. The codes of a turn may come in windows of any
size; only whole attention blocks of 25 tokens are spoken before the last window, which makes the sound independent of how
the codes were cut.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from web_demo.audio.samples import Samples, from_wav
from web_demo.detokenizer.backend import Window
from web_demo.engines.tts.cosyvoice_voices import REFERENCE_WAV, SUBMODULE
from web_demo.errors import DeviceLost, SetupError
from web_demo.models.cosyvoice3.config import load_config
from web_demo.models.cosyvoice3.engine.token2wav import Stream, StreamSettings, Token2Wav, context_blocks, powers_of_two
from web_demo.models.cosyvoice3.features import SpeakerEncoder
from web_demo.models.cosyvoice3.flow.flow import Flow
from web_demo.models.cosyvoice3.flow.stream import slot_bytes
from web_demo.models.cosyvoice3.load import load_flow, load_vocoder
from web_demo.models.cosyvoice3.vocoder.vocoder import Vocoder
from web_demo.models.cosyvoice3.voices import DEFAULT_VOICE, SPEAKERS_NAME, Voice, VoiceStore, load_voices
from web_demo.models.runtime import memory
from web_demo.models.runtime.device import choose_dtype

log = logging.getLogger(__name__)

MAX_SLOTS = 256
MAX_BATCH = (
    32  # windows computed at once: larger batches gain a tenth, and keep a new turn's first one waiting for longer
)
FIRST_TOKENS = (
    17  # 0.68 s: with the look-ahead four frames of the speech model, and more than a listener waits for to begin
)


class CosyVoiceBackend:
    """See `web_demo.detokenizer.backend.DetokenizerBackend`. Everything is called from one thread."""

    name = "cosyvoice3"

    def __init__(self, token2wav: Token2Wav, voices: VoiceStore) -> None:
        self._token2wav = token2wav
        self._voices = voices
        self._opened: dict[str, Voice] = {}  # without a window so far
        self._streams: dict[str, Stream] = {}
        self._turns: dict[Stream, str] = {}

    @property
    def sample_rate(self) -> int:
        return self._token2wav.sample_rate

    @property
    def max_batch(self) -> int:
        return self._token2wav.max_batch

    @property
    def hop_tokens(self) -> tuple[int, ...]:
        """A first window that yields sound at once (its look-ahead included), one more block, then two at a time."""
        rules = self._token2wav.rules
        return (rules.first + rules.lookahead, 2 * rules.block - rules.first, 2 * rules.block)

    @property
    def max_turns(self) -> int:
        return self._token2wav.settings.slots

    def open(self, turn_id: str, voice: str) -> None:
        """Raises NotFound for an unknown voice ("" is the default one).

        A slot is taken by the first window only: a turn that replaces an interrupted one is opened in the same moment
        as the other is closed, and sometimes just before.
        """
        self._opened[turn_id] = self._voices.get(voice)

    def decode(self, windows: Sequence[Window]) -> Iterator[tuple[str, Samples]]:
        """Windows of turns that could not be opened are passed over: their failure was already reported."""
        try:
            yield from self._sounds(windows)
        except torch.AcceleratorError as error:
            raise DeviceLost("CUDA failed in a batch of speech codes") from error

    def _sounds(self, windows: Sequence[Window]) -> Iterator[tuple[str, Samples]]:
        fed = []
        for window in sorted(windows, key=lambda window: window.deadline):
            if window.text:
                raise ValueError(
                    "this backend speaks codes, and got a window of text: the engine's BackendSpec is wrong"
                )
            stream = self._stream(window.turn_id)
            if stream is not None and not stream.cursor.ended:
                self._feed(stream, window)
                fed.append(stream)
        for stream, samples in self._token2wav.run(fed):
            yield self._turns[stream], samples

    def _stream(self, turn_id: str) -> Stream | None:
        """The turn's stream; raises RuntimeError when there are more turns than slots, which the session limit of the
        service should have prevented."""
        if turn_id in self._opened:
            stream = self._token2wav.open(self._opened[turn_id])
            del self._opened[turn_id]
            self._streams[turn_id] = stream
            self._turns[stream] = turn_id
        return self._streams.get(turn_id)

    def _feed(self, stream: Stream, window: Window) -> None:
        """An answer longer than a stream can be (300 s with the voice's prompt) ends there; the turns beside it go on."""
        room = stream.cursor.room
        if len(window.codes) > room:
            log.warning("turn=%s is longer than a stream can be: its sound ends here", window.turn_id)
        stream.feed(window.codes[:room], last=window.last or len(window.codes) > room)

    def close(self, turn_id: str) -> None:
        self._opened.pop(turn_id, None)
        stream = self._streams.pop(turn_id, None)
        if stream is not None:
            del self._turns[stream]
            self._token2wav.close(stream)


def _voices(directory: Path, speakers: Path | None) -> VoiceStore:
    """The speaker file's voices; without one, the default voice is that of the recording in upstream's code."""
    voices = load_voices(speakers or directory / SPEAKERS_NAME)
    if speakers is not None and not voices.names:
        raise SetupError(f"the speaker file {speakers} is missing or empty")
    if not voices.names:
        recording = SUBMODULE / REFERENCE_WAV
        if not recording.is_file():
            raise SetupError(
                f"there is no voice to speak with: neither {directory / SPEAKERS_NAME} nor {recording}; "
                "get the latter with: git submodule update --init third_party/CosyVoice"
            )
        voices.add(DEFAULT_VOICE, Voice(SpeakerEncoder(directory)(from_wav(recording.read_bytes()))))
    return voices


def stream_settings(
    flow: Flow,
    vocoder: Vocoder,
    *,
    device: str,
    slots: int,
    beside: str,
    beside_cache: str = "auto",
    context_s: float = 4.0,
    first_tokens: int = FIRST_TOKENS,
    graphs: bool = True,
) -> StreamSettings:
    """For the turns of a conversation service, as many as fit; the options are those of `create`."""
    bytes_a_slot = slot_bytes(flow, context_blocks(flow, vocoder, context_s))
    neighbour = memory.Beside.speech_model(beside, beside_cache) if beside else memory.Beside()
    slots = _slots_that_fit(bytes_a_slot, device, min(slots, MAX_SLOTS), neighbour)
    batches = powers_of_two(min(slots, MAX_BATCH))
    return StreamSettings(slots=slots, context_s=context_s, first_tokens=first_tokens, batches=batches, graphs=graphs)


def _slots_that_fit(bytes_a_slot: int, device: str, most: int, neighbour: memory.Beside) -> int:
    if not device.startswith("cuda"):
        return most
    total = memory.free_and_total(device)[1]
    return memory.streams_beside(bytes_a_slot, total=total, most=most, batch=MAX_BATCH, beside=neighbour)


def create(
    *,
    model_path: str,
    device: str = "cpu",
    dtype: str = "auto",
    speakers: str = "",
    slots: int = 8,
    context_s: float = 4.0,
    first_tokens: int = FIRST_TOKENS,
    graphs: bool = True,
    beside: str = "",
    beside_cache: str = "auto",
) -> CosyVoiceBackend:
    """Load the weights and, on a GPU, record its graphs. `dtype` "auto" is bfloat16 on a GPU, float32 elsewhere;
    `speakers`: a speaker file in place of the model directory's own; `slots`: most turns at once, each with its memory (90
    MB for a second of `context_s` at full size in bfloat16), fewer where a GPU holds fewer; `beside`: the dtype of the
    speech model that will live on the same GPU (as many of its sessions then fit too), "" for none, and `beside_cache` that
    of its speech head's caches; the rest as in `StreamSettings`."""
    directory = Path(model_path)
    config = load_config(directory)
    chosen = choose_dtype(dtype, device)
    voices = _voices(directory, Path(speakers) if speakers else None)
    flow = load_flow(directory, device=device, dtype=chosen, config=config)
    vocoder = load_vocoder(directory, device=device, config=config)
    settings = stream_settings(
        flow,
        vocoder,
        device=device,
        slots=slots,
        beside=beside,
        beside_cache=beside_cache,
        context_s=context_s,
        first_tokens=first_tokens,
        graphs=graphs,
    )
    token2wav = Token2Wav(flow, vocoder, settings)
    captured = token2wav.warm_up()
    log.info(
        "loaded %s device=%s dtype=%s slots=%d MB_a_slot=%.1f graphs=%d default_voice=%s",
        directory,
        device,
        chosen,
        settings.slots,
        token2wav.bytes_per_slot / 1e6,
        captured,
        voices.default(),
    )
    return CosyVoiceBackend(token2wav, voices)
