"""Speech to tokens, against the reference's tokens of a recording."""

import numpy as np
import pytest
from safetensors.numpy import load_file

from tests.web_demo.models.cosyvoice3.golden import DATA
from web_demo.audio.samples import Audio, from_wav
from web_demo.audio.speech_tokens import SpeechTokenizer, log_mel, mel_filters

pytestmark = pytest.mark.models


@pytest.fixture(scope="module")
def tokenizer():
    return SpeechTokenizer(DATA / "model")


def test_the_reference_s_tokens_of_a_recording(tokenizer):
    from web_demo.models.cosyvoice3.features import resample

    recording = from_wav((DATA / "cases" / "prompt_24k.wav").read_bytes())
    expected = load_file(DATA / "cases" / "frontend.safetensors")["llm_prompt_speech_token"][0]
    assert tokenizer.encode(resample(recording, 16_000)) == tuple(expected.tolist())


def test_long_sound_is_cut_into_pieces_of_thirty_seconds(tokenizer):
    noise = np.random.default_rng(0).normal(0, 0.1, 31 * 16_000).astype(np.float32)
    tokens = tokenizer.encode(Audio(noise, 16_000))
    assert len(tokens) == 31 * 25
    assert tokens[: 30 * 25] == tokenizer.encode(Audio(noise[: 30 * 16_000], 16_000))


def test_sound_shorter_than_a_token_gives_none(tokenizer):
    assert tokenizer.encode(Audio(np.zeros(639, np.float32), 16_000)) == ()
    assert tokenizer.encode(Audio(np.zeros(0, np.float32), 16_000)) == ()


def test_another_rate_is_refused(tokenizer):
    with pytest.raises(ValueError, match="24000"):
        tokenizer.encode(Audio(np.zeros(1000, np.float32), 24_000))


def test_a_missing_model_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="speech_tokenizer_v3"):
        SpeechTokenizer(tmp_path)


def test_features_have_a_hundred_frames_a_second_and_whisper_s_range():
    features = log_mel(np.random.default_rng(1).normal(0, 0.1, 16_000).astype(np.float32))
    assert features.shape == (128, 100)
    assert float(features.max() - features.min()) <= 2.0


def test_filters_are_triangles_that_cover_the_band_without_holes():
    filters = mel_filters(16_000, 400, 128, 0.0, 8_000.0)
    assert filters.shape == (128, 201)
    assert (filters >= 0).all()
    assert (filters[:, 1:-1].sum(0) > 0).all()
