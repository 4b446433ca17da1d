"""Turns, interruption, history and limits of conversations over a real WebSocket, with a scripted engine and a real
detokenizer process."""

import asyncio

import aiohttp
import numpy as np
import pytest
import sphn

from tests.talk import LONG, loud_s, opus_pages, s2s, say, serving, talking, tone, until
from web_demo.engines.base import (
    Capabilities,
    Exchange,
    SpeechCodes,
    SpeechText,
    TextDelta,
    TurnRequest,
)
from web_demo.engines.fakes import ScriptedS2s
from web_demo.server.protocal import AudioData, Handshake, Ping
from web_demo.server.wires import chat


async def test_the_handshake_comes_first_and_by_itself():
    async with serving(s2s(ScriptedS2s(say("hi")))) as server, talking(server) as talker:
        await talker.wait_for(lambda m: True)
        assert talker.messages() == [Handshake(0, 0)]


async def test_a_turn_is_processing_then_text_and_audio_then_the_final_text_last():
    engine = ScriptedS2s(say("Hello there.", "How are you?"))
    async with serving(s2s(engine)) as server, talking(server) as talker:
        await talker.ask(tone(1.0))
        end = await talker.final()
        texts = talker.texts()
        assert texts[0] == "[Processing...]"
        assert texts[1:-1] == ["Hello there. ", "How are you? "]
        assert texts[-1] == "\n[Final: Hello there. How are you? ]"
        assert isinstance(talker.messages()[end - 2], AudioData)  # nothing but the final text after the last audio
        assert loud_s(talker.sound()) == pytest.approx(len("Hello there.How are you?") * 0.05, abs=0.06)
        assert engine.turns[0].audio.rate == 16_000
        assert engine.turns[0].audio.seconds == pytest.approx(1.0, abs=0.05)
        assert talker.errors() == []


async def test_codes_are_cut_into_windows_and_spoken_to_the_last():
    steps = [SpeechCodes((1, 2, 3, 4, 5)) for _ in range(7)] + [SpeechCodes((6, 7))]
    async with serving(s2s(ScriptedS2s(lambda turn: [TextDelta("la"), *steps]))) as server, talking(server) as talker:
        await talker.ask()
        await talker.final()
        assert loud_s(talker.sound()) == pytest.approx(37 * 0.04, abs=0.06)


async def test_a_client_that_wants_no_speech_gets_text_alone_until_it_wants_it_again():
    engine = ScriptedS2s(say("Hello there."))
    async with serving(s2s(engine)) as server, talking(server) as talker:
        await talker.configure(speech=False)
        await talker.ask()
        end = await talker.final()
        assert talker.texts() == ["[Processing...]", "Hello there. ", "\n[Final: Hello there. ]"]
        assert not any(isinstance(message, AudioData) for message in talker.messages())
        await talker.configure(speech=True)
        await talker.start()
        await talker.ask()
        await talker.final(end)
        assert loud_s(talker.sound(end)) > 0.5
        assert [turn.speech for turn in engine.turns] == [False, True]
        assert engine.turns[1].history[0].assistant_text == "Hello there. "


async def test_a_text_answer_that_is_cut_off_was_read_as_far_as_it_came():
    engine = ScriptedS2s(lambda turn: [TextDelta("Once upon "), 60.0, TextDelta("a time")])
    async with serving(s2s(engine)) as server, talking(server) as talker:
        await talker.configure(speech=False)
        await talker.ask()
        await talker.wait_for(lambda m: getattr(m, "text", "") == "Once upon ")
        await talker.start()
        await talker.ask()
        await until(lambda: len(engine.turns) == 2)
        assert engine.turns[1].history[0].assistant_text == "Once upon "


async def test_a_reply_without_speech_is_text_alone():
    async with serving(s2s(ScriptedS2s(lambda turn: [TextDelta("just text")]))) as server, talking(server) as talker:
        await talker.ask()
        await talker.final()
        assert not any(isinstance(message, AudioData) for message in talker.messages())


