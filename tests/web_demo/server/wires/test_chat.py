"""Turns, interruption, history and limits of conversations over a real WebSocket, with a scripted engine and a real
detokenizer process."""

import asyncio

import aiohttp
import numpy as np
import pytest
import sphn

from tests.talk import LONG, loud_s, opus_pages, s2s, say, serving, talking, tone, until
from web_demo.engines.fakes import ScriptedS2s
from web_demo.server.protocal import Action, AudioData, Control, Handshake, Ping, UserText, encode_json
from web_demo.server.wires import connection


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


async def test_one_client_has_half_of_the_sessions_and_a_proxy_tells_clients_apart():
    one, two = {"X-Forwarded-For": "203.0.113.1"}, {"X-Forwarded-For": "203.0.113.2"}
    async with serving(s2s(ScriptedS2s(say("ok")), max_sessions=2)) as server, talking(server, headers=one) as first:
        await first.wait_for(lambda m: isinstance(m, Handshake))
        async with talking(server, headers=one) as again:
            assert "1 sessions are yours" in await again.error()
        async with talking(server, headers=two) as other:
            await other.wait_for(lambda m: isinstance(m, Handshake))


async def test_an_operator_may_let_one_client_have_more():
    async with (
        serving(s2s(ScriptedS2s(say("ok")), max_sessions=2, max_sessions_per_client=2)) as server,
        talking(server) as first,
        talking(server) as second,
    ):
        for talker in (first, second):
            await talker.wait_for(lambda m: isinstance(m, Handshake))


async def test_a_silent_session_gets_a_message_now_and_then(monkeypatch):
    monkeypatch.setattr(connection, "KEEPALIVE_S", 0.1)
    async with serving(s2s(ScriptedS2s(say("ok")))) as server, talking(server) as talker:
        position = await talker.wait_for(lambda m: isinstance(m, Ping))
        await talker.wait_for(lambda m: isinstance(m, Ping), position)


async def test_a_minute_of_audio_in_one_message_is_heard_whole():
    engine = ScriptedS2s(say("ok"))
    async with serving(s2s(engine)) as server, talking(server) as talker:
        await talker.send(AudioData(b"".join(opus_pages(tone(30.0)))))
        await talker.end_turn()
        await talker.final()
        assert engine.turns[0].audio.seconds == pytest.approx(30.0, abs=0.05)


async def test_a_turn_in_writing_is_answered_interrupts_and_is_cancelled():
    engine = ScriptedS2s(lambda turn: say(LONG)(turn) if turn.text == "long" else say("Hello.")(turn))
    async with serving(s2s(engine)) as server, talking(server) as talker:
        await talker.configure(events=True)
        await talker.send(encode_json(UserText("hi")))
        end = await talker.final()
        await talker.send(encode_json(UserText("long")))
        await talker.audio(end)
        await talker.send(encode_json(UserText("stop")))
        assert (await talker.event("interrupted", end))["turn"] == 2
        end = await talker.final(end)
        await talker.send(encode_json(UserText("long")))
        await talker.audio(end)
        await talker.send(Control(Action.CANCEL))
        assert (await talker.event("interrupted", end))["turn"] == 4
        await talker.send(Control(Action.CANCEL))
        assert await talker.error() == "no answer is under way"
        assert [turn.text for turn in engine.turns] == ["hi", "long", "stop", "long"]
        assert engine.turns[1].history[0].assistant_text == "Hello. "
        assert loud_s(talker.sound()) > 0.3
    assert engine.live == 0
