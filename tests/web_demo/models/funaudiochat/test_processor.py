from __future__ import annotations

import numpy as np
import pytest

from web_demo.models.funaudiochat.processor import AudioInput, Processor, rounded_up_codes, truncated_codes

pytestmark = pytest.mark.models


def noise(samples: int) -> np.ndarray:
    return (np.random.default_rng(samples).standard_normal(samples) * 0.1).astype(np.float32)


def test_codes_of_an_array_are_truncated_in_binary64() -> None:
    assert truncated_codes(18_560, 16_000) == 28  # 1.16 s * 25 is 28.999999999999996
    assert rounded_up_codes(18_560, 16_000) == 29
    assert rounded_up_codes(18_561, 16_000) == 30


@pytest.mark.parametrize("samples", [1, 100, 160, 161, 16_000, 16_037, 479_600, 479_999, 480_000, 500_000])
def test_features_equal_those_of_the_whole_padded_window(processor: Processor, samples: int) -> None:
    sound = noise(samples)
    whole = processor.extractor(
        sound, sampling_rate=16_000, padding="max_length", return_attention_mask=True, return_tensors="np"
    )
    frames = int(whole["attention_mask"][0].sum())
    ours = processor.features(sound).numpy()
    assert ours.shape == (128, frames)
    np.testing.assert_allclose(ours, whole["input_features"][0][:, :frames], atol=1e-5)


def test_bos_and_eos_are_added_only_where_both_are_missing(processor: Processor) -> None:
    audio = processor.audio(AudioInput(None, 7))
    slots = processor.audio_token * 2
    bos, eos = processor.audio_bos_token, processor.audio_eos_token
    assert processor.expand(f"a{processor.audio_token}b", [audio]) == f"a{bos}{slots}{eos}b"
    assert processor.expand(f"a{processor.audio_template}b", [audio]) == f"a{bos}{slots}{eos}b"
    assert processor.expand(f"a{bos}{processor.audio_token}b", [audio]) == f"a{bos}{slots}b"


def test_another_number_of_audios_than_places_is_refused(processor: Processor) -> None:
    with pytest.raises(ValueError, match=r"has 1 .* 0 audios"):
        processor.prompt(processor.audio_template)


def test_an_audio_without_a_code_is_refused_and_does_not_vanish(processor: Processor) -> None:
    with pytest.raises(ValueError, match="too short"):
        processor.audio(AudioInput(noise(600), truncated_codes(600, 16_000)))


def test_audios_that_differ_in_one_sample_have_different_keys(processor: Processor) -> None:
    sound = noise(16_000)
    other = sound.copy()
    other[5_000] += 0.5
    keys = [processor.audio(AudioInput(one, 25)).key for one in (sound, other, sound)]
    assert keys[0] == keys[2] != keys[1]
