"""Codes to windows."""

import random

import pytest

from web_demo.server.conversation.chunker import Chunker


def test_the_first_window_is_small_and_the_last_size_repeats():
    windows = list(Chunker((5, 10, 25)).push(range(80)))
    assert [len(window) for window in windows] == [5, 10, 25, 25]


def test_a_window_comes_out_with_the_code_that_completes_it():
    chunker = Chunker((5, 25))
    assert list(chunker.push(range(4))) == []
    assert list(chunker.push([4])) == [(0, 1, 2, 3, 4)]


def test_flush_gives_what_is_left_once():
    chunker = Chunker((5,))
    list(chunker.push(range(7)))
    assert chunker.flush() == (5, 6)
    assert chunker.flush() == ()


def test_flush_of_nothing_is_nothing():
    assert Chunker((5,)).flush() == ()


@pytest.mark.parametrize("seed", range(10))
def test_however_the_codes_arrive_the_windows_are_the_same(seed):
    choice = random.Random(seed)
    codes = [choice.randrange(6561) for _ in range(choice.randrange(500))]
    whole, pieces = Chunker((5, 25)), Chunker((5, 25))
    expected = [*whole.push(codes), whole.flush()]
    windows, position = [], 0
    while position < len(codes):
        size = choice.randrange(1, 12)
        windows += pieces.push(codes[position : position + size])
        position += size
    windows.append(pieces.flush())
    assert windows == expected
    assert [code for window in windows for code in window] == codes


@pytest.mark.parametrize("hops", [(), (0,), (5, -1)])
def test_sizes_that_make_no_windows_are_refused(hops):
    with pytest.raises(ValueError, match="hop_tokens must be positive"):
        Chunker(hops)
