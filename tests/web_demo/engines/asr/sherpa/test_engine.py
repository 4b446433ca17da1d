"""The sherpa recognisers on tiny models, by the real library in its processes."""

import numpy as np
import pytest
import pytest_asyncio

from tests import tiny_sherpa
from tests.speech import recording
from web_demo.audio.samples import Audio
from web_demo.engines.asr.sherpa.engine import create, unavailable
from web_demo.engines.asr.sherpa.models import FunAsrNano, Paraformer, SenseVoice, find
from web_demo.errors import InvalidRequest, SetupError
from web_demo.server.asr.settings import AsrSettings

pytestmark = pytest.mark.asyncio(loop_scope="module")

SPEECH = recording("cards_001").at(16_000)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    tiny_sherpa.write_all(folder)
    return folder


def settings(path) -> AsrSettings:
    return AsrSettings(model_path=path)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def sense_voice(models):
    """As `--engine auto` has it, where the streaming recogniser is there too."""
    engine = create(settings(models / "Fun-ASR-Nano-2512"))
    await engine.start()
    yield engine
    await engine.close()


# --- which one it is --------------------------------------------------------------------------------------------------


async def test_the_best_one_beside_the_default_and_the_one_that_is_named(models):
    found = find(models / "Fun-ASR-Nano-2512")
    assert isinstance(found.model, SenseVoice)
    assert isinstance(found.partials, Paraformer)
    assert isinstance(find(models / "sherpa-onnx-funasr-nano-int8-2025-12-30").model, FunAsrNano)
    named = find(models / "sherpa-onnx-streaming-paraformer-bilingual-zh-en")
    assert named.model is named.partials
    assert find(models / "matcha-icefall-zh-en") is None
    assert find(models / "typo") is None


async def test_a_damaged_model_is_passed_over_for_a_whole_one_and_told_of_where_it_is_alone(tmp_path, caplog):
    damaged = tmp_path / "a-damaged-one"
    damaged.mkdir()
    for name in ("model.int8.onnx", "tokens.txt"):
        (damaged / name).write_text("version https://git-lfs.github.com/spec/v1")
    with pytest.raises(SetupError, match="not a whole ONNX model"):
        find(tmp_path / "Fun-ASR-Nano-2512")
    assert "not a whole ONNX model" in unavailable(settings(damaged))
    tiny_sherpa.sense_voice(tmp_path / "b-whole-one")
    assert find(tmp_path / "Fun-ASR-Nano-2512").model.folder.name == "b-whole-one"
    assert "passed over" in caplog.text
    paraformer = tiny_sherpa.streaming_paraformer(tmp_path / "c-streaming")
    assert find(tmp_path / "Fun-ASR-Nano-2512").partials is not None
    (paraformer / "encoder.int8.onnx").write_text("version https://git-lfs.github.com/spec/v1")
    found = find(tmp_path / "Fun-ASR-Nano-2512")
    assert (found.model.folder.name, found.partials) == ("b-whole-one", None)
    assert "no partial texts" in caplog.text


async def test_what_is_missing_is_said_with_the_command_that_brings_it(tmp_path, models, monkeypatch):
    assert "download_models.sh --laptop" in unavailable(settings(tmp_path / "Fun-ASR-Nano-2512"))
    with pytest.raises(SetupError, match="download_models"):
        create(settings(tmp_path))
    assert unavailable(settings(models)) is None
    monkeypatch.setattr("web_demo.engines.asr.sherpa.engine.missing_package", lambda: "sherpa-onnx is not installed")
    assert unavailable(settings(models)) == "sherpa-onnx is not installed"


async def test_a_model_that_the_library_will_not_load_ends_its_process_and_not_ours(tmp_path):
    folder = tiny_sherpa.sense_voice(tmp_path / "broken")
    (folder / "tokens.txt").write_text("no tokens at all here\n")
    with pytest.raises(SetupError, match=r"could not be loaded.*download_models.sh --laptop --check"):
        await create(settings(folder)).start()


# --- SenseVoice -------------------------------------------------------------------------------------------------------


async def test_sense_voice_hears_the_language_and_when_each_word_is_said(sense_voice):
    transcript = await sense_voice.transcribe(SPEECH)
    assert (transcript.text, transcript.language) == (tiny_sherpa.SAID, "zh")
    (segment,) = transcript.segments
    assert [word.text for word in segment.words] == list(tiny_sherpa.SAID)
    assert [word.start_s for word in segment.words] == [0.24, 0.42, 0.6, 0.78, 0.96]
    assert sense_voice.capabilities.timestamps == "word"


