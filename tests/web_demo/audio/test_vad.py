"""Voice activity: the rules alone, then the model on people and on what is no person."""

import itertools

import numpy as np
import pytest

from tests.speech import TRANSCRIPTS, Loudness, recording
from web_demo.audio.recording import Recording
from web_demo.audio.samples import SPEECH_RATE, Samples, silence
from web_demo.audio.vad import (
    FRAME_S,
    FRAME_SAMPLES,
    Edge,
    Endpointer,
    TurnDetector,
    VadRules,
    VoiceDetector,
    has_speech,
    speech_spans,
)

RULES = VadRules(threshold=0.5, min_speech_s=3 * FRAME_S, min_silence_s=4 * FRAME_S)


def edges(*probabilities: float, rules: VadRules = RULES) -> list[tuple[int, Edge]]:
    """(number of the frame, edge)."""
    ends = Endpointer(rules)
    found = [(frame, ends.feed(probability)) for frame, probability in enumerate(probabilities, 1)]
    return [(frame, edge) for frame, edge in found if edge is not None]


# --- the rules ---


def test_speech_begins_after_enough_frames_in_a_row():
    assert edges(0.9, 0.9) == []
    assert edges(0.9, 0.9, 0.9) == [(3, Edge.BEGAN)]


def test_a_click_is_no_speech():
    assert edges(*[0.9, 0.9, 0.1] * 10) == []


def test_speech_ends_after_enough_silence_in_a_row():
    assert edges(*[0.9] * 3, *[0.0] * 3) == [(3, Edge.BEGAN)]
    assert edges(*[0.9] * 3, *[0.0] * 4) == [(3, Edge.BEGAN), (7, Edge.ENDED)]


def test_a_pause_between_words_does_not_end_it():
    assert edges(*[0.9] * 3, *[0.0, 0.0, 0.0, 0.9] * 5) == [(3, Edge.BEGAN)]


def test_between_the_two_thresholds_nothing_changes():
    assert edges(*[0.4] * 50) == []  # no speech yet
    assert edges(*[0.9] * 3, *[0.4] * 50) == [(3, Edge.BEGAN)]  # no silence yet


def test_one_utterance_follows_another():
    said = [*[0.9] * 3, *[0.0] * 4]
    assert [edge for _, edge in edges(*said * 3)] == [Edge.BEGAN, Edge.ENDED] * 3


def test_times_shorter_than_a_frame_still_need_one_frame():
    quick = VadRules(min_speech_s=0.0, min_silence_s=0.0)
    assert edges(0.0, 0.9, 0.0, rules=quick) == [(2, Edge.BEGAN), (3, Edge.ENDED)]


def test_times_are_rounded_up_to_whole_frames():
    assert edges(*[0.9] * 4, rules=VadRules(min_speech_s=0.1)) == [(4, Edge.BEGAN)]
    assert edges(*[0.9] * 3, rules=VadRules(min_speech_s=0.096)) == [(3, Edge.BEGAN)]


def test_a_low_threshold_can_still_be_released():
    assert edges(*[0.9] * 3, *[0.0] * 30, rules=VadRules(threshold=0.05))[-1][1] is Edge.ENDED


# --- the detector of one live stream ---


def frames(*levels: float) -> Samples:
    return np.repeat(np.array(levels, np.float32), FRAME_SAMPLES)


SAID = frames(0, 0, *[1] * 5, *[0] * 6)  # speech from frame 2 to frame 7


@pytest.mark.parametrize("chunk", [100, FRAME_SAMPLES, 700, 100_000])
def test_an_edge_comes_with_the_frame_that_brought_it_and_says_where_it_was(chunk):
    detector, position, found, cut = TurnDetector(RULES, Loudness()), 0, [], []
    for start in range(0, len(SAID), chunk):
        for stretch in detector.feed(SAID[start : start + chunk]):
            cut.append(stretch.samples)
            position += len(stretch.samples)
            if stretch.edge:
                found.append((stretch.edge, stretch.at, position))
    began, ended = (
        (Edge.BEGAN, 2 * FRAME_SAMPLES, 5 * FRAME_SAMPLES),
        (Edge.ENDED, 7 * FRAME_SAMPLES, 11 * FRAME_SAMPLES),
    )
    assert found == [began, ended]
    assert np.array_equal(np.concatenate(cut), SAID)


