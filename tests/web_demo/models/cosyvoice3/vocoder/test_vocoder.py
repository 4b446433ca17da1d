"""The vocoder in chunks, side by side, and its bounded state."""

import random

import pytest
import torch

from web_demo.models.cosyvoice3.vocoder.vocoder import Advance

pytestmark = pytest.mark.models


@pytest.fixture(scope="module")
def mel(vocoder):
    return torch.randn(1, 80, 90, generator=torch.Generator().manual_seed(2))


def in_chunks(vocoder, mel, sizes, spare=0):
    """The mel given a few frames at a time; `spare` frames of padding in each call."""
    state, out, known, total = vocoder.new_state(1), [], 0, mel.shape[2]
    done = 0
    while known < total:
        known = min(total, known + next(sizes))
        last = known == total
        frames = known - done if last else max(0, known - done - vocoder.lookahead_frames)
        room = max(1, frames + spare) + vocoder.mel_frames
        window = torch.zeros(1, 80, room)
        seen = min(known - done, room)
        window[:, :, :seen] = mel[:, :, done : done + seen]
        with torch.inference_mode():
            samples, state = vocoder(window, state, Advance(torch.tensor([frames]), torch.tensor([last])))
        begin, end = vocoder.sample_range(done, frames, last)
        out.append(samples[:, begin:end])
        done += frames
    return torch.cat(out, dim=1)


@pytest.mark.parametrize("seed", range(4))
def test_chunks_of_any_size_give_the_whole_call_s_samples(vocoder, mel, seed):
    chance = random.Random(seed)
    sizes = iter(lambda: chance.choice([1, 2, 6, 9, 20, 50]), None)
    whole = vocoder.whole(mel)
    assert whole.shape == (1, 90 * 480)
    torch.testing.assert_close(in_chunks(vocoder, mel, sizes, spare=seed), whole, rtol=0, atol=5e-6)


def test_a_chunk_without_its_state_would_click(vocoder, mel):
    """What the state is for: the second half alone differs from the same half of the stream."""
    whole = vocoder.whole(mel)
    alone = vocoder.whole(mel[:, :, 45:])
    assert float((alone - whole[:, 45 * 480 :])[:, :480].abs().max()) > 1e-3


def test_rows_of_a_batch_do_not_touch_each_other(vocoder, mel):
    other = torch.randn(1, 80, 40, generator=torch.Generator().manual_seed(3))
    batch = torch.zeros(2, 80, 90 + vocoder.mel_frames)
    batch[0, :, :90], batch[1, :, :40] = mel[0], other[0]
    with torch.inference_mode():
        samples, _ = vocoder(batch, vocoder.new_state(2), Advance(torch.tensor([90, 40]), torch.tensor([True, True])))
    torch.testing.assert_close(samples[:1, 480:], vocoder.whole(mel), rtol=0, atol=5e-6)
    torch.testing.assert_close(samples[1:, 480 : 480 + 40 * 480], vocoder.whole(other), rtol=0, atol=5e-6)


def test_samples_stay_within_the_limit(vocoder, mel):
    assert float(vocoder.whole(mel * 50).abs().max()) == pytest.approx(vocoder.config.audio_limit)
