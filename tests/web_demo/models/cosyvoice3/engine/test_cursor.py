"""Which pieces of a token stream are computed, without any tensor."""

import random

import pytest

from web_demo.models.cosyvoice3.engine.cursor import Cursor, Rules

RULES = Rules(block=25, lookahead=3, ratio=2, first=25, longest=100, delay=7)


def pieces(cursor):
    while (piece := cursor.ready()) is not None:
        cursor.take(piece)
        yield piece


def test_nothing_is_ready_before_a_block_and_its_look_ahead():
    cursor = Cursor(RULES)
    cursor.feed(range(27))
    assert cursor.ready() is None
    cursor.feed([0])
    assert (cursor.ready().start, cursor.ready().end) == (0, 25)


def test_a_short_first_piece_is_computed_again_with_its_block():
    cursor = Cursor(Rules(block=25, lookahead=3, ratio=2, first=10, longest=100, delay=7))
    cursor.feed(range(13))
    first = cursor.ready()
    assert (first.start, first.end, first.keep, first.fresh) == (0, 10, 0, 20)
    cursor.take(first)
    cursor.feed(range(10))
    assert cursor.ready() is None  # only the first piece may end inside a block
    cursor.feed(range(5))
    second = cursor.ready()
    assert (second.start, second.end, second.keep, second.offset, second.fresh) == (0, 25, 25, 10, 30)


def test_a_long_prompt_is_read_in_pieces_without_sound():
    cursor = Cursor(RULES, prompt=range(260))
    cursor.feed(range(20))
    read = list(pieces(cursor))
    assert [(piece.start, piece.end) for piece in read] == [(0, 100), (100, 200), (200, 275)]
    assert [piece.fresh for piece in read] == [0, 0, 30]
    assert read[-1].offset == 260


def test_frames_and_samples_add_up_however_the_tokens_come():
    for seed in range(200):
        chance = random.Random(seed)
        cursor = Cursor(RULES, prompt=range(chance.choice([0, 1, 25, 37, 99, 230])))
        count = chance.randint(1, 320)
        given, taken = 0, []
        while given < count:
            more = min(chance.choice([1, 5, 28, 60, 200]), count - given)
            given += more
            cursor.feed([0] * more, last=given == count)
            taken += pieces(cursor)
        assert cursor.closed
        assert sum(piece.fresh for piece in taken) == 2 * count
        assert sum(piece.frames for piece in taken) == 2 * count
        assert all(0 <= piece.carried <= RULES.delay for piece in taken)
        assert all(piece.end - piece.start <= RULES.longest for piece in taken)
        assert all(piece.frames <= piece.carried + piece.fresh for piece in taken)


def test_an_empty_stream_ends_without_a_piece():
    cursor = Cursor(RULES, prompt=range(10))
    cursor.feed([], last=True)
    assert cursor.ready() is None


def test_tokens_after_the_last_ones_are_refused():
    cursor = Cursor(RULES)
    cursor.feed([1], last=True)
    with pytest.raises(ValueError, match="already given"):
        cursor.feed([2])


def test_a_stream_has_a_longest_length():
    cursor = Cursor(RULES, prompt=range(7000))
    assert cursor.room == 500
    with pytest.raises(ValueError, match="1 more"):
        cursor.feed(range(501))


@pytest.mark.parametrize(("first", "longest"), [(0, 100), (26, 100), (25, 25), (25, 110)])
def test_impossible_rules_are_refused(first, longest):
    with pytest.raises(ValueError):
        Rules(block=25, lookahead=3, ratio=2, first=first, longest=longest, delay=7)
