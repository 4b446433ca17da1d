from __future__ import annotations

import random
import unicodedata

import pytest

from utils.sentences import SentenceSplitter, split_sentences


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("Hello there. How are you?", ["Hello there.", "How are you?"]),
        ("你好。今天天气怎么样？很好！", ["你好。", "今天天气怎么样？", "很好！"]),
        ("他说：“你好。”然后走了。", ["他说：“你好。”", "然后走了。"]),
        ("等等……好吧。", ["等等……", "好吧。"]),
        ("真的？！是的。", ["真的？！", "是的。"]),
        ("OK.你好", ["OK.", "你好"]),
        ("版本3.5发布了。价格是12.50元。", ["版本3.5发布了。", "价格是12.50元。"]),
        ("Pi is 3.14159 or so. It costs $1,000.50 today.", ["Pi is 3.14159 or so.", "It costs $1,000.50 today."]),
        (
            "Dr. Smith met Mrs. Jones at 5 p.m. in St. Louis. They talked.",
            ["Dr. Smith met Mrs. Jones at 5 p.m. in St. Louis.", "They talked."],
        ),
        ("J. R. R. Tolkien wrote it. I read it.", ["J. R. R. Tolkien wrote it.", "I read it."]),
        ("See e.g. Figure 2, i.e. the next one.", ["See e.g. Figure 2, i.e. the next one."]),
        ("It is No. 5. No. I mean it.", ["It is No. 5.", "No.", "I mean it."]),
        ("He works at Acme Inc. She does too.", ["He works at Acme Inc.", "She does too."]),
        ('"Stop!" he said. "Why?" she asked.', ['"Stop!" he said.', '"Why?" she asked.']),
        ("Well... maybe. Hmm... Yes.", ["Well... maybe.", "Hmm...", "Yes."]),
        ("Visit example.com or a.b.c/d?e=f now. Thanks.", ["Visit example.com or a.b.c/d?e=f now.", "Thanks."]),
        ("1. First\n2. Second\n", ["1. First", "2. Second"]),
        ("A title\n\nAnd its text.", ["A title", "And its text."]),
        ("  \n \n", []),
        ("no end at all", ["no end at all"]),
        ("नमस्ते। आप कैसे हैं?", ["नमस्ते।", "आप कैसे हैं?"]),
        ("We met at 10 a.m. It was cold.", ["We met at 10 a.m.", "It was cold."]),
        ("Be there at 10 a.m. Monday or 5 p.m. EST.", ["Be there at 10 a.m. Monday or 5 p.m. EST."]),
        ("He lives on Main St. It is quiet.", ["He lives on Main St.", "It is quiet."]),
        ("Acme Inc. CEO John spoke. Then Acme Inc. left.", ["Acme Inc. CEO John spoke.", "Then Acme Inc. left."]),
        ("He lives in the U.S. He likes the U.S. Army.", ["He lives in the U.S.", "He likes the U.S. Army."]),
        ("U.S.的经济很大。Inc.公司。", ["U.S.的经济很大。", "Inc.公司。"]),
        ("1.第一条。２．第二条。", ["1.第一条。", "２．第二条。"]),
        (
            "圆周率约等于３．１４１５９，价格是３．５元。句子．下一句",
            ["圆周率约等于３．１４１５９，价格是３．５元。", "句子．", "下一句"],
        ),
        ("会议在１２：３０开始。好。", ["会议在１２：３０开始。", "好。"]),
        ("It was plan B. Then we left.", ["It was plan B.", "Then we left."]),
        ("A. Take it. B. Leave it.", ["A. Take it.", "B. Leave it."]),
        ("Dr. A. Smith and J. A. Jones", ["Dr. A. Smith and J. A. Jones"]),
        ("Wait . . . what? Yes.", ["Wait . . . what?", "Yes."]),
        ("Am 3. Oktober war es kalt. Z. B. gestern.", ["Am 3. Oktober war es kalt.", "Z. B. gestern."]),
        ("It was in Dec. The cold came in Jan. 2020.", ["It was in Dec.", "The cold came in Jan. 2020."]),
        (
            "It was I. He left. She has a Ph.D. She is clever.",
            ["It was I.", "He left.", "She has a Ph.D.", "She is clever."],
        ),
        ("« Bonjour. » Il part. « Oui ! »", ["« Bonjour. »", "Il part.", "« Oui ! »"]),
        ("Er ging. »Ja«, rief er.", ["Er ging.", "»Ja«, rief er."]),
        ("¿Qué? ¡Sí! Vale.", ["¿Qué?", "¡Sí!", "Vale."]),
        ("‘Is it “No.”?’ Then he left (at 5 p.m.). Why?!", ["‘Is it “No.”?’", "Then he left (at 5 p.m.).", "Why?!"]),
        ("ကောင်းပါတယ်။နောက်", ["ကောင်းပါတယ်။", "နောက်"]),
    ],
)
def test_sentences_end_where_a_reader_ends_them(text: str, sentences: list[str]) -> None:
    assert split_sentences(text) == sentences


