"""Whose voice counts: that of the one who is near."""

import numpy as np
import pytest

from tests.speech import TRANSCRIPTS, Loudness, recording
from web_demo.audio.foreground import FORGET_DB_S, HOLD_FRAMES, Foreground
from web_demo.audio.samples import SPEECH_RATE, Samples
from web_demo.audio.vad import FRAME_SAMPLES, Edge, TurnDetector, VoiceDetector


class Voices:
    """Whatever there is, is a voice."""

    def feed(self, samples: Samples) -> list[float]:
        return [0.9] * (len(samples) // FRAME_SAMPLES)


def tone(seconds: float, db: float) -> Samples:
    phase = 2 * np.pi * 300 * np.arange(round(seconds * SPEECH_RATE / FRAME_SAMPLES) * FRAME_SAMPLES) / SPEECH_RATE
    return (0.5 * 10 ** (db / 20) * np.sin(phase)).astype(np.float32)


def share(probabilities: list[float]) -> float:
    return float(np.mean([probability > 0.5 for probability in probabilities]))


def test_the_first_voice_counts_however_quiet_it_is():
    assert share(Foreground(Voices()).feed(tone(1.0, -40))) == 1.0


@pytest.mark.parametrize(("db", "counts"), [(0, True), (-5, True), (-15, False), (-30, False)])
def test_a_voice_counts_by_its_level_beside_that_of_the_user(db, counts):
    heard = Foreground(Voices())
    heard.feed(tone(2.0, 0))
    assert share(heard.feed(tone(1.0, db))[HOLD_FRAMES:]) == counts


def test_a_louder_user_comes_to_the_fore_and_puts_others_in_the_background():
    heard = Foreground(Voices())
    heard.feed(tone(1.0, -15))
    assert share(heard.feed(tone(2.0, 0))) == 1.0
    assert share(heard.feed(tone(1.0, -15))[HOLD_FRAMES:]) == 0.0


def test_a_bang_does_not_make_the_user_a_voice_in_the_background():
    heard = Foreground(Voices())
    heard.feed(tone(2.0, -15))
    heard.feed(tone(0.3, -3))
    assert share(heard.feed(tone(1.0, -15))) == 1.0


def test_who_has_moved_away_is_heard_again_after_a_while():
    heard = Foreground(Voices())
    heard.feed(tone(2.0, 0))
    heard.feed(tone(7.0 / FORGET_DB_S, -15))
    assert share(heard.feed(tone(1.0, -15))) == 1.0


@pytest.mark.parametrize("chunk", [160, 512, 960, 5000])
def test_it_does_not_matter_how_the_sound_is_cut(chunk):
    sound = np.concatenate((tone(1.0, 0), tone(1.0, -15), tone(1.0, -3)))
    whole, cut = Foreground(Loudness()), Foreground(Loudness())
    assert whole.feed(sound) == [
        p for start in range(0, len(sound), chunk) for p in cut.feed(sound[start : start + chunk])
    ]


@pytest.mark.parametrize("name", sorted(TRANSCRIPTS))
def test_nothing_that_matters_of_one_person_is_background(name):
    speech = recording(name).samples
    plain, heard = VoiceDetector().feed(speech), Foreground(VoiceDetector()).feed(speech)
    lost = [left > 0.5 >= right for left, right in zip(plain, heard, strict=True)]
    assert np.mean(lost) < 0.03
    assert not any(all(lost[start : start + 7]) for start in range(len(lost)))  # no pause of 200 ms where there is none


def edges(sound: Samples) -> list[Edge]:
    detector = TurnDetector(model=Foreground(VoiceDetector()))
    return [stretch.edge for stretch in detector.feed(sound) if stretch.edge]


def at_level(name: str, db: float) -> Samples:
    """With that mean level."""
    speech = recording(name).samples
    return speech * np.float32(10 ** (db / 20) / np.sqrt(np.square(speech).mean()))


@pytest.mark.parametrize("other", ["librivox_0880", "librivox_0930", "cards_002"])
def test_background_talkers_15_db_below_hold_no_turn_open_and_open_none(other):
    user = at_level("librivox_0870", -20)
    background = np.tile(at_level(other, -35), 3)
    assert edges(np.concatenate((user, background))) == [Edge.BEGAN, Edge.ENDED]
    both = user + np.resize(background, len(user))
    assert edges(np.concatenate((both, background))) == [Edge.BEGAN, Edge.ENDED]