def test_speech_that_goes_on_is_noticed_anew_when_it_was_forgotten_meanwhile():
    detector, found = TurnDetector(RULES, Loudness()), []
    for stretch in detector.feed(frames(*[1] * 20)):
        if stretch.edge:
            found.append((stretch.edge, stretch.at // FRAME_SAMPLES))
            detector.forget()
    assert found == [(Edge.BEGAN, first) for first in (0, 3, 6, 9, 12, 15)]


def test_the_pre_roll_reaches_back_before_the_first_word():
    detector, kept = TurnDetector(RULES, Loudness()), Recording()
    for stretch in detector.feed(frames(*[0] * 50, *[1] * 3)):
        kept.append(stretch.samples)
        kept.keep_last(detector.pre_roll(0.1))
    assert len(kept.samples()) / SPEECH_RATE == pytest.approx(0.1 + 4 * FRAME_S, abs=1e-3)
    assert np.count_nonzero(kept.samples()) == 3 * FRAME_SAMPLES


# --- the model ---


def spans(samples: Samples) -> list[tuple[int, int]]:
    return list(speech_spans(samples))


@pytest.fixture
def looked_at(monkeypatch) -> list[int]:
    """How many samples at a time the model was given."""
    counts: list[int] = []
    feed = VoiceDetector.feed

    def counting(self: VoiceDetector, samples: Samples) -> list[float]:
        counts.append(len(samples))
        return feed(self, samples)

    monkeypatch.setattr(VoiceDetector, "feed", counting)
    return counts


@pytest.mark.parametrize("after_s", [0.0, 9.9, 12.3])
@pytest.mark.parametrize("name", ["cards_001", "librivox_0880"])
def test_speech_is_found_wherever_it_begins_and_nothing_behind_it_is_looked_at(name, after_s, looked_at):
    quiet, speech = silence(after_s, SPEECH_RATE).samples, recording(name).samples
    sound = np.concatenate((quiet, speech))
    assert has_speech(sound)
    assert sum(looked_at) < len(quiet) + len(speech) // 2 + SPEECH_RATE / 2
    assert not has_speech(quiet)
    assert sum(looked_at) >= len(quiet)


def test_a_word_that_the_end_cuts_off_is_speech():
    speech = recording("cards_001").samples
    start, _ = spans(speech)[0]
    for samples in range(start, start + SPEECH_RATE // 2, 500):
        cut = speech[:samples]
        assert has_speech(cut) == bool(spans(cut))


@pytest.mark.parametrize("name", sorted(TRANSCRIPTS))
def test_people_are_noticed(name):
    speech = recording(name).samples
    found = spans(speech)
    assert found
    assert all(0 <= start < end <= len(speech) for start, end in found)
    assert all(end <= start for (_, end), (start, _) in itertools.pairwise(found))
    inside = np.zeros(len(speech), bool)
    for start, end in found:
        inside[start:end] = True
    energy = np.square(speech)
    assert energy[inside].sum() > 0.95 * energy.sum()


def test_one_utterance_between_silences_is_one_span_in_its_place():
    speech = recording("go_forward_ten_meters").samples
    pause = silence(2.0, SPEECH_RATE).samples
    (start, end), *more = spans(np.concatenate((pause, speech, pause)))
    assert more == []
    assert len(pause) <= start
    assert end <= len(pause) + len(speech) + SPEECH_RATE // 2
    assert end - start > SPEECH_RATE


def test_two_utterances_are_two_spans():
    pause = silence(1.5, SPEECH_RATE).samples
    speech = recording("cards_001").samples
    assert len(spans(np.concatenate((speech, pause, speech, pause)))) == 2


def test_speech_up_to_the_last_sample_ends_with_the_recording():
    speech = recording("librivox_0880").samples[: SPEECH_RATE + 777]
    assert spans(speech)[-1][1] == len(speech)


@pytest.mark.parametrize(("name", "first"), [("cards_003", 1536), ("librivox_0870", 3584)])
def test_a_short_word_is_noticed_where_the_recording_begins_with_it(name, first):
    word = recording(name).samples[first : first + SPEECH_RATE // 4]
    assert spans(word) != []


def noise(seconds: float, level: float) -> Samples:
    return (level * np.random.default_rng(1).standard_normal(round(seconds * SPEECH_RATE))).astype(np.float32)


def tone(hz: float) -> Samples:
    return (0.5 * np.sin(2 * np.pi * hz * np.arange(5 * SPEECH_RATE) / SPEECH_RATE)).astype(np.float32)


def clicks() -> Samples:
    sound = np.zeros(5 * SPEECH_RATE, np.float32)
    sound[:: SPEECH_RATE // 3] = 1.0
    return sound


@pytest.mark.parametrize(
    "sound",
    [silence(5.0, SPEECH_RATE).samples, noise(5.0, 0.003), noise(5.0, 0.1), tone(50), tone(440), tone(3000), clicks()],
    ids=["silence", "faint noise", "loud noise", "hum", "440 Hz", "3 kHz", "clicks"],
)
def test_what_is_no_speech_does_not_begin_a_turn(sound):
    assert spans(sound) == []


def test_nothing_is_found_in_nothing():
    assert spans(np.zeros(0, np.float32)) == []


@pytest.mark.parametrize("chunk", [160, 511, 512, 960, 5000])
def test_probabilities_do_not_depend_on_how_the_sound_is_cut(chunk):
    speech = recording("cards_001").samples[: 30 * FRAME_SAMPLES]
    whole, cut = VoiceDetector(), VoiceDetector()
    expected = whole.feed(speech)
    got = [value for start in range(0, len(speech), chunk) for value in cut.feed(speech[start : start + chunk])]
    assert len(expected) == 30
    assert got == pytest.approx(expected, abs=1e-6)


def test_streams_do_not_disturb_each_other():
    speech, other = recording("cards_001").samples[: 30 * FRAME_SAMPLES], noise(2.0, 0.1)
    alone = VoiceDetector().feed(speech)
    one, two = VoiceDetector(), VoiceDetector()
    beside = []
    for start in range(0, len(speech), FRAME_SAMPLES):
        beside += one.feed(speech[start : start + FRAME_SAMPLES])
        two.feed(other[:FRAME_SAMPLES])
    assert beside == pytest.approx(alone, abs=1e-6)


def test_after_a_reset_a_stream_begins_anew():
    speech = recording("cards_001").samples[: 20 * FRAME_SAMPLES + 100]
    detector = VoiceDetector()
    first = detector.feed(speech)
    detector.reset()
    assert detector.feed(speech) == pytest.approx(first, abs=1e-6)
