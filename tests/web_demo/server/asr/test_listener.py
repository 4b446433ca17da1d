"""What a live stream is cut into, with a model for which whatever is loud is a voice."""

import itertools

import numpy as np
import pytest

from tests.speech import Loudness
from web_demo.audio.end_of_turn import CONTEXT_S
from web_demo.audio.patience import patient
from web_demo.audio.samples import SPEECH_RATE, Samples
from web_demo.audio.vad import PADDING_S, TurnDetector, VadRules
from web_demo.server.asr.listener import PARTIAL_EVERY_S, Began, Listener, Noticed, Utterance

SILENCE_S = VadRules().min_silence_s


def stream(*seconds: float) -> Samples:
    """Silence and speech in turn, beginning with silence."""
    parts = [np.full(round(s * SPEECH_RATE), 0.5 * (n % 2), np.float32) for n, s in enumerate(seconds)]
    return np.concatenate(parts)


def heard(samples: Samples, *, max_s: float = 30.0, chunk_s: float = 0.1) -> list[Utterance]:
    listener, chunk = Listener(max_s, TurnDetector(model=Loudness())), round(chunk_s * SPEECH_RATE)
    chunks = (samples[start : start + chunk] for start in range(0, len(samples), chunk))
    noticed = [*(found for part in chunks for found in listener.feed(part)), *listener.flush()]
    assert_each_is_told(noticed)
    return [found for found in noticed if isinstance(found, Utterance)]


def assert_each_is_told(noticed: list[Noticed]) -> None:
    """That an utterance began is noticed once, at its place, before anything else of it."""
    began: Began | None = None
    for found in noticed:
        if isinstance(found, Began):
            assert began is None
            began = found
        else:
            assert began is not None
            assert found.start_s == began.start_s
            began = None if found.final else began


def finals(utterances: list[Utterance]) -> list[tuple[float, float]]:
    return [(utterance.start_s, utterance.end_s) for utterance in utterances if utterance.final]


CHUNKS = pytest.mark.parametrize("chunk_s", [0.01, 0.1, 100.0])


@CHUNKS
def test_an_utterance_begins_before_its_first_word_and_ends_after_its_pause(chunk_s):
    ((start, end), (start2, end2)) = finals(heard(stream(2.0, 1.0, 2.0, 1.5, 2.0), chunk_s=chunk_s))
    assert 2.0 - PADDING_S - 0.1 < start <= 2.0 - PADDING_S + 0.1
    assert 3.0 + SILENCE_S <= end < 3.0 + SILENCE_S + 0.1
    assert 5.0 - PADDING_S - 0.1 < start2 <= 5.0 - PADDING_S + 0.1
    assert 6.5 + SILENCE_S <= end2 < 6.5 + SILENCE_S + 0.1


@CHUNKS
def test_speech_over_the_cap_is_cut_and_nothing_of_it_is_lost_or_doubled(chunk_s):
    found = [u for u in heard(stream(1.0, 7.3, 1.0), max_s=2.0, chunk_s=chunk_s) if u.final]
    assert all(len(utterance.samples) <= 2 * SPEECH_RATE for utterance in found)
    assert all(a.end_s == pytest.approx(b.start_s) for a, b in itertools.pairwise(found))
    assert sum(float((utterance.samples > 0.1).sum()) for utterance in found) == round(7.3 * SPEECH_RATE)


def test_an_utterance_that_ends_at_the_cap_is_followed_by_no_empty_one():
    for cap_s in np.arange(1.9, 2.2, 0.008):
        assert all(len(utterance.samples) for utterance in heard(stream(1.0, 1.0, 2.0), max_s=float(cap_s)))


def test_partial_results_grow_each_second_and_come_before_the_final_one():
    found = heard(stream(0.5, 4.0, 1.0))
    assert [utterance.final for utterance in found] == [False] * 4 + [True]
    lengths = [len(utterance.samples) for utterance in found]
    assert lengths == sorted(lengths)
    steps = [b - a for a, b in itertools.pairwise(lengths[:4])]
    assert all(step >= PARTIAL_EVERY_S * SPEECH_RATE for step in steps)


def test_what_is_being_said_when_the_stream_ends_is_an_utterance():
    ((_, end),) = finals(heard(stream(1.0, 1.0)))
    assert end == 2.0


def test_nothing_is_found_in_silence():
    assert heard(stream(60.0)) == []


def test_a_cut_ends_what_is_being_said_and_the_rest_is_noticed_anew():
    listener = Listener(30.0, TurnDetector(model=Loudness()))
    (began,) = listener.feed(stream(1.0, 0.9))
    cut = listener.cut()
    assert cut is not None
    assert cut.final
    assert cut.start_s == began.start_s
    assert cut.end_s == pytest.approx(1.9)
    again, final = listener.feed(stream(0.0, 0.5, 1.0))
    assert isinstance(again, Began)
    assert again.start_s >= 1.9
    assert isinstance(final, Utterance)
    assert final.final


def test_a_cut_of_silence_is_the_end_of_it_and_of_nothing_is_nothing():
    listener = Listener(30.0, TurnDetector(model=Loudness()))
    assert listener.cut() is None
    assert listener.feed(stream(2.0)) == []
    cut = listener.cut()
    assert cut is not None
    assert cut.end_s == pytest.approx(2.0)
    assert len(cut.samples) < SPEECH_RATE
    assert listener.cut() is None


def test_what_was_cleared_is_in_no_utterance():
    listener = Listener(30.0, TurnDetector(model=Loudness()))
    listener.feed(stream(1.0, 0.9))
    listener.clear()
    assert listener.flush() == []
    *_, final = listener.feed(stream(1.0, 0.5, 1.0))
    assert isinstance(final, Utterance)
    assert float((final.samples > 0.1).sum()) == pytest.approx(0.5 * SPEECH_RATE)


def test_a_listener_that_comes_later_counts_from_the_start_of_the_stream():
    listener = Listener(30.0, TurnDetector(model=Loudness()), padding_s=0.0, start=3 * SPEECH_RATE)
    began, *_ = listener.feed(stream(1.0, 1.0, 1.0))
    assert isinstance(began, Began)
    assert began.start_s == pytest.approx(4.0, abs=0.1)


def test_at_each_pause_somebody_may_say_how_long_it_is_waited_out():
    waits, asked = iter([1.2, None, None, 0.2]), []

    def patience(samples: Samples) -> float | None:
        asked.append(len(samples) / SPEECH_RATE)
        return next(waits)

    listener = Listener(30.0, TurnDetector(patient(VadRules()), Loudness()), patience=patience)
    noticed = listener.feed(stream(1.0, 1.0, 0.9, 9.0, 0.4, 1.0, 1.0, 1.0, 0.3))
    first, second = [found for found in noticed if isinstance(found, Utterance) and found.final]
    assert first.end_s == pytest.approx(13.3 + 0.6, abs=0.1)  # the 0.9 s were waited out
    assert second.end_s == pytest.approx(15.3 + 0.2, abs=0.1)
    assert asked == [pytest.approx(1.5, abs=0.2), CONTEXT_S, CONTEXT_S, pytest.approx(1.5, abs=0.2)]
