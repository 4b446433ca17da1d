"""The end of an utterance by meaning, in transcriptions."""

import itertools
import threading

import numpy as np
import pytest

from tests.speech import recording
from tests.web_demo.server.asr.helpers import health, serving
from tests.web_demo.server.asr.realtime.talk import pcm, silence, talking
from web_demo.audio.patience import ASKED_AT_ONCE, EAGERNESS, EndOfTurn
from web_demo.audio.samples import SPEECH_RATE, Audio, Samples
from web_demo.audio.vad import speech_spans
from web_demo.server.asr.realtime.meaning import StreamPatience
from web_demo.server.asr.service import SERVICE

SECOND = np.zeros(16_000, np.float32)


class Sure:
    """A model that hears the same in everything."""

    name = "sure"

    def __init__(self, probability: float = 1.0) -> None:
        self._probability = probability
        self.asked = 0

    def probability(self, samples: Samples) -> float:
        self.asked += 1
        return self._probability


def word() -> bytes:
    """Something said, without silence around it."""
    sound = recording("cards_001").at(SPEECH_RATE).samples
    start, *_, end = itertools.chain(*speech_spans(sound, pad_s=0.0))
    return pcm(Audio(sound[start:end], SPEECH_RATE))


@pytest.mark.parametrize(
    ("probability", "gap_s", "items"), [(0.0, 1.5, 1), (1.0, 0.5, 2), (None, 1.5, 2), (None, 0.5, 1)]
)
async def test_who_sounds_unfinished_is_waited_for_and_who_sounds_finished_is_not(probability, gap_s, items):
    """Without a model the timer decides."""
    model = Sure(probability)
    async with serving(turn_model="none") as client, talking(client) as talk:
        assert await health(client, "end_of_turn") == "timer"
        if probability is not None:
            client.server.app[SERVICE].end_of_turn = EndOfTurn(model, deadline_s=20.0)
            assert await health(client, "end_of_turn") == "sure"
        await talk.update(turn_detection={"type": "semantic_vad", "eagerness": "low"})
        await talk.append(2 * (word() + silence(gap_s)) + silence(4.0))
        await talk.completed(items)
        await talk.send("input_audio_buffer.clear")
        await talk.until("input_audio_buffer.cleared")
        assert len(talk.of("input_audio_buffer.committed")) == items
        assert (model.asked > 0) is (probability is not None)


def test_the_timer_decides_where_the_model_is_late_fails_or_was_asked_too_often(caplog):
    late = threading.Event()

    class Late(Sure):
        def probability(self, samples: Samples) -> float:
            late.wait(20.0)
            return 1.0

    class Broken(Sure):
        def probability(self, samples: Samples) -> float:
            raise RuntimeError("no")

    assert StreamPatience(EndOfTurn(Late(), deadline_s=0.01), EAGERNESS["auto"], lambda: 0.0)(SECOND) is None
    late.set()
    assert StreamPatience(EndOfTurn(Broken()), EAGERNESS["auto"], lambda: 0.0)(SECOND) is None
    assert "the timer decides" in caplog.text
    heard_s, sure = 0.0, Sure()
    patience = StreamPatience(EndOfTurn(sure, deadline_s=20.0), EAGERNESS["auto"], lambda: heard_s)
    waits = [patience(SECOND) for _ in range(15)]
    assert (waits[:10], waits[10:]) == ([0.2] * 10, [None] * 5)
    assert sure.asked == ASKED_AT_ONCE
    heard_s = 1.0  # of the stream's own sound
    assert patience(SECOND) == 0.2
