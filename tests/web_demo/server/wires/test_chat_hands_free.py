"""Hands-free conversations and JSON events over a real WebSocket."""

import asyncio

import numpy as np
import pytest
import sphn

from tests.speech import recording
from tests.talk import LONG, s2s, say, serving, talking, tone
from web_demo.audio.end_of_turn import find, installed
from web_demo.audio.patience import EndOfTurn
from web_demo.audio.samples import SPEECH_RATE, Audio, silence
from web_demo.engines.fakes import ScriptedS2s

VAD = {"turn_detection": {"type": "server_vad", "silence_duration_ms": 300}, "events": True}


async def test_hands_free_the_end_of_speech_ends_the_turn_and_the_next_needs_no_start():
    engine = ScriptedS2s(say("ok"))
    speech = recording("go_forward_ten_meters")
    async with serving(s2s(engine)) as server, talking(server) as talker:
        await talker.configure(**VAD)
        writer = sphn.OpusStreamWriter(24_000)
        end = 0
        for _ in range(2):
            await talker.speak(speech, writer)
            await talker.speak(silence(0.8, 24_000), writer)
            end = await talker.final(end)
        assert [name for m in talker.messages() if (name := getattr(m, "data", {}).get("event")) in EDGES] == [
            "speech_began",
            "speech_ended",
        ] * 2
        spoken = [turn.audio for turn in engine.turns]
        assert all(1.0 < audio.seconds < 3.6 for audio in spoken)
        assert all(np.abs(audio.samples).max() > 0.1 for audio in spoken)


EDGES = ("speech_began", "speech_ended")


async def test_hands_free_speaking_interrupts_the_answer_and_the_first_word_is_kept():
    engine = ScriptedS2s(lambda turn: say(LONG)(turn) if len(engine.turns) == 1 else say("second")(turn))
    speech = recording("cards_001")
    async with serving(s2s(engine)) as server, talking(server) as talker:
        await talker.configure(**VAD)
        writer = sphn.OpusStreamWriter(24_000)
        await talker.speak(speech, writer)
        await talker.speak(silence(0.6, 24_000), writer)
        position = await talker.audio()
        await talker.speak(speech, writer)
        event = await talker.event("interrupted", position)
        assert event["turn"] == 1
        await talker.speak(silence(0.6, 24_000), writer)
        await talker.final(position)
        assert talker.texts(position)[-1] == "\n[Final: second ]"
        first, second = (turn.audio for turn in engine.turns)
        assert second.seconds == pytest.approx(first.seconds, abs=0.35)  # nothing of its beginning is missing


async def test_hands_free_silence_and_tones_start_no_turn():
    engine = ScriptedS2s(say("ok"))
    async with serving(s2s(engine)) as server, talking(server) as talker:
        await talker.configure(**VAD)
        await talker.speak(silence(1.0, 24_000))
        await talker.speak(tone(1.0))
        await talker.speak(silence(1.0, 24_000))
        await talker.configure(turn_detection=None)
        await talker.end_turn()
        await talker.final()
        assert len(engine.turns) == 1  # the one that was asked for in the end


async def test_events_are_sent_only_to_clients_that_asked():
    async with serving(s2s(ScriptedS2s(say("ok")))) as server, talking(server) as plain, talking(server) as asking:
        await asking.configure(events=True)
        await asyncio.gather(plain.ask(), asking.ask())
        await asyncio.gather(plain.final(), asking.event("answer_ended"))
        assert not any(hasattr(message, "data") for message in plain.messages())
        assert (await asking.event("transcript"))["text"] == "0.4 s"


@pytest.mark.skipif(installed() is None, reason="the package pipecat-ai is not installed")
async def test_hands_free_by_meaning_waits_for_who_has_not_finished():
    engine = ScriptedS2s(say("ok"))
    speech = recording("librivox_0880").samples  # he was not an ill | disposed young man
    first, rest = (Audio(part, SPEECH_RATE).at(24_000) for part in np.split(speech, [round(1.48 * SPEECH_RATE)]))
    async with serving(s2s(engine)) as server:
        assert server.service.describe()["end_of_turn"] == "smart-turn-v3.2"
        server.service.end_of_turn = EndOfTurn(find(), deadline_s=60.0)  # however busy this machine is
        async with talking(server) as talker:
            await talker.configure(turn_detection={}, events=True)
            writer = sphn.OpusStreamWriter(24_000)
            for sound in (first, silence(1.0, 24_000), rest, silence(3.0, 24_000)):
                await talker.speak(sound, writer)
            await talker.final()
        server.service.end_of_turn.close()
        assert [turn.audio.seconds > 3.5 for turn in engine.turns] == [True]
