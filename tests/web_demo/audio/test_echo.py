"""The machine's own voice in the microphone is no voice, and whoever speaks over it is."""

import numpy as np
import pytest

from tests.speech import Loudness, recording
from web_demo.audio.echo import RATE, WINDOW, Played, WithoutEcho, agreement
from web_demo.audio.samples import SPEECH_RATE, WIRE_RATE, Audio, Samples
from web_demo.audio.vad import Edge, TurnDetector, VoiceDetector

MINUS_12_DB = np.float32(10 ** (-12 / 20))
CHUNK = round(0.06 * SPEECH_RATE)
PAGE = round(0.04 * WIRE_RATE)
VOICES = ("cards_005", "go_forward_ten_meters", "librivox_0930")


def room(sound: Samples, seed: int = 0, t60_s: float = 0.3, direct_db: float = 6.0) -> Samples:
    """As a microphone hears it across a room: the reverberation is `direct_db` below the direct sound."""
    rng = np.random.default_rng(seed)
    tail = rng.standard_normal(SPEECH_RATE // 4) * np.exp(-6.9 * np.arange(SPEECH_RATE // 4) / SPEECH_RATE / t60_s)
    response = tail / np.sqrt(np.square(tail).sum()) * 10 ** (-direct_db / 20)
    response[0] = 1.0
    return np.convolve(sound, response)[: len(sound)].astype(np.float32)


def edges(machine: Samples, microphone: Samples) -> list[tuple[Edge, float]]:
    """(edge, when), in seconds after the first sound of the machine, both at SPEECH_RATE."""
    time = 0.0
    played = Played(lambda: time)
    pages = Audio(machine, SPEECH_RATE).at(WIRE_RATE).samples
    detector, sent, found = TurnDetector(model=WithoutEcho(VoiceDetector(), played)), 0, []
    for start in range(0, len(microphone), CHUNK):
        time = (start + CHUNK) / SPEECH_RATE
        while sent < len(pages) and sent / WIRE_RATE < time + 0.6:  # as far ahead of its time as it is sent
            played.add(pages[sent : sent + PAGE], sent / WIRE_RATE)
            sent += PAGE
        for stretch in detector.feed(microphone[start : start + CHUNK]):
            if stretch.edge:
                found.append((stretch.edge, time))
    return found


def echo(machine: Samples, delay_s: float, seconds: float = 4.0) -> Samples:
    """At -12 dB, in a little noise."""
    delay, length = round(delay_s * SPEECH_RATE), round(seconds * SPEECH_RATE)
    quiet = np.random.default_rng(1).standard_normal(length).astype(np.float32) * np.float32(0.001)
    heard = machine[: length - delay] * MINUS_12_DB
    quiet[delay : delay + len(heard)] += heard
    return quiet


@pytest.mark.parametrize("delay_s", [0.05, 0.3, 1.2])
@pytest.mark.parametrize("name", VOICES)
def test_the_machine_does_not_hear_itself(name, delay_s):
    machine = recording(name).samples
    assert edges(machine, echo(room(machine), delay_s)) == []


def test_without_the_comparison_it_would():
    assert edges(np.zeros(0, np.float32), echo(recording("librivox_0930").samples, 0.3))


@pytest.mark.parametrize("user", ["librivox_0880", "cards_002"])
def test_who_speaks_over_the_echo_is_heard_soon(user):
    machine = recording("librivox_0870").samples
    voice = recording(user).samples
    speech_at = round(1.5 * SPEECH_RATE)
    level = np.sqrt(np.square(machine).mean() / np.square(voice).mean())
    alone = np.zeros(4 * SPEECH_RATE, np.float32)
    alone[speech_at : speech_at + len(voice)] = (voice * np.float32(level))[: len(alone) - speech_at]
    (_, alone_s), *_ = edges(np.zeros(0, np.float32), alone)
    (edge, at_s), *_ = edges(machine, alone + echo(machine, 0.3))
    assert edge is Edge.BEGAN
    assert alone_s <= at_s < alone_s + 0.5


def test_what_was_played_long_ago_is_no_echo():
    machine = recording("librivox_0880").samples
    late = np.concatenate((np.zeros(2 * len(machine), np.float32), machine))
    assert edges(machine, late)[0][0] is Edge.BEGAN


def test_without_anything_played_nothing_is_changed():
    speech = recording("cards_001").samples
    plain = VoiceDetector().feed(speech)
    assert WithoutEcho(VoiceDetector(), Played(lambda: 0.0)).feed(speech) == plain


def noise(seed: int, samples: int) -> Samples:
    return np.random.default_rng(seed).standard_normal(samples).astype(np.float32)


def test_agreement_is_of_the_likest_stretch_whatever_the_levels():
    played = noise(0, 3 * WINDOW)
    assert agreement(played[500 : 500 + WINDOW] * np.float32(-0.01), played) == pytest.approx(1.0, abs=1e-3)
    assert agreement(noise(1, WINDOW), played) < 0.15
    mixed = played[500 : 500 + WINDOW] + noise(1, WINDOW)
    assert agreement(mixed, played) == pytest.approx(0.7, abs=0.05)


def test_silence_steps_and_clicks_agree_with_nothing():
    step = np.zeros(3 * WINDOW, np.float32)
    step[WINDOW] = 1.0
    assert agreement(np.zeros(WINDOW, np.float32), step) == 0.0
    assert agreement(step[:WINDOW] + step[WINDOW : 2 * WINDOW], step) == 0.0


@pytest.mark.parametrize("chunk", [1, 7, 160, 960])
def test_it_does_not_matter_how_the_sound_is_cut(chunk):
    sound = noise(0, SPEECH_RATE // 10)
    whole, cut = (WithoutEcho(Loudness(), Played(lambda: 0.0)) for _ in range(2))
    whole.feed(sound)
    for start in range(0, len(sound), chunk):
        cut.feed(sound[start : start + chunk])
    assert cut._heard == pytest.approx(whole._heard, abs=1e-6)
    assert np.abs(whole._heard[-RATE // 20 :]).max() > 0.1
