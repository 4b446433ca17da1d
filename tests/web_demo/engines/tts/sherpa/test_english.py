"""English words for a voice whose lexicon has none."""

from web_demo.engines.tts.sherpa.english import dictionary, entries, speakable, words_in


def test_the_dictionary_becomes_a_lexicon_with_the_first_pronunciation_of_each_word():
    lines = ["joy JH OY", "read R EH D", "read(2) R IY D", "church CH ER CH", "odd! X"]
    assert list(entries(lines)) == ["joy ʤ Y\n", "read ɹ ɛ d\n", "church ʧ ɜ ɹ ʧ\n"]


def test_every_word_of_the_dictionary_in_the_wheel_has_its_signs():
    with dictionary().open(encoding="utf-8") as lines:
        found = dict(line.split(maxsplit=1) for line in entries(lines))
    assert len(found) > 120_000
    assert found["hello"].strip() == "h ʌ l O"
    assert all(letter in found for letter in "abcdefghijklmnopqrstuvwxyz")


def test_words_that_no_lexicon_has_are_spelled_and_others_stay():
    known = frozenset(words_in(["hello h ə", "你好 ni3 hao3", "it's ɪ t s", "Paris p"]))
    assert speakable("Hello, 你好 GPT! It’s Paris.", known) == "Hello, 你好 G P T! It's Paris."
