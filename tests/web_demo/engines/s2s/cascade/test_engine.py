"""The embedded engine as a newcomer meets it: human speech over a real WebSocket, answered by voice."""

import asyncio
import sys

import numpy as np
import pytest

from tests.speech import recording
from tests.talk import s2s, serving, talking
from web_demo.audio.samples import Audio, silence
from web_demo.audio.vad import speech_spans


def speech_s(audio: Audio) -> float:
    """Seconds of what voice activity takes for speech."""
    heard = audio.at(16_000)
    return sum(end - start for start, end in speech_spans(heard.samples)) / 16_000


async def test_a_human_recording_comes_back_as_audible_speech_that_names_it():
    async with serving(s2s()) as server, talking(server) as talker:
        await talker.configure(events=True)
        await talker.ask(recording("go_forward_ten_meters"))
        transcript = await talker.event("transcript")
        assert transcript["text"] == "go forward ten meters"
        await talker.final()
        assert talker.texts()[-1].startswith("\n[Final: You said: go forward ten meters. I am the embedded stand-in")
        assert speech_s(talker.sound()) > 4.0  # three sentences


async def test_the_first_sentence_is_sent_before_the_reply_is_spoken_to_its_end():
    async with serving(s2s()) as server, talking(server) as talker:
        await talker.ask(recording("cards_001"))
        first = await talker.audio()
        await asyncio.sleep(1.0)
        assert len(talker.log) > first
        assert not any(text.startswith("\n[Final") for text in talker.texts())
        await talker.final()


@pytest.mark.long
async def test_two_people_at_once_are_told_what_they_said():
    async with serving(s2s()) as server, talking(server) as one, talking(server) as two:
        await asyncio.gather(one.ask(recording("go_forward_ten_meters")), two.ask(recording("cards_001")))
        await asyncio.gather(one.final(), two.final())
        assert "go forward ten meters" in one.texts()[-1]
        assert "ten of clubs" in two.texts()[-1]


async def test_silence_and_noise_are_answered_with_words_about_it_and_the_next_turn_works():
    noise = Audio((np.random.default_rng(1).standard_normal(24_000) * 0.01).astype(np.float32), 24_000)
    async with serving(s2s()) as server, talking(server) as talker:
        for quiet in (silence(1.0, 24_000), noise):
            await talker.start()
            position = len(talker.log)
            await talker.ask(quiet)
            assert "no speech was heard" in await talker.error(position)
        await talker.start()
        await talker.ask(recording("cards_001"))
        await talker.final()
        assert "ten of clubs" in talker.texts()[-1]


async def test_the_answer_is_chinese_for_those_who_ask_for_chinese():
    async with serving(s2s()) as server, talking(server) as talker:
        await talker.configure(language="zh")
        await talker.ask(recording("cards_001"))
        await talker.wait_for(lambda _: "你说的是：ten of clubs。" in "".join(talker.texts()))
        while speech_s(talker.sound()) <= 2.0:
            await talker.audio(len(talker.log))
        await talker.start()  # the whole of it is long
        position = len(talker.log)
        await talker.ask(silence(1.0, 24_000))
        assert "没有听到说话声" in await talker.error(position)


async def test_on_a_machine_without_the_recogniser_speech_is_refused_with_what_to_do_and_text_is_answered(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setitem(sys.modules, "pocketsphinx", None)
    async with serving(s2s()) as server, talking(server) as talker:
        await talker.ask(recording("cards_001"))
        assert "./scripts/download_models.sh --laptop" in await talker.error()
        position = len(talker.log)
        await talker.send('{"type": "text", "text": "what time is it"}')
        await talker.final(position)
        assert "It is" in talker.texts()[-1]
        assert speech_s(talker.sound(position)) > 0.5
