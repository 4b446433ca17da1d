"""What an answer has said so far, in text and in sound, and how much of it the user can have heard. Pure."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

_WITHOUT_SPACES = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff]")  # Thai, Lao, Burmese, Khmer


@dataclass
class _Spoken:
    text: str
    samples: int = 0  # of sound made for it so far
    whole: bool = False  # no more will be made


class SpokenReply:
    """Text arrives as deltas; sound (in samples) is counted either per utterance (text-driven speech) or for the whole reply."""

    def __init__(self) -> None:
        self._deltas: list[str] = []
        self._utterances: list[_Spoken] = []
        self._samples = 0

    @property
    def text(self) -> str:
        return "".join(self._deltas)

    @property
    def samples(self) -> int:
        """Of all sound made so far."""
        return self._samples

    def add_text(self, delta: str) -> None:
        self._deltas.append(delta)

    def begin_utterance(self, text: str) -> None:
        self._utterances.append(_Spoken(text))

    def end_utterance(self) -> None:
        self._utterances[-1].whole = True

    def add_sound(self, samples: int) -> None:
        self._samples += samples
        if self._utterances:
            self._utterances[-1].samples += samples

    def played(self, samples: int) -> str:
        """The text that was said within the first `samples` samples, cut at a word.

        Within an utterance, and in a reply without utterances, text and sound are thought to run evenly. An utterance whose sound
        is still being made is thought to be as fast as those before it.
        """
        if not self._utterances:
            return _cut(self.text, samples / self._samples if self._samples else 0.0)
        said = []
        pace = self._samples_per_character()
        for utterance in self._utterances:
            if samples <= 0:
                break
            expected = 0 if utterance.whole else round(len(utterance.text) * pace)
            length = max(utterance.samples, expected)
            said.append(_cut(utterance.text, samples / length if utterance.samples else 0.0))
            samples -= length
        return " ".join(part for part in said if part)

    def _samples_per_character(self) -> float:
        """Of what was spoken to its end; 0 before that."""
        whole = [utterance for utterance in self._utterances if utterance.whole]
        return sum(utterance.samples for utterance in whole) / max(sum(len(utterance.text) for utterance in whole), 1)


def _cut(text: str, fraction: float) -> str:
    """The first `fraction` of a text, ending with a whole word (or character, in a script without spaces)."""
    text = text.strip()
    if fraction >= 1.0:
        return text
    end = int(len(text) * max(fraction, 0.0))
    while 0 < end < len(text) and _in_word(text[end]) and _in_word(text[end - 1]):
        end -= 1
    return text[:end].rstrip()


def _in_word(character: str) -> bool:
    """Whether it belongs to a word of a script that writes spaces between words."""
    if unicodedata.east_asian_width(character) in "WF" or _WITHOUT_SPACES.match(character):
        return False
    return unicodedata.category(character)[0] in "LMN"
