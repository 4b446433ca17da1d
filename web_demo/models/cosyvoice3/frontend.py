"""From texts and recordings to what the models take: voices and LM inputs, in the modes of the reference."""

from __future__ import annotations

from pathlib import Path

from utils.cosyvoice_tokenizer import SpeechTokenizer
from web_demo.audio.samples import SPEECH_RATE, Audio
from web_demo.errors import InvalidRequest

from .config import CosyVoice3Config
from .features import MelSpectrogram, SpeakerEncoder, resample
from .lm.generate import LmInput
from .lm.text_tokens import END_OF_PROMPT_TOKEN, TextTokenizer
from .voices import Voice

SYSTEM_PROMPT = "You are a helpful assistant."
MIN_PROMPT_S, MAX_PROMPT_S = 0.5, 30.0  # of a reference recording; the speech tokenizer takes at most 30 s


class Frontend:
    """Not thread-safe. Loads the tokenizer and two small ONNX graphs on the CPU."""

    def __init__(self, directory: Path, config: CosyVoice3Config) -> None:
        self._ratio = config.flow.token_mel_ratio
        self._text = TextTokenizer(directory)
        self._speech = SpeechTokenizer(directory)
        self._speaker = SpeakerEncoder(directory)
        self._mel = MelSpectrogram(config.mel)

    def text_ids(self, text: str) -> tuple[int, ...]:
        return self._text(text)

    def voice(self, audio: Audio, text: str = "") -> Voice:
        """The voice of a reference recording in which `text` is said ("": not known, for cross-lingual speech).

        Raises InvalidRequest for a recording that is too short or too long.
        """
        if not MIN_PROMPT_S <= audio.seconds <= MAX_PROMPT_S:
            raise InvalidRequest(
                f"a reference recording must be {MIN_PROMPT_S} to {MAX_PROMPT_S:.0f} s long, got {audio.seconds:.1f} s"
            )
        tokens = self._speech.encode(resample(audio, SPEECH_RATE))
        mel = self._mel(audio)
        # The reference keeps whole tokens only, so that prompt mel and tokens end together.
        count = min(len(mel) // self._ratio, len(tokens))
        return Voice(
            embedding=self._speaker(audio),
            prompt_tokens=tokens[:count],
            prompt_mel=mel[: count * self._ratio],
            prompt_text=self._text(with_system_prompt(text)) if text else (),
        )

    def lm_input(self, text: str, voice: Voice, instruction: str = "") -> LmInput:
        """How to say `text`:

        - with an instruction: the LM hears the instruction, the flow the recording ("instruct");
        - with a recording whose text is known: the LM continues it ("zero-shot");
        - else the LM hears the text alone, and only the flow knows the voice ("cross-lingual", saved speakers).
        """
        if instruction:
            return LmInput(self._text(text), prompt_text=self._text(instructed(instruction)))
        if voice.prompt_text:
            return LmInput(self._text(text), voice.prompt_text, voice.prompt_tokens)
        return LmInput(self._text(with_system_prompt(text)))


def with_system_prompt(text: str) -> str:
    """`text` after the marker that the LM must have seen; as it is where it has one."""
    return text if END_OF_PROMPT_TOKEN in text else f"{SYSTEM_PROMPT}{END_OF_PROMPT_TOKEN}{text}"


def instructed(instruction: str) -> str:
    if END_OF_PROMPT_TOKEN in instruction:
        return instruction
    return f"{SYSTEM_PROMPT} {instruction}{END_OF_PROMPT_TOKEN}"
