"""Streams of tokens to sound: equal to one whole call, alone or together, within a bounded memory."""

import random

import numpy as np
import pytest
import torch

from web_demo.models.cosyvoice3.engine.token2wav import StreamSettings, Token2Wav, powers_of_two
from web_demo.models.cosyvoice3.load import load_flow
from web_demo.models.cosyvoice3.voices import Voice

pytestmark = pytest.mark.models

EXACT = 2e-5  # mel; the sums of attention run in another order


def codes(seed, count):
    return np.random.default_rng(seed).integers(0, 6561, count).tolist()


def a_voice(seed, prompt=0):
    generator = torch.Generator().manual_seed(seed)
    return Voice(
        torch.randn(1, 192, generator=generator),
        tuple(codes(seed + 100, prompt)),
        torch.randn(2 * prompt, 80, generator=generator) * 0.5 - 3,
    )


def made(flow, vocoder, **settings):
    return Token2Wav(flow, vocoder, StreamSettings(**{"slots": 4, "context_s": 20.0, "batches": (1, 2, 4), **settings}))


def speak(token2wav, voice, tokens, cuts):
    """Feed the tokens cut at random; sound of the whole stream, and its chunks' lengths in frames."""
    stream = token2wav.open(voice)
    sound, given = [], 0
    while given < len(tokens):
        more = next(cuts)
        stream.feed(tokens[given : given + more], last=given + more >= len(tokens))
        given += more
        sound += [samples for _, samples in token2wav.run([stream])]
    token2wav.close(stream)
    return np.concatenate(sound), [len(samples) // 480 for samples in sound]


def whole(flow, vocoder, voice, tokens):
    mel = flow.whole(
        torch.tensor([tokens]),
        voice.embedding,
        prompt_tokens=torch.tensor([voice.prompt_tokens], dtype=torch.int64),
        prompt_mel=voice.prompt_mel[None],
        chunk_mask=True,
    )
    return vocoder.whole(mel)[0].numpy()


def at_random(seed):
    chance = random.Random(seed)
    while True:
        yield chance.choice([5, 25, 28, 60, 150])


def constant(size):
    return iter(lambda: size, None)


@pytest.mark.parametrize("prompt", [0, 25, 37, 130])
def test_a_stream_equals_one_whole_call_however_it_is_cut(flow, vocoder, prompt):
    voice, tokens = a_voice(1, prompt), codes(2, 190)
    expected = whole(flow, vocoder, voice, tokens)
    token2wav = made(flow, vocoder)
    for seed in range(3):
        sound, _ = speak(token2wav, voice, tokens, at_random(seed))
        assert len(sound) == len(expected)
        # The sine phase is a running sum of the pitch, which mel noise of 1e-6 moves a little.
        assert np.abs(sound - expected).mean() < 1e-4
        assert np.abs(sound - expected).max() < 1e-2


def test_the_mel_itself_is_equal(flow, vocoder, monkeypatch):
    """Tight: what the flow's state gives, before the phase makes differences large."""
    voice, tokens = a_voice(3, 37), codes(4, 163)
    token2wav = made(flow, vocoder)
    parts = []
    advance = token2wav.pool.advance

    def record(chunk, context):
        mel = advance(chunk, context)
        parts.append(mel[0, : int(chunk.frames[0])].clone())
        return mel

    monkeypatch.setattr(token2wav.pool, "advance", record)
    speak(token2wav, voice, tokens, constant(28))
    streamed = torch.cat(parts)[74:]
    mel = flow.whole(
        torch.tensor([tokens]),
        voice.embedding,
        prompt_tokens=torch.tensor([voice.prompt_tokens]),
        prompt_mel=voice.prompt_mel[None],
        chunk_mask=True,
    )
    torch.testing.assert_close(streamed, mel[0].T, rtol=0, atol=EXACT)


def test_streams_side_by_side_sound_as_they_do_alone(flow, vocoder):
    voices = [a_voice(5), a_voice(6, 37), a_voice(7, 60)]
    tokens = [codes(8, 90), codes(9, 140), codes(10, 31)]
    token2wav = made(flow, vocoder)
    alone = [speak(token2wav, v, t, constant(28))[0] for v, t in zip(voices, tokens, strict=True)]
    streams = [token2wav.open(voice) for voice in voices]
    together = {stream: [] for stream in streams}
    for begin in range(0, 140, 28):
        for stream, given in zip(streams, tokens, strict=True):
            if not stream.cursor.ended:
                stream.feed(given[begin : begin + 28], last=begin + 28 >= len(given))
        for stream, samples in token2wav.run(streams):
            together[stream].append(samples)
    for stream, expected in zip(streams, alone, strict=True):
        sound = np.concatenate(together[stream])
        assert len(sound) == len(expected)
        assert np.abs(sound - expected).mean() < 1e-4


def test_a_slot_used_again_remembers_nothing(flow, vocoder):
    token2wav = made(flow, vocoder, slots=1)
    first, _ = speak(token2wav, a_voice(11), codes(12, 80), constant(28))
    speak(token2wav, a_voice(13, 40), codes(14, 120), constant(28))
    again, _ = speak(token2wav, a_voice(11), codes(12, 80), constant(28))
    np.testing.assert_array_equal(first, again)


def test_within_its_context_a_bounded_stream_is_exact_and_beyond_it_goes_on(flow, vocoder):
    voice, tokens = a_voice(15), codes(16, 300)
    exact, _ = speak(made(flow, vocoder, context_s=20.0), voice, tokens, constant(28))
    bounded, _ = speak(made(flow, vocoder, context_s=4.0), voice, tokens, constant(28))
    assert len(bounded) == len(exact)
    # Block 5 is the first that no longer sees block 0: until there, less what the vocoder looks ahead, all is equal.
    same = (5 * 50 - 8) * 480
    assert np.abs(bounded - exact)[:same].mean() < 1e-4
    assert np.abs(bounded - exact)[same:].max() > 1e-3
    assert np.isfinite(bounded).all()


def test_what_a_bounded_stream_says_does_not_depend_on_how_it_is_cut(flow, vocoder):
    voice, tokens = a_voice(17, 37), codes(18, 300)
    token2wav = made(flow, vocoder, context_s=2.0)
    small, _ = speak(token2wav, voice, tokens, constant(28))
    large, _ = speak(token2wav, voice, tokens, constant(300))
    assert np.abs(small - large).mean() < 1e-4


def test_memory_does_not_grow_with_the_stream(flow, vocoder):
    token2wav = made(flow, vocoder, context_s=2.0)
    before = token2wav.bytes_per_slot
    speak(token2wav, a_voice(19), codes(20, 400), constant(100))
    assert token2wav.bytes_per_slot == before
    assert token2wav.pool.key_values.shape[3] == 100


def test_a_small_first_piece_comes_early_and_costs_a_little_exactness(flow, vocoder):
    voice, tokens = a_voice(21), codes(22, 100)
    exact, _ = speak(made(flow, vocoder), voice, tokens, constant(5))
    early, chunks = speak(made(flow, vocoder, first_tokens=10), voice, tokens, constant(5))
    assert chunks[0] == 2 * 12 - 8  # 15 tokens given: 12 spoken, 8 frames held back
    assert len(early) == len(exact)
    difference = np.abs(early - exact)
    assert difference[: 24 * 480].max() > 1e-3
    # The seam is no click: no step between samples larger than those of the exact sound.
    seam = slice((chunks[0] - 1) * 480, (chunks[0] + 1) * 480)
    assert np.abs(np.diff(early[seam])).max() <= 1.5 * np.abs(np.diff(exact)).max()


def test_no_step_at_a_seam_is_larger_than_elsewhere(flow, vocoder):
    sound, chunks = speak(made(flow, vocoder), a_voice(23), codes(24, 200), constant(28))
    steps = np.abs(np.diff(sound))
    seams = np.cumsum(chunks[:-1]) * 480 - 1
    assert len(seams) > 3
    assert steps[seams].max() <= np.quantile(steps, 0.999)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_flow_of_half_precision_stays_near(flow, vocoder, model_dir, dtype):
    voice, tokens = a_voice(25, 37), codes(26, 120)
    half = load_flow(model_dir, dtype=dtype)
    sound, _ = speak(made(half, vocoder), voice, tokens, constant(28))
    assert np.isfinite(sound).all()
    options = {
        "prompt_tokens": torch.tensor([voice.prompt_tokens]),
        "prompt_mel": voice.prompt_mel[None],
        "chunk_mask": True,
    }
    exact = flow.whole(torch.tensor([tokens]), voice.embedding, **options)
    near = half.whole(torch.tensor([tokens]), voice.embedding, **options)
    assert near.dtype == torch.float32  # the state is never rounded, only what the estimator sees
    assert float((near - exact).abs().mean()) < 0.02


def test_more_streams_than_slots_are_refused(flow, vocoder):
    token2wav = made(flow, vocoder, slots=1)
    token2wav.open(a_voice(1))
    with pytest.raises(RuntimeError, match="all 1 streams"):
        token2wav.open(a_voice(1))


def test_sizes_to_pad_to():
    assert powers_of_two(1) == (1,)
    assert powers_of_two(6) == (1, 2, 4, 6)
    assert powers_of_two(8) == (1, 2, 4, 8)
