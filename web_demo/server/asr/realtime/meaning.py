"""End of an utterance by meaning: the model is asked at each pause. CPU work, for the thread that listens."""

from __future__ import annotations

from collections.abc import Callable

from utils.bucket import TokenBucket
from web_demo.audio.patience import ASKED_A_SECOND, ASKED_AT_ONCE, EndOfTurn, Patience
from web_demo.audio.samples import Samples


class StreamPatience:
    """How long is waited at each pause of one stream, whose clock is `heard_s`, the seconds of its sound so far: however fast that
    comes, the model is asked no more often than for a conversation."""

    def __init__(self, model: EndOfTurn, patience: Patience, heard_s: Callable[[], float]) -> None:
        self._model = model
        self._patience = patience
        self._questions = TokenBucket(ASKED_AT_ONCE, ASKED_A_SECOND, heard_s)

    def __call__(self, samples: Samples) -> float | None:
        """Seconds of silence that end what was said, float32 [n] at SPEECH_RATE; None: the timer decides. Work for a thread."""
        if self._questions.level < 1:
            return None
        self._questions.take(1)
        probability = self._model.judge(samples)
        return None if probability is None else self._patience.after(probability).end_s