async def test_the_second_turn_works_with_a_continuing_stream_and_with_a_new_one():
    engine = ScriptedS2s(say("ok"))
    async with serving(s2s(engine)) as server, talking(server) as talker:
        writer = sphn.OpusStreamWriter(24_000)
        await talker.speak(tone(0.8), writer)
        await talker.end_turn()
        end = await talker.final()
        await talker.speak(tone(0.8), writer)  # ignored: no turn is open
        await talker.start()
        await talker.speak(tone(1.2), writer)
        await talker.end_turn()
        end = await talker.final(end)
        await talker.start()
        await talker.ask(tone(0.6))
        await talker.final(end)
        assert [turn.audio.seconds for turn in engine.turns] == pytest.approx([0.8, 1.2, 0.6], abs=0.05)
        assert all(np.abs(turn.audio.samples[1600:]).max() > 0.2 for turn in engine.turns)
        assert talker.errors() == []


async def test_start_while_speaking_silences_the_answer_and_keeps_the_first_word():
    engine = ScriptedS2s(lambda turn: say(LONG, LONG)(turn) if len(engine.turns) == 1 else say("second")(turn))
    async with serving(s2s(engine)) as server, talking(server) as talker:
        writer = sphn.OpusStreamWriter(24_000)
        await talker.speak(tone(0.5), writer)
        await talker.end_turn()
        await talker.audio()
        await talker.speak(tone(0.5), writer)  # goes on while the answer plays: ignored
        await talker.start()
        interrupted_at, position = talker.now(), len(talker.log)
        await talker.speak(tone(1.0), writer)  # straight after start: its first word counts
        await asyncio.sleep(0.3)
        late = [message for t, message in talker.log[position:] if t > interrupted_at + 0.05]
        assert late == []  # well over the promised 50 ms
        assert engine.live == 0
        position = len(talker.log)
        await talker.end_turn()
        await talker.final(position)
        assert talker.texts(position) == ["[Processing...]", "second ", "\n[Final: second ]"]
        assert engine.turns[1].audio.seconds == pytest.approx(1.0, abs=0.05)
        assert np.abs(engine.turns[1].audio.samples[:3200]).max() > 0.2
        assert loud_s(talker.sound(position)) == pytest.approx(len("second") * 0.05, abs=0.1)


async def test_interrupting_before_any_sound_and_twice_in_a_row():
    engine = ScriptedS2s(lambda turn: [0.05, TextDelta("late"), 30.0])
    async with serving(s2s(engine)) as server, talking(server) as talker:
        for number in range(1, 4):
            await talker.ask()
            await until(lambda number=number: len(engine.turns) == number)
            await talker.start()
        await talker.ask()
        await until(lambda: len(engine.turns) == 4)
        assert engine.live == 1


async def test_a_cancelled_answer_keeps_in_history_what_was_heard():
    words = " ".join(["word"] * 40)
    engine = ScriptedS2s(say("First sentence.", words))
    async with serving(s2s(engine)) as server, talking(server) as talker:
        await talker.ask()
        await until(lambda: loud_s(talker.sound()) > 1.5)  # the first sentence and a little more
        await talker.start()
        await talker.ask()
        await until(lambda: len(engine.turns) == 2)
        (exchange,) = engine.turns[1].history
        assert exchange.user_text == "0.4 s"
        assert exchange.assistant_text.startswith("First sentence. word")
        assert len(exchange.assistant_text) < len(words) / 2
        assert exchange.assistant_text.endswith("word")


async def test_history_holds_eight_pairs_and_restart_clears_it():
    engine = ScriptedS2s(say("yes"))
    async with serving(s2s(engine)) as server, talking(server) as talker:
        await talker.configure(system_prompt="You are a pirate.")
        end = 0
        for _ in range(10):
            await talker.start()
            await talker.ask()
            end = await talker.final(end)
        assert len(engine.turns[-1].history) == 8
        assert engine.turns[-1].history[-1] == Exchange("0.4 s", "yes ")
        assert {turn.system_prompt for turn in engine.turns} == {"You are a pirate."}
        await talker.send('{"type": "control", "action": "restart"}')
        await talker.ask()
        await talker.final(end)
        assert engine.turns[-1].history == ()
        assert len(engine.forgotten) == 1


async def test_an_engine_that_wants_it_gets_the_sound_of_earlier_turns():
    engine = ScriptedS2s(say("yes"), capabilities=Capabilities(user_audio_history=True, max_concurrency=4))
    async with serving(s2s(engine)) as server, talking(server) as talker:
        await talker.ask(tone(0.6))
        end = await talker.final()
        await talker.start()
        await talker.ask()
        await talker.final(end)
        audio = engine.turns[1].history[0].user_audio
        assert audio is not None
        assert audio.seconds == pytest.approx(0.6, abs=0.05)