async def test_pieces_of_english_words_are_words(tmp_path):
    engine = create(settings(tiny_sherpa.sense_voice(tmp_path / "english", ("▁he", "llo", "▁wor", "ld"))))
    await engine.start()
    try:
        transcript = await engine.transcribe(SPEECH, language="en")
    finally:
        await engine.close()
    assert transcript.text == "hello world"
    assert [(word.text, word.start_s) for word in transcript.segments[0].words] == [("hello", 0.24), ("world", 0.6)]


async def test_a_named_language_is_what_it_is_told_and_hotwords_are_named_as_ignored(sense_voice):
    for language in ("ja", "yue", "ja"):
        transcript = await sense_voice.transcribe(SPEECH, language=language, hotwords=("达摩院",))
        assert (transcript.language, transcript.ignored_hotwords) == (language, ("达摩院",))
    with pytest.raises(InvalidRequest, match="zh, en, ja, ko, yue; got 'fr'"):
        await sense_voice.transcribe(SPEECH, language="fr")


# --- partial texts ----------------------------------------------------------------------------------------------------


async def test_partials_grow_with_the_sound_and_of_several_utterances_at_once(sense_voice):
    assert sense_voice.capabilities.partials
    texts = {"a": [], "b": []}
    for end in range(8_000, 56_000, 8_000):
        for name, heard in texts.items():
            heard.append(await sense_voice.partial(name, Audio(_long()[:end], 16_000)))
    assert texts["a"] == texts["b"]
    assert texts["a"][-1] == tiny_sherpa.STREAMED[: len(texts["a"][-1])]
    assert len(texts["a"][-1]) >= 4
    for before, after in zip(texts["a"], texts["a"][1:], strict=False):
        assert after.startswith(before)


async def test_what_its_process_forgot_is_heard_again_from_the_beginning(sense_voice):
    sound = Audio(_long()[:48_000], 16_000)
    at_once = await sense_voice.partial("whole", sound)
    await sense_voice.partial("halved", Audio(_long()[:24_000], 16_000))
    for number in range(40):  # more than it keeps
        await sense_voice.partial(f"other {number}", Audio(_long()[:1_600], 16_000))
    sense_voice._sent["halved"] = 24_000  # the engine remembers longer than the process
    assert await sense_voice.partial("halved", sound) == at_once


def _long() -> np.ndarray:
    return np.tile(SPEECH.samples, 4)


# --- the others -------------------------------------------------------------------------------------------------------


async def test_fun_asr_nano_takes_hotwords_as_far_as_they_fit(models):
    engine = create(settings(models / "sherpa-onnx-funasr-nano-int8-2025-12-30"))
    await engine.start()
    try:
        assert (await engine.transcribe(SPEECH)).text == tiny_sherpa.NANO_SAID
        transcript = await engine.transcribe(SPEECH, hotwords=("squid",), language="en")
        assert (transcript.text, transcript.ignored_hotwords) == ("q", ())
        many = tuple(f"word number {n} q" for n in range(80))
        transcript = await engine.transcribe(SPEECH, hotwords=many)
        assert transcript.text == "q"
        assert transcript.ignored_hotwords == many[-len(transcript.ignored_hotwords) :]
        assert 0 < len(transcript.ignored_hotwords) < len(many)
        assert transcript.segments[0].words is None
    finally:
        await engine.close()


async def test_fun_asr_nano_with_a_short_context_takes_shorter_pieces(tmp_path):
    short = FunAsrNano.in_folder(tiny_sherpa.funasr_nano(tmp_path / "short", context=512))
    assert short.longest_s == pytest.approx(14.08)
    assert short.fitting(["一个热词"], 14.0) == []
    assert short.fitting(["ab", "cd"], 10.0) == ["ab", "cd"]


async def test_paraformer_recognises_whole_utterances_too(models):
    engine = create(settings(models / "sherpa-onnx-streaming-paraformer-bilingual-zh-en"))
    await engine.start()
    try:
        transcript = await engine.transcribe(SPEECH)
        assert transcript.text
        assert transcript.text == tiny_sherpa.STREAMED[: len(transcript.text)]
        assert (transcript.language, transcript.segments[0].words) == ("zh", None)
    finally:
        await engine.close()
