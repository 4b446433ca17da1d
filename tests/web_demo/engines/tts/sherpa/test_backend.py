"""The sherpa voice in its child process, by the real library on tiny models."""

import queue

import numpy as np
import pytest

from tests import tiny_sherpa
from web_demo.detokenizer.backend import Window
from web_demo.detokenizer.supervisor import Detokenizer
from web_demo.engines.base import SpeechRequest
from web_demo.engines.tts.sherpa import backend
from web_demo.engines.tts.sherpa.engine import create
from web_demo.engines.tts.sherpa.models import find
from web_demo.errors import EngineFailed, SetupError
from web_demo.server.tts.settings import TtsSettings


@pytest.fixture(scope="module")
def matcha(tmp_path_factory):
    model = find(tiny_sherpa.matcha(tmp_path_factory.mktemp("voice") / "matcha"))
    return backend.SherpaBackend(model, threads=1)


def said(spoken_by: backend.SherpaBackend, text: str, turn: str = "turn", **more) -> list[np.ndarray]:
    sound = [made for _, made in spoken_by.decode([Window(turn, 0, text=text, **more)])]
    return [chunk for chunk in sound if np.abs(chunk).max() > 0]


def test_sound_comes_clause_by_clause_and_a_pause_stands_between_sentences(matcha):
    first = said(matcha, "你好，我是语音助手。现在几点？")
    assert len(first) >= 2
    again = [made for _, made in matcha.decode([Window("turn", 1, text="你好。")])]
    assert not again[0].any()
    assert len(again[0]) == round(0.2 * 24_000)
    matcha.close("turn")


def test_speed_is_followed(matcha):
    slow, fast = (
        sum(map(len, said(matcha, "你好，我是语音助手。", f"at {speed}", speed=speed))) for speed in (0.5, 2.0)
    )
    assert slow > 3 * fast


def test_words_that_the_lexicon_lacks_are_spelled_and_not_left_out(matcha):
    assert sum(map(len, said(matcha, "hello qwz", "a"))) > sum(map(len, said(matcha, "hello", "b")))


def test_a_speaker_of_kokoro_has_a_voice_of_its_own(tmp_path):
    voice = backend.SherpaBackend(find(tiny_sherpa.kokoro(tmp_path / "kokoro")), threads=1)
    low, high = (np.concatenate(said(voice, "hello there", name, voice=name)) for name in ("af_maple", "zm_010"))
    assert len(low) == len(high)
    assert np.abs(low - high).max() > 0.1


def test_english_comes_from_the_dictionary_where_the_model_has_none(tmp_path, monkeypatch):
    words = tmp_path / "words.dict"
    words.write_text("hello HH AH L OW\nb B IY\n")
    monkeypatch.setattr(backend.english, "dictionary", lambda: words)
    voice = backend.SherpaBackend(find(tiny_sherpa.matcha(tmp_path / "matcha", english=False)), threads=1)
    assert len(np.concatenate(said(voice, "hello"))) == pytest.approx(4 * 0.15 * 24_000, rel=0.2)


def test_closing_early_ends_the_work_behind_it():
    made: queue.SimpleQueue[bool] = queue.SimpleQueue()

    def generate(take):
        while take(np.ones(10, np.float32)):
            pass
        made.put(True)

    sounds = backend.streamed(generate)
    next(sounds)
    sounds.close()
    assert made.get(timeout=10)


def test_what_the_library_raises_is_an_error_of_this_request():
    def generate(take):
        take(np.ones(10, np.float32))
        raise RuntimeError("no such token")

    sounds = backend.streamed(generate)
    next(sounds)
    with pytest.raises(EngineFailed, match="no such token"):
        next(sounds)


async def test_a_voice_that_gives_no_sound_does_not_start(tmp_path):
    folder = tiny_sherpa.matcha(tmp_path / "matcha")
    (folder / "tokens.txt").write_text("_ 0\n")
    with pytest.raises(SetupError, match=r"could not be loaded.*gave no sound.*download_models.sh --laptop --check"):
        await create(TtsSettings(model_path=folder)).start()


async def test_what_is_said_comes_into_no_log(tmp_path, capfd):
    """The library names words that its lexicon lacks on standard error, which is the service's log."""
    engine = create(TtsSettings(model_path=tiny_sherpa.matcha(tmp_path / "matcha"), speech_process=Detokenizer))
    await engine.start()
    try:
        async for _ in engine.synthesize(SpeechRequest("你好，龘。", "")):
            pass
    finally:
        await engine.close()
    told = capfd.readouterr().err
    assert "龘" not in told
    assert "ready backend=sherpa" in told  # and the log itself goes on