MIXED = (
    'Dr. Lee paid $3.50. "Really?" she said... Then: 你好，世界！“真的吗？”他问。OK.好 '
    "1. item\n2. Another one, which is long enough, in all honesty, to be cut somewhere by a small limit. e.g. this 1,234.5 "
    "这是一个没有任何停顿的非常非常非常非常非常非常非常非常非常长的句子但是它最后还是结束了。End"
)


ABBREVIATED = (
    "At 10 a.m. It rained. On Main St. Louis met J. A. Smith of Acme Inc. They spoke. Plan B. Then the U.S. Army . . . left. "
    "« Oui. » Il dit. Am 3. Oktober. Am 4. Dann. See No. 5. ３．５元．好。1.第一"
)


@pytest.mark.parametrize("text", [MIXED, ABBREVIATED])
@pytest.mark.parametrize("limit", [300, 40, 7])
def test_the_cutting_of_the_stream_never_changes_the_sentences(limit: int, text: str) -> None:
    whole = split_sentences(text, limit)
    chance = random.Random(7)
    for _ in range(200):
        splitter, got, position = SentenceSplitter(limit), [], 0
        while position < len(text):
            step = chance.randint(1, 9)
            got += splitter.push(text[position : position + step])
            position += step
        assert got + splitter.flush() == whole


def test_a_sentence_comes_out_with_the_first_character_after_it() -> None:
    splitter = SentenceSplitter()
    assert splitter.push("你好") == []
    assert splitter.push("。") == []
    assert splitter.push("今") == ["你好。"]
    assert splitter.push("天 it is 3.") == []
    assert splitter.push("5") == []
    assert splitter.flush() == ["今天 it is 3.5"]
    assert splitter.flush() == []


@pytest.mark.parametrize("limit", [1, 7, 20, 50])
def test_nothing_is_lost_and_nothing_is_longer_than_the_limit(limit: int) -> None:
    pieces = split_sentences(MIXED, limit)
    assert "".join("".join(pieces).split()) == "".join(MIXED.split())
    assert all(0 < len(piece) <= limit + 4 for piece in pieces)  # marks that close the end stay with it


def test_a_long_sentence_is_cut_at_clauses_then_spaces_and_never_inside_a_word() -> None:
    text = "alpha beta gamma delta, epsilon zeta eta theta iota kappa lambda mu nu xi omicron pi rho sigma tau"
    pieces = split_sentences(text, 30)
    assert pieces[0] == "alpha beta gamma delta,"
    assert [word for piece in pieces for word in piece.split()] == text.split()


def test_a_number_is_not_cut_at_its_comma() -> None:
    assert split_sentences("It is 1,234,567,890 exactly", 14) == ["It is", "1,234,567,890", "exactly"]


def test_a_word_longer_than_the_limit_is_cut_all_the_same() -> None:
    assert split_sentences("a" * 25, 10) == ["a" * 10, "a" * 10, "a" * 5]


def test_a_cut_keeps_letters_and_their_marks_together() -> None:
    for text in ("กี่" * 9, "e\u0301" * 9, "👩\u200d👩\u200d👧" * 5):
        for piece in split_sentences(text, 7):
            assert unicodedata.category(piece[0])[0] != "M"
            assert "\u200d" not in (piece[0], piece[-1])


def test_short_sentences_are_joined_up_to_the_minimum() -> None:
    assert split_sentences("No. Yes. Maybe so. A longer one follows here.", min_chars=12) == [
        "No. Yes. Maybe so.",
        "A longer one follows here.",
    ]


def test_a_hundred_thousand_characters_take_no_quadratic_time() -> None:
    text = "This is a sentence of the usual length, more or less. " * 2000
    assert len(split_sentences(text)) == 2000
    assert len(split_sentences(" " * 100_000 + "x")) == 1


def test_wrong_limits_are_refused() -> None:
    with pytest.raises(ValueError, match="min_chars"):
        SentenceSplitter(max_chars=5, min_chars=6)
