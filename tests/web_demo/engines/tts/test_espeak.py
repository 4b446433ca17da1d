"""espeak-ng is not bit-deterministic within a process: these tests look at length, energy and order, not at samples."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from web_demo.audio.samples import WIRE_RATE, Samples
from web_demo.detokenizer.backend import Window
from web_demo.engines.tts.espeak import CLASSIC_VOICES, QUIET, Espeak, EspeakBackend, EspeakVoice, create_backend
from web_demo.errors import NotFound
from web_demo.text.scripts import Script

ENGLISH = EspeakVoice("en-us")


@pytest.fixture(scope="module")
def backend() -> EspeakBackend:
    return create_backend()


@pytest.fixture(scope="module")
def espeak(backend: EspeakBackend) -> Espeak:
    return backend._espeak  # a process has one


def sound(pieces: Iterator[Samples]) -> Samples:
    return np.concatenate([np.zeros(0, np.float32), *pieces])


def seconds(samples: Samples) -> float:
    return len(samples) / WIRE_RATE


def energy(samples: Samples) -> float:
    return float(np.sqrt(np.mean(samples**2)))


def test_a_sentence_has_a_plausible_length_and_energy(espeak: Espeak) -> None:
    spoken = sound(espeak.speak("The quick brown fox jumps over the lazy dog.", ENGLISH))
    assert spoken.dtype == np.float32
    assert 2.0 < seconds(spoken) < 3.5
    assert 0.03 < energy(spoken) < 0.5
    assert float(np.abs(spoken).max()) <= 1.0


def test_pieces_come_while_the_rest_is_still_to_be_made(espeak: Espeak) -> None:
    pieces = [len(piece) for piece in espeak.speak("One two three four five six seven eight nine ten.", ENGLISH)]
    assert len(pieces) > 8
    assert max(pieces) < WIRE_RATE // 2


def test_near_silence_at_both_ends_is_short(espeak: Espeak) -> None:
    spoken = sound(espeak.speak("Hello.", ENGLISH))
    loud = np.flatnonzero(np.abs(spoken) > 2 * QUIET)
    assert loud[0] / WIRE_RATE < 0.05
    assert (len(spoken) - loud[-1]) / WIRE_RATE < 0.08


def test_speed_changes_the_length(espeak: Espeak) -> None:
    text = "This sentence is spoken at several speeds, one after the other."
    slow, normal, fast = (seconds(sound(espeak.speak(text, ENGLISH, speed))) for speed in (0.5, 1.0, 2.0))
    assert slow > 1.6 * normal
    assert fast < 0.65 * normal


def test_closing_the_iterator_stops_and_the_next_sentence_is_whole(espeak: Espeak) -> None:
    endless = espeak.speak("This goes on and on. " * 4000, ENGLISH)  # an hour and more
    assert len(next(endless))
    endless.close()  # type: ignore[attr-defined]
    assert 0.2 < seconds(sound(espeak.speak("Hello.", ENGLISH))) < 1.0


@pytest.mark.parametrize("text", ["", "   ", "😀🎉👩‍👩‍👧", "……！？", "\x00\x01"])
def test_a_text_without_words_gives_nothing(espeak: Espeak, text: str) -> None:
    assert len(sound(espeak.speak(text, EspeakVoice()))) == 0


def test_an_emoji_between_words_is_not_read_out(espeak: Espeak) -> None:
    plain = seconds(sound(espeak.speak("I am happy today.", ENGLISH)))
    assert seconds(sound(espeak.speak("I am happy 😀😀😀 today.", ENGLISH))) == pytest.approx(plain, abs=0.15)


def test_markup_is_text(espeak: Espeak) -> None:
    assert 2.0 < seconds(sound(espeak.speak('<speak><break time="10s"/>hi</speak>', ENGLISH))) < 8.0


@pytest.mark.parametrize("voice", CLASSIC_VOICES)
def test_every_classic_voice_speaks_chinese_and_english(espeak: Espeak, voice: str) -> None:
    chinese = sound(espeak.speak("你好，我是语音助手。", EspeakVoice.parse(voice)))
    english = sound(espeak.speak("Good morning to you.", EspeakVoice.parse(voice)))
    assert 1.2 < seconds(chinese) < 4.0
    assert 0.6 < seconds(english) < 2.5


def test_automatic_voice_follows_the_script() -> None:
    automatic = EspeakVoice.parse("")
    chosen = [automatic.for_script(script) for script in (Script.HAN, Script.KANA, Script.HANGUL, Script.OTHER, None)]
    assert chosen == ["cmn", "ja", "ko", "en-us", "en-us"]


def test_a_named_voice_keeps_its_language_and_its_variant_where_it_can() -> None:
    woman = EspeakVoice.parse("粤语女")
    assert woman.for_script(Script.HAN) == woman.for_script(None) == "yue+f3"
    assert woman.for_script(Script.OTHER) == "en-us+f3"
    german = EspeakVoice.parse("de")
    assert (german.for_script(Script.OTHER), german.for_script(Script.HAN)) == ("de", "cmn")
    assert EspeakVoice.parse("zh").language == "cmn"


def test_mixed_text_is_as_long_as_its_parts(espeak: Espeak) -> None:
    parts = sum(seconds(sound(espeak.speak(text, EspeakVoice()))) for text in ("我喜欢", "machine learning", "和音乐"))
    mixed = seconds(sound(espeak.speak("我喜欢machine learning和音乐", EspeakVoice())))
    assert mixed == pytest.approx(parts, abs=0.4)


def test_the_usual_languages_are_listed(espeak: Espeak) -> None:
    assert {"cmn", "yue", "ja", "ko", "en-us", "en", "de", "fr", "ru", "pt-br"} <= set(espeak.languages)


def test_an_unknown_voice_is_refused_with_the_known_ones(espeak: Espeak) -> None:
    with pytest.raises(NotFound, match=r"'elvish-2'.*cmn.*yue"):
        sound(espeak.speak("hello", EspeakVoice.parse("elvish-2")))


def test_the_backend_speaks_each_window_for_its_turn_with_a_pause_between(backend: EspeakBackend) -> None:
    backend.open("a", "英文女")
    first = list(backend.decode([Window("a", 0, text="Hello there.")]))
    second = list(backend.decode([Window("a", 1, text="Hello there.", last=True)]))
    backend.close("a")
    assert {turn for turn, _ in first + second} == {"a"}
    gap = seconds(sound(piece for _, piece in second)) - seconds(sound(piece for _, piece in first))
    assert 0.2 < gap < 0.4


def test_the_backend_takes_an_empty_last_window_and_a_close_mid_way(backend: EspeakBackend) -> None:
    backend.open("b", "")
    decoding = backend.decode([Window("b", 0, text="Some words to be broken off in the middle of it all.")])
    next(decoding)
    decoding.close()  # type: ignore[attr-defined]
    assert list(backend.decode([Window("b", 1, text="", last=True)])) == []
    backend.close("b")
    backend.close("b")
