"""How words are counted, and one run of all of it."""

import json
import subprocess
import sys

from scripts.benchmarks.heard import words_of, wrong_words
from tests import tiny_sherpa


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


def test_a_recogniser_and_a_voice_are_measured_together(tmp_path):
    tiny_sherpa.sense_voice(tmp_path / "ears")
    tiny_sherpa.kokoro(tmp_path / "voice")
    (tmp_path / "lines.txt").write_text("现在几点了\n")
    command = (
        sys.executable,
        "-m",
        "scripts.benchmarks.heard",
        "--engine",
        "sherpa",
        "--model-path",
        str(tmp_path / "ears"),
    )
    spoken = ("--spoken-by", "sherpa", "--voice-path", str(tmp_path / "voice"), "--texts", str(tmp_path / "lines.txt"))
    done = subprocess.run((*command, *spoken), capture_output=True, text=True, check=True)
    figures = json.loads(done.stdout.splitlines()[-1])
    assert (figures["words"], figures["engine"], figures["spoken_by"]) == (5, "sherpa", "sherpa")
    assert figures["wrong"] in (0, 5)  # a hum may or may not be taken for a voice
    assert figures["voice_real_time_factor"] > 0
