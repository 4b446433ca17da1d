"""How words are counted; a whole run is in tests/web_demo/test_laptop.py."""

from scripts.benchmarks.heard import words_of, wrong_words


def test_words_are_words_and_characters_in_scripts_without_spaces():
    assert words_of("It’s 3 o'clock, 现在几点？ Good-bye!") == [
        "it's",
        "3",
        "o'clock",
        "现",
        "在",
        "几",
        "点",
        "good",
        "bye",
    ]


def test_wrong_words_are_insertions_deletions_and_substitutions():
    assert wrong_words(["a", "b", "c", "d"], ["a", "x", "c", "d"]) == 1
    assert wrong_words(["a", "b", "c", "d"], ["b", "c", "d", "e"]) == 2
    assert wrong_words([], ["a"]) == wrong_words(["a"], []) == 1