async def test_two_users_at_once_hear_their_own_answers():
    engine = ScriptedS2s(lambda turn: say("short")(turn) if turn.audio.seconds < 0.6 else say("a longer answer")(turn))
    async with serving(s2s(engine)) as server, talking(server) as one, talking(server) as two:
        await asyncio.gather(one.ask(tone(0.4)), two.ask(tone(1.0)))
        await asyncio.gather(one.final(), two.final())
        assert one.texts()[1:-1] == ["short "]
        assert two.texts()[1:-1] == ["a longer answer "]
        assert loud_s(one.sound()) == pytest.approx(0.25, abs=0.05)
        assert loud_s(two.sound()) == pytest.approx(0.75, abs=0.05)


async def test_hanging_up_ends_the_engine_s_work_at_once():
    engine = ScriptedS2s(say(*[LONG] * 20))
    async with serving(s2s(engine)) as server:
        async with talking(server) as talker:
            await talker.ask()
            await talker.audio()
            assert engine.live == 1
        await until(lambda: engine.live == 0)
        await until(lambda: not server.service.sessions)
        assert len(engine.forgotten) == 1


async def test_a_line_that_is_cut_without_a_word_frees_the_session():
    engine = ScriptedS2s(say(*[LONG] * 20))
    async with serving(s2s(engine)) as server, talking(server) as talker:
        await talker.ask()
        await talker.audio()
        talker.socket._response.connection.transport.abort()
        await until(lambda: engine.live == 0)
        await until(lambda: not server.service.sessions)


async def test_audio_is_sent_at_most_its_lead_ahead_of_time_and_the_engine_is_held_back():
    made = []

    def script(turn: TurnRequest):
        for number in range(100):
            made.append(number)
            yield SpeechText(LONG)

    engine = ScriptedS2s(script)
    async with serving(s2s(engine, audio_lead_s=0.5)) as server, talking(server) as talker:
        await talker.ask()
        first = await talker.audio()
        began = talker.log[first - 1][0]
        await asyncio.sleep(1.0)
        sent = [t for t, message in talker.log if isinstance(message, AudioData)]
        for number, t in enumerate(sent):
            assert number * 0.04 <= t - began + 0.5 + 0.1
        assert len(sent) * 0.04 > 1.0
        assert len(made) <= 10  # of a thousand seconds of speech


async def test_a_full_service_refuses_in_words_and_serves_again_when_somebody_leaves():
    async with serving(s2s(ScriptedS2s(say("ok")), max_sessions=1)) as server:
        async with talking(server) as first:
            await first.wait_for(lambda m: isinstance(m, Handshake))
            async with talking(server) as second:
                assert "all 1 sessions are in use" in await second.error()
                await until(lambda: second.closed)
                assert second.socket.close_code == aiohttp.WSCloseCode.TRY_AGAIN_LATER
                assert not any(isinstance(message, Handshake) for message in second.messages())
            await first.ask()
            await first.final()
        await until(lambda: not server.service.sessions)
        async with talking(server) as third:
            await third.wait_for(lambda m: isinstance(m, Handshake))


async def test_a_silent_session_gets_a_message_now_and_then(monkeypatch):
    monkeypatch.setattr(chat, "KEEPALIVE_S", 0.1)
    async with serving(s2s(ScriptedS2s(say("ok")))) as server, talking(server) as talker:
        position = await talker.wait_for(lambda m: isinstance(m, Ping))
        await talker.wait_for(lambda m: isinstance(m, Ping), position)


async def test_a_turn_over_the_cap_is_ended_for_the_user_and_answered():
    engine = ScriptedS2s(say("ok"))
    async with serving(s2s(engine, max_turn_s=2.0)) as server, talking(server) as talker:
        await talker.speak(tone(4.0))
        assert "may last 2 s" in await talker.error()
        await talker.final()
        assert engine.turns[0].audio.seconds == pytest.approx(2.0, abs=0.01)


async def test_a_minute_of_audio_in_one_message_is_heard_whole():
    engine = ScriptedS2s(say("ok"))
    async with serving(s2s(engine)) as server, talking(server) as talker:
        await talker.send(AudioData(b"".join(opus_pages(tone(30.0)))))
        await talker.end_turn()
        await talker.final()
        assert engine.turns[0].audio.seconds == pytest.approx(30.0, abs=0.05)
