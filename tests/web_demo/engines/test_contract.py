"""What engines/base.py promises, kept by every engine of the registry and by the fakes."""

import asyncio
import itertools
from contextlib import aclosing
from typing import get_args

import numpy as np
import pytest
import pytest_asyncio

from tests.speech import recording
from tests.web_demo.engines.makers import FAKES, MAKERS, engines
from web_demo.audio.samples import Audio, silence
from web_demo.detokenizer.backend import BackendSpec
from web_demo.engines import registry
from web_demo.engines.base import Capabilities, SpeechRequest, Step, Transcript, TurnRequest, VoicePrompt
from web_demo.errors import InvalidRequest, NotFound, ServiceError

pytestmark = pytest.mark.asyncio(loop_scope="module")

KINDS = ("asr", "tts", "s2s")
SPEECH = recording("cards_001")
_numbers = itertools.count()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("engines")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def engine(request, folder):
    """Started; the same one for all tests of it."""
    kind, name = request.param
    async with MAKERS[kind][name](folder) as engine:
        await engine.start()
        yield engine
        await engine.close()


def each(*kinds: str):
    return pytest.mark.parametrize("engine", engines(*kinds), indirect=True, scope="module")


def each_real(kind: str):
    """Without the fake, which does what its tests want of it."""
    real = [param for param in engines(kind) if param.values[0] not in FAKES]
    return pytest.mark.parametrize("engine", real, indirect=True, scope="module")


async def used(engine) -> None:
    """The engine does its one thing, whatever that is."""
    if hasattr(engine, "respond"):
        async with aclosing(engine.respond(turn())) as steps:
            await anext(steps)
    elif hasattr(engine, "synthesize"):
        async with aclosing(engine.synthesize(SpeechRequest("Hello there.", ""))) as chunks:
            await anext(chunks)
    else:
        await engine.transcribe(SPEECH)


def turn(**changes) -> TurnRequest:
    return TurnRequest(
        **({"turn_id": f"t{next(_numbers)}", "conversation_id": "c", "audio": SPEECH.at(16_000)} | changes)
    )


# --- every engine -----------------------------------------------------------------------------------------------------


async def test_every_engine_of_the_registry_is_tested_here():
    tested = {(kind, name) for kind in KINDS for name in MAKERS[kind]}
    assert tested - FAKES == {(kind, name) for kind in KINDS for name in registry.names(kind)}


@each(*KINDS)
async def test_it_says_what_it_is_and_serves_without_fault(engine):
    assert all(isinstance(value, str) and value for value in (engine.name, engine.model, engine.device))
    assert isinstance(engine.capabilities, Capabilities)
    assert engine.capabilities.max_concurrency >= 1
    assert engine.fault() is None
    await used(engine)


@pytest.mark.parametrize("which", engines(*KINDS))
async def test_close_may_come_twice_or_before_the_start_and_ends_its_use(which, folder):
    kind, name = which
    async with MAKERS[kind][name](folder) as never_started:
        await never_started.close()
    async with MAKERS[kind][name](folder) as engine:
        await engine.start()
        await engine.close()
        await engine.close()
        if which not in FAKES:
            with pytest.raises(ServiceError):
                await used(engine)


@each(*KINDS)
async def test_it_is_free_again_after_work_that_was_abandoned(engine):
    for _ in range(3):
        tasks = [asyncio.create_task(used(engine)) for _ in range(2)]
        await asyncio.sleep(0.02)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    async with asyncio.timeout(60):
        await used(engine)
    assert engine.fault() is None


@each(*KINDS)
async def test_as_many_at_once_as_it_declares(engine):
    async with asyncio.timeout(120):
        await asyncio.gather(*(used(engine) for _ in range(min(engine.capabilities.max_concurrency, 4))))


# --- speech to text ---------------------------------------------------------------------------------------------------


@each("asr")
@pytest.mark.parametrize("rate", [8_000, 48_000])
async def test_speech_of_any_rate_gives_a_transcript(engine, rate):
    sound = SPEECH.at(rate)
    transcript = await engine.transcribe(sound)
    assert isinstance(transcript, Transcript)
    assert not engine.capabilities.languages or transcript.language in engine.capabilities.languages
    for segment in transcript.segments:
        assert 0 <= segment.start_s <= segment.end_s <= sound.seconds + 0.05
        assert (segment.words is not None) == (engine.capabilities.timestamps == "word")


@each_real("asr")
@pytest.mark.parametrize("seconds", [0.0, 0.01, 2.0])
async def test_silence_gives_an_empty_text(engine, seconds):
    transcript = await engine.transcribe(silence(seconds, 16_000))
    assert (transcript.text, transcript.segments) == ("", ())


