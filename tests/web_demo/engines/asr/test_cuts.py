import itertools

import numpy as np
import pytest

from tests.web_demo.server.asr.helpers import go, speech
from web_demo.audio.vad import VoiceDetector
from web_demo.engines.asr.cuts import Cutter, cuts, join_texts

RATE = 16_000


def test_a_recording_that_fits_stays_whole():
    samples = go().samples
    assert list(cuts(samples, 30.0)) == [(0, len(samples))]


@pytest.mark.parametrize("seconds", [0, 5, 60])
def test_a_recording_without_speech_has_no_pieces(seconds):
    assert list(cuts(np.zeros(seconds * RATE, np.float32), 10.0)) == []


def test_of_a_recording_that_fits_no_more_is_looked_at_than_its_first_word(monkeypatch):
    looked_at, feed = [], VoiceDetector.feed
    monkeypatch.setattr(
        VoiceDetector, "feed", lambda self, samples: looked_at.append(len(samples)) or feed(self, samples)
    )
    samples = speech(times=6, gap_s=1.0).samples
    assert list(cuts(samples, len(samples) / RATE)) == [(0, len(samples))]
    assert sum(looked_at) < 2 * RATE


def test_sentences_share_a_piece_while_they_fit():
    pieces = list(cuts(speech(times=6, gap_s=1.0).samples, 10.0))
    assert len(pieces) == 3
    assert all(end - start <= 10 * RATE for start, end in pieces)
    assert all(before[1] <= after[0] for before, after in itertools.pairwise(pieces))


def test_endless_speech_is_cut_where_it_is_quietest():
    voice = go().samples[: 2 * RATE]
    voice = voice[np.abs(voice) > 0.005]  # without its pauses
    samples = np.tile(voice, 40 * RATE // len(voice))
    pieces = list(cuts(samples, 10.0))
    assert len(pieces) >= 4
    assert all(end - start <= 10 * RATE for start, end in pieces)
    assert all(before[1] <= after[0] for before, after in itertools.pairwise(pieces))
    assert sum(end - start for start, end in pieces) > 0.9 * len(samples)


def test_distant_sentences_do_not_share_a_piece():
    assert len(list(cuts(speech(times=4, gap_s=5.0).samples, 12.0))) == 4


@pytest.mark.parametrize("block", [512, 7_000, 80_000])
def test_blocks_of_any_size_give_the_same_pieces(block):
    samples = speech(times=6, gap_s=1.0).samples
    cutter = Cutter(10.0)
    found = [piece for at in range(0, len(samples), block) for piece in cutter.feed(samples[at : at + block])]
    found += cutter.end()
    assert [(piece.start, piece.start + len(piece.samples)) for piece in found] == list(cuts(samples, 10.0))
    assert all(
        np.abs(piece.samples - samples[piece.start : piece.start + len(piece.samples)]).max() < 1e-4 for piece in found
    )


def test_a_long_recording_is_cut_while_it_comes_and_little_of_it_is_kept():
    one = speech(times=1, gap_s=1.0).samples
    cutter = Cutter(10.0)
    first = next(number for number in range(100) if cutter.feed(one))
    assert first * len(one) < 15 * RATE
    for _ in range(60):
        cutter.feed(one)
        assert len(cutter._kept) < 15 * RATE


@pytest.mark.parametrize(
    ("texts", "joined"),
    [
        (("hello", "world"), "hello world"),
        (("你好", "世界"), "你好世界"),
        (("你好。", "世界"), "你好。世界"),
        (("안녕", "하세요"), "안녕 하세요"),
        (("", "one", "", "two"), "one two"),
        (("我用", "Python"), "我用 Python"),
    ],
)
def test_texts_are_joined_as_their_script_is_written(texts, joined):
    assert join_texts(texts) == joined
