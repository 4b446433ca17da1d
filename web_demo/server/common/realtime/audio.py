"""The sound of OpenAI Realtime: its formats, and base64 that is charged before it is decoded. Pure."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import Any

from web_demo.audio import g711
from web_demo.audio.pcm import Coding, PcmReader, PcmWriter
from web_demo.audio.samples import WIRE_RATE
from web_demo.server.common.realtime.fields import EventError, Fields

CODINGS = {"audio/pcm": Coding.PCM16, "audio/pcmu": Coding.MU_LAW, "audio/pcma": Coding.A_LAW}
BETA_NAMES = {
    "pcm16": "audio/pcm",
    "g711_ulaw": "audio/pcmu",
    "g711_alaw": "audio/pcma",
}  # a string instead of an object
LOWEST_RATE, HIGHEST_RATE = 8_000, 48_000  # of PCM; OpenAI's own is 24,000 alone


@dataclass(frozen=True)
class AudioFormat:
    coding: Coding
    rate: int  # Hz

    @property
    def bytes_per_s(self) -> int:
        return self.rate * self.coding.sample_bytes

    def reader(self) -> PcmReader:
        """Of one stream, to SPEECH_RATE."""
        return PcmReader(self.coding, self.rate)

    def writer(self) -> PcmWriter:
        """Of one stream, from WIRE_RATE."""
        return PcmWriter(self.coding, self.rate)


PCM = AudioFormat(Coding.PCM16, WIRE_RATE)


def format_of(parent: Fields, key: str = "format") -> AudioFormat:
    """PCM where none is named. Raises EventError."""
    if isinstance(name := parent.data.get(key), str):
        return _named(BETA_NAMES[parent.choice(key, tuple(BETA_NAMES), name)], WIRE_RATE)
    fields = parent.object(key)
    if fields is None:
        return PCM
    rate = fields.number("rate", LOWEST_RATE, HIGHEST_RATE, WIRE_RATE)
    if rate != int(rate):
        fields.refuse("rate", "a whole number of Hz")
    return _named(fields.choice("type", tuple(CODINGS), "audio/pcm"), int(rate))


def _named(name: str, rate: int) -> AudioFormat:
    coding = CODINGS[name]
    return AudioFormat(coding, rate if coding is Coding.PCM16 else g711.RATE)


def charge_s(text: str, audio: AudioFormat) -> float:
    """Seconds of sound that this much base64 can hold."""
    return len(text) * 3 / 4 / audio.bytes_per_s


def audio_in(fields: Fields, audio: AudioFormat, most_s: float, key: str = "audio") -> bytes:
    """The base64 text of `key` as bytes of whole samples. Raises EventError, about more than `most_s` before it is decoded."""
    text: Any = fields.data.get(key)
    if not isinstance(text, str):
        fields.refuse(key, f"base64 text of {audio.coding.value}")
    name = fields.full(key)
    if (seconds := charge_s(text, audio)) > most_s:
        raise EventError(
            f"{name} holds {seconds:.1f} s of sound; one event may hold {most_s:g} s", code="audio_too_long", param=name
        )
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise EventError(f"{name} is not base64: {error}", code="invalid_base64", param=name) from error
    if len(data) % audio.coding.sample_bytes:
        raise EventError(
            f"{name} must be {audio.coding.value}, {audio.coding.sample_bytes} bytes a sample, got {len(data)} bytes",
            param=name,
        )
    return data


def audio_out(data: bytes) -> str:
    """Base64."""
    return base64.b64encode(data).decode()
