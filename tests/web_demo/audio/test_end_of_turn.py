"""The model that hears whether somebody has finished: its features, its file, and people whom it hears."""

import sys
from pathlib import Path

import numpy as np
import pytest

from tests.speech import recording
from web_demo.audio.end_of_turn import CONTEXT_SAMPLES, SmartTurn, find, installed, log_mel
from web_demo.audio.samples import SPEECH_RATE, Samples
from web_demo.errors import SetupError

needs_model = pytest.mark.skipif(installed() is None, reason="the package pipecat-ai is not installed")


def said(name: str, until_s: float | None = None) -> Samples:
    """With the quarter of a second of silence that the model is asked after."""
    samples = recording(name).samples
    spoken = samples if until_s is None else samples[: round(until_s * SPEECH_RATE)]
    return np.concatenate((spoken, np.zeros(SPEECH_RATE // 4, np.float32)))


def test_a_tone_is_in_its_place_of_the_spectrogram():
    tone = np.sin(2 * np.pi * 1000 * np.arange(CONTEXT_SAMPLES) / SPEECH_RATE).astype(np.float32)
    features = log_mel(tone)
    assert features.shape == (80, 800)
    assert features.dtype == np.float32
    assert set(features.argmax(axis=0)[2:-2]) == {26}  # 15 of 45.25 mel at 1 kHz, of 80 filters
    assert features.max() - features.min() == pytest.approx(2.0, abs=1e-3)  # eight decades, in quarters


def test_what_is_short_has_zeros_in_front_and_of_what_is_long_only_the_end_counts():
    sound = np.random.default_rng(0).standard_normal(3 * CONTEXT_SAMPLES).astype(np.float32)
    assert np.array_equal(log_mel(sound), log_mel(sound[-CONTEXT_SAMPLES:]))
    short = sound[: SPEECH_RATE * 2]
    padded = np.concatenate((np.zeros(CONTEXT_SAMPLES - len(short), np.float32), short))
    assert np.array_equal(log_mel(short), log_mel(padded))
    assert log_mel(short)[:, :590].max() < log_mel(short)[:, 610:].min()


def test_loudness_is_no_matter():
    sound = said("go_forward_ten_meters")
    assert log_mel(sound * 0.1) == pytest.approx(log_mel(sound), abs=0.02)
    assert np.isfinite(log_mel(np.zeros(100, np.float32))).all()


@needs_model
@pytest.mark.parametrize(
    ("name", "until_s", "finished"),
    [
        ("go_forward_ten_meters", None, True),
        ("cards_005", None, True),
        ("librivox_0870", None, True),
        ("librivox_0870", 1.58, False),  # and mister john dashwood …
        ("librivox_0880", 1.48, False),  # he was not an ill …
        ("librivox_0880", None, False),  # a comma follows in the book, and is heard
        ("librivox_0930", 1.70, False),  # he might even have been made …
    ],
)
def test_people_are_heard_to_have_finished_or_not(model, name, until_s, finished):
    probability = model.probability(said(name, until_s))
    assert 0 <= probability <= 1
    assert (probability > 0.9) if finished else (probability < 0.5)


@pytest.fixture(scope="module")
def model() -> SmartTurn:
    found = find()
    assert found is not None
    return found


@needs_model
def test_the_package_of_the_model_is_not_imported(model):
    assert "pipecat" not in sys.modules


def test_a_model_may_be_left_out_or_be_a_file_that_is_one(tmp_path: Path):
    assert find("none") is None
    with pytest.raises(SetupError, match="there is no file"):
        find(str(tmp_path / "missing.onnx"))
    (tmp_path / "other.onnx").write_bytes(b"no model")
    with pytest.raises(SetupError, match="is not the model"):
        find(str(tmp_path / "other.onnx"))
