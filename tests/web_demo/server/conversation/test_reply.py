"""What of an answer the user has heard."""

import pytest

from web_demo.server.conversation.reply import SpokenReply


def spoken(*utterances: tuple[str, int]) -> SpokenReply:
    reply = SpokenReply()
    for text, samples in utterances:
        reply.add_text(text)
        reply.begin_utterance(text)
        reply.add_sound(samples)
    return reply


def test_the_text_is_all_deltas_in_order():
    reply = SpokenReply()
    for delta in ("Hel", "lo", " you", ""):
        reply.add_text(delta)
    assert reply.text == "Hello you"


def test_nothing_is_heard_of_a_reply_without_sound():
    reply = SpokenReply()
    reply.add_text("silent")
    assert reply.played(0) == ""
    assert reply.played(24_000) == ""
    assert SpokenReply().played(0) == ""


def test_half_the_sound_is_half_the_text_cut_at_a_word():
    reply = SpokenReply()
    reply.add_text("one two three four")
    reply.add_sound(1800)
    assert reply.played(900) == "one two"
    assert reply.played(850) == "one two"
    assert reply.played(1800) == "one two three four"
    assert reply.played(99_999) == "one two three four"


def test_chinese_is_cut_at_a_character():
    reply = spoken(("今天天气很好", 600))
    assert reply.played(300) == "今天天"
    assert reply.played(299) == "今天"


@pytest.mark.parametrize(
    ("samples", "heard"),
    [
        (0, ""),
        (-5, ""),
        (1000, "First sentence."),
        (1001, "First sentence."),
        (1600, "First sentence. Second"),
        (2000, "First sentence. Second one."),
        (5000, "First sentence. Second one. Third."),
    ],
)
def test_whole_utterances_are_counted_by_their_own_sound(samples, heard):
    assert spoken(("First sentence.", 1000), ("Second one.", 1000), ("Third.", 1000)).played(samples) == heard


def test_an_utterance_without_sound_yet_is_not_heard():
    reply = spoken(("First.", 1000))
    reply.begin_utterance("Second.")
    assert reply.played(1000) == "First."


def test_a_long_utterance_that_is_still_being_made_is_thought_to_be_as_fast_as_the_last():
    reply = SpokenReply()
    reply.begin_utterance("1234567890")
    reply.add_sound(1000)
    reply.end_utterance()
    reply.begin_utterance("one two three four five six seven eight")  # 3900 samples at that pace
    reply.add_sound(2000)
    assert reply.played(1000 + 1950) == "1234567890 one two three four"
    reply.add_sound(1000)
    assert reply.played(1000 + 1950) == "1234567890 one two three four"
    reply.end_utterance()  # after 3000: it was faster
    assert reply.played(1000 + 1950) == "1234567890 one two three four five"


def test_text_that_was_never_spoken_is_not_heard():
    reply = SpokenReply()
    reply.add_text("First. Second.")
    reply.begin_utterance("First.")
    reply.add_sound(100)
    assert reply.played(100) == "First."


def test_what_is_heard_only_grows():
    reply = spoken(("Mixed 中文 and English words.", 1000), ("Again and again.", 500))
    lengths = [len(reply.played(samples)) for samples in range(0, 1600, 7)]
    assert lengths == sorted(lengths)
    assert lengths[-1] == len("Mixed 中文 and English words. Again and again.")


def test_a_cut_within_a_latin_word_keeps_the_chinese_before_it():
    reply = spoken(("你好World", 700))
    assert reply.played(500) == "你好"


def test_words_of_any_alphabet_are_kept_whole_and_thai_is_cut_at_a_character():
    assert spoken(("Добрый вечер друзья", 1900)).played(1500) == "Добрый вечер"
    assert spoken(("très naïvement", 1400)).played(1000) == "très"
    assert spoken(("สวัสดีครับ", 1000)).played(500)