@each_real("asr")
async def test_a_language_that_it_does_not_know_is_refused(engine):
    if not engine.capabilities.languages:
        pytest.skip("it says that it takes any language")
    with pytest.raises(InvalidRequest):
        await engine.transcribe(SPEECH, language="xx")


@each("asr")
async def test_hotwords_and_itn_are_taken_or_named_as_ignored(engine):
    transcript = await engine.transcribe(SPEECH, hotwords=("clubs", "qwertzuiop"), itn=False)
    assert set(transcript.ignored_hotwords) <= {"clubs", "qwertzuiop"}


# --- text to speech ---------------------------------------------------------------------------------------------------


async def sound(engine, text: str = "Hello there.", voice: str = "", **more) -> np.ndarray:
    chunks = [chunk async for chunk in engine.synthesize(SpeechRequest(text, voice, **more))]
    assert all(chunk.dtype == np.float32 and chunk.ndim == 1 for chunk in chunks)
    return np.concatenate([np.zeros(0, np.float32), *chunks])


@each("tts")
async def test_text_becomes_sound_at_its_rate(engine):
    assert engine.sample_rate > 0
    made = await sound(engine)
    assert len(made)
    assert np.isfinite(made).all()


@each_real("tts")
@pytest.mark.parametrize("text", ["", "😀 …", "<|endofprompt|>"])
async def test_a_text_without_words_is_no_sound(engine, text):
    assert len(await sound(engine, text)) == 0


@each("tts")
async def test_every_voice_that_it_lists_speaks_and_another_is_refused(engine):
    for voice in engine.capabilities.voices[:3]:
        assert len(await sound(engine, voice=voice))
    if not engine.capabilities.voices or engine.name == "tone":
        return
    with pytest.raises(NotFound):
        await sound(engine, voice="nobody at all")


@each("tts")
async def test_the_speeds_that_it_declares_work(engine):
    for speed in engine.capabilities.speeds:
        assert len(await sound(engine, speed=speed))


@each_real("tts")
async def test_what_it_does_not_declare_is_refused(engine):
    can = engine.capabilities
    for speed in (can.speeds[0] * 0.9, can.speeds[1] * 1.1, float("nan")):
        with pytest.raises(InvalidRequest, match="speed"):
            await sound(engine, speed=speed)
    if not can.cloning:
        with pytest.raises(InvalidRequest, match="recording"):
            await sound(engine, prompt=VoicePrompt(SPEECH, "ten of clubs"))
    if not can.instructions:
        with pytest.raises(InvalidRequest, match="how to speak"):
            await sound(engine, instruction="cheerfully")


@each("tts")
async def test_a_recording_and_an_instruction_are_followed_where_declared(engine):
    can = engine.capabilities
    if can.cloning:
        prompt = VoicePrompt(Audio(np.tile(SPEECH.samples, 2), SPEECH.rate), "ten of clubs, ten of clubs")
        assert len(await sound(engine, prompt=prompt))
    if can.instructions:
        assert len(await sound(engine, instruction="slowly"))


@each("tts")
async def test_pieces_as_long_as_it_declares_are_spoken(engine):
    can = engine.capabilities
    assert 1 <= can.min_piece_chars <= can.max_piece_chars
    assert len(await sound(engine, "a word, " * (can.max_piece_chars // 8)))


@each("tts")
async def test_closing_the_iterator_ends_the_work(engine):
    for _ in range(2):
        chunks = engine.synthesize(SpeechRequest("On and on it goes, with one word after the other.", ""))
        await anext(chunks)
        async with asyncio.timeout(30):
            await chunks.aclose()
    assert len(await sound(engine))


# --- speech to speech -------------------------------------------------------------------------------------------------


@each("s2s")
async def test_an_answer_is_made_of_steps(engine):
    steps = [step async for step in engine.respond(turn())]
    assert steps
    assert all(isinstance(step, get_args(Step)) for step in steps)


@each("s2s")
async def test_an_answer_to_be_read_and_one_in_chinese_are_steps_too(engine):
    for request in (turn(speech=False), turn(language="zh", system_prompt="Be brief.")):
        assert [step async for step in engine.respond(request)]


@each("s2s")
async def test_a_conversation_may_be_forgotten_whether_or_not_it_was_known(engine):
    await engine.forget("c")
    await engine.forget("never heard of")
    await used(engine)


@each("s2s")
async def test_it_says_what_makes_its_sound_and_what_it_is_made_of(engine):
    assert isinstance(engine.speech, BackendSpec) or callable(engine.speech.open)
    assert all(isinstance(text, str) and text for part in engine.parts.items() for text in part)
