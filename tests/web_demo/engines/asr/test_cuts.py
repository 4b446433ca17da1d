import itertools

import numpy as np
import pytest

from tests.web_demo.server.asr.helpers import go, speech
from web_demo.engines.asr.cuts import cuts, join, join_texts, split

RATE = 16_000


def test_a_recording_that_fits_stays_whole():
    samples = go().samples
    assert list(cuts(samples, 30.0)) == [(0, len(samples))]


def test_a_recording_without_speech_has_no_pieces():
    assert list(cuts(np.zeros(60 * RATE, np.float32), 10.0)) == []


def test_sentences_share_a_piece_while_they_fit():
    pieces = list(cuts(speech(times=6, gap_s=1.0).samples, 10.0))
    assert len(pieces) == 3
    assert all(end - start <= 10 * RATE for start, end in pieces)
    assert all(before[1] <= after[0] for before, after in itertools.pairwise(pieces))


def test_endless_speech_is_cut_where_it_is_quietest():
    samples = np.ones(30 * RATE, np.float32)
    samples[9 * RATE : 9 * RATE + RATE // 5] = 0.0
    pieces = list(split(samples, (0, len(samples)), 10 * RATE))
    assert 9 * RATE <= pieces[0][1] <= 9 * RATE + RATE // 5
    assert pieces[0][0] == 0
    assert pieces[-1][1] == len(samples)
    assert all(a[1] == b[0] for a, b in itertools.pairwise(pieces))
    assert all(end - start <= 10 * RATE for start, end in pieces)


def test_distant_sentences_do_not_share_a_piece():
    spans = [(0, RATE), (RATE * 2, RATE * 3), (RATE * 7, RATE * 8)]
    assert list(join(iter(spans), 30 * RATE)) == [(0, RATE * 3), (RATE * 7, RATE * 8)]


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
