"""Speaker files, recordings, and what the LM is told in each mode."""

import numpy as np
import pytest
import torch

from web_demo.audio.samples import Audio, from_wav
from web_demo.errors import InvalidRequest, NotFound, SetupError
from web_demo.models.cosyvoice3.config import load_config
from web_demo.models.cosyvoice3.features import resample
from web_demo.models.cosyvoice3.frontend import Frontend
from web_demo.models.cosyvoice3.voices import DEFAULT_VOICE, Voice, VoiceStore, load_voices

pytestmark = pytest.mark.models


@pytest.fixture(scope="module")
def frontend(model_dir):
    return Frontend(model_dir, load_config(model_dir))


@pytest.fixture(scope="module")
def recording(golden):
    return from_wav((golden / "cases" / "prompt_24k.wav").read_bytes())


def test_a_saved_voice_is_read_back_whole(frontend, recording, tmp_path):
    store = VoiceStore({"plain": Voice(torch.ones(1, 192))})
    store.add("cloned", frontend.voice(recording, "good morning to you"))
    store.save(tmp_path / "spk2info.pt")
    read = load_voices(tmp_path / "spk2info.pt")
    assert read.names == ("plain", "cloned")
    before, after = store.get("cloned"), read.get("cloned")
    assert (before.prompt_tokens, before.prompt_text) == (after.prompt_tokens, after.prompt_text)
    torch.testing.assert_close(before.prompt_mel, after.prompt_mel)
    assert not read.get("plain").cloned


def test_the_default_voice_is_the_one_of_that_name_else_the_first():
    first, chinese = Voice(torch.zeros(1, 192)), Voice(torch.ones(1, 192))
    assert VoiceStore({"a": first, DEFAULT_VOICE: chinese}).get("") is chinese
    assert VoiceStore({"a": first}).get("") is first


def test_an_unknown_voice_lists_the_known_ones():
    with pytest.raises(NotFound, match="there are: alice, bob"):
        VoiceStore({"alice": Voice(torch.zeros(1, 192)), "bob": Voice(torch.zeros(1, 192))}).get("eve")
    with pytest.raises(NotFound, match="no speaker file"):
        VoiceStore().get("")


def test_a_speaker_file_with_other_things_than_tensors_is_refused(tmp_path):
    torch.save({"voice": {"embedding": object}}, tmp_path / "spk2info.pt")
    with pytest.raises(SetupError, match=r"spk2info\.pt"):
        load_voices(tmp_path / "spk2info.pt")


def test_prompt_tokens_and_mel_end_together(frontend, recording):
    for cut in (0, 100, 479, 961):
        voice = frontend.voice(Audio(recording.samples[: len(recording.samples) - cut], recording.rate))
        assert len(voice.prompt_mel) == 2 * len(voice.prompt_tokens)
        assert voice.prompt_text == ()


def test_recordings_too_short_or_too_long_are_refused(frontend):
    for seconds in (0.1, 31.0):
        with pytest.raises(InvalidRequest, match=f"{seconds} s"):
            frontend.voice(Audio(np.zeros(round(seconds * 16_000), np.float32), 16_000))


def test_each_mode_tells_the_lm_what_the_reference_tells_it(frontend, recording):
    known, unknown = frontend.voice(recording, "good morning"), frontend.voice(recording)
    text = frontend.text_ids("hello")
    zero_shot = frontend.lm_input("hello", known)
    assert (zero_shot.text, zero_shot.prompt_speech) == (text, known.prompt_tokens)
    assert zero_shot.prompt_text == frontend.text_ids("You are a helpful assistant.<|endofprompt|>good morning")
    cross_lingual = frontend.lm_input("hello", unknown)
    assert cross_lingual.text == frontend.text_ids("You are a helpful assistant.<|endofprompt|>hello")
    assert (cross_lingual.prompt_text, cross_lingual.prompt_speech) == ((), ())
    instruct = frontend.lm_input("hello", known, "speak slowly")
    assert instruct.prompt_text == frontend.text_ids("You are a helpful assistant. speak slowly<|endofprompt|>")
    assert (instruct.text, instruct.prompt_speech) == (text, ())


def test_resampling_keeps_a_tone_and_its_length():
    time = np.arange(44_100) / 44_100
    tone = Audio(np.sin(2 * np.pi * 440 * time).astype(np.float32), 44_100)
    lower = resample(tone, 16_000)
    assert len(lower.samples) == 16_000
    expected = np.sin(2 * np.pi * 440 * np.arange(16_000) / 16_000)
    assert np.abs(lower.samples - expected)[200:-200].max() < 1e-3
