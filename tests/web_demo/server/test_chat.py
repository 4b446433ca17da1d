"""Conversations over a real WebSocket, with a scripted engine and a real detokenizer process."""

import asyncio
import os
import signal

import aiohttp
import numpy as np
import pytest
import sphn

from tests.speech import recording
from tests.talk import opus_pages, s2s, serving, talking, tone, until
from utils.audio import Audio, silence
from web_demo.engines.base import (
    Capabilities,
    Exchange,
    Heard,
    SpeechCodes,
    SpeechText,
    TextDelta,
    ToolCall,
    TurnRequest,
)
from web_demo.engines.fakes import ScriptedS2s
from web_demo.server import chat
from web_demo.server.protocal import Action, AudioData, Control, Handshake, Metadata, Ping, encode
from web_demo.server.service import LIFE
from web_demo.server.session import SessionLimits


def say(*sentences: str):
    """A script: hear the turn, then say these sentences."""
    return lambda turn: [
        Heard(f"{turn.audio.seconds:.1f} s"),
        *(step for sentence in sentences for step in (TextDelta(sentence + " "), SpeechText(sentence))),
    ]


LONG = "x" * 200  # ten seconds of tone


def loud_s(audio: Audio) -> float:
    """Seconds of `audio` that are not silent."""
    frames = audio.samples[: len(audio.samples) // 240 * 240].reshape(-1, 240)
    return float((np.abs(frames).max(axis=1) > 0.05).sum() * 0.01)


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
    async with serving(s2s(engine, limits=SessionLimits(lead_s=0.5))) as server, talking(server) as talker:
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
    async with serving(s2s(engine, limits=SessionLimits(max_turn_s=2.0))) as server, talking(server) as talker:
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


# --- hands-free -------------------------------------------------------------------------------------------------------

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


# --- bad input --------------------------------------------------------------------------------------------------------

BAD = {
    "text that is not JSON": ("hello", "not JSON"),
    "JSON that is no object": ("[1]", "must be a JSON object"),
    "an unknown JSON type": ('{"type": "dance"}', "unknown 'type'"),
    "an unknown JSON action": ('{"type": "control", "action": "jump"}', "unknown control action"),
    "an empty message": (b"", "is empty"),
    "an empty text message": ("", "not JSON"),
    "audio of no bytes": (b"\x01", "audio message is empty"),
    "control of no bytes": (b"\x03", "1 byte"),
    "an unknown action": (b"\x03\x09", "unknown control action 9"),
    "an unknown type": (b"\x63abc", "unknown message type 0x63"),
    "a message for the other direction": (b"\x02hi", "from the server to the client"),
    "metadata in bad UTF-8": (b'\x04{"a": "\xff"}', "not valid UTF-8"),
    "metadata that is no object": (b"\x04[]", "must be a JSON object"),
    "metadata of the wrong shape": ('{"type": "metadata", "data": 7}', "needs an object"),
    "a system prompt that is no text": (b'\x04{"system_prompt": 5}', "system_prompt must be a string"),
    "turn detection of an unknown type": (b'\x04{"turn_detection": {"type": "magic"}}', "server_vad or none"),
    "a threshold out of range": (b'\x04{"turn_detection": {"type": "server_vad", "threshold": 7}}', "0.05 to 0.95"),
    "a system prompt of 1 MB": (b'\x04{"system_prompt": "' + b"x" * 1_000_000 + b'"}', "at most 65536"),
    "a system prompt of 9,000 characters": (b'\x04{"system_prompt": "' + b"x" * 9000 + b'"}', "at most 8000"),
    "10 MB of audio": (b"\x01" + bytes(10_000_000), "at most 262144"),
    "10 MB of JSON": ("x" * 10_000_000, "at most 65536"),
    "deep JSON": (b"\x04" + b"[" * 60_000, "not JSON"),
    "garbage as audio": (b"\x01" + bytes(range(256)) * 20, "no part of an Ogg page"),
    "endTurn with no audio": (b"\x03\x01", "no audio yet"),
    "pause with no audio": (b"\x03\x02", "no audio yet"),
}


@pytest.fixture(scope="module")
def talkative_engine() -> ScriptedS2s:
    return ScriptedS2s(say("still here"))


@pytest.mark.parametrize("name", BAD)
async def test_bad_input_gets_a_message_that_says_what_was_wrong_and_the_next_turn_works(name, talkative_engine):
    message, expected = BAD[name]
    async with serving(s2s(talkative_engine)) as server, talking(server) as talker:
        await talker.send(message)
        assert expected in await talker.error()
        await talker.start()
        await talker.ask()
        await talker.final()
        assert talker.texts()[-1] == "\n[Final: still here ]"
        assert len(talker.errors()) == 1


async def test_text_in_bad_utf8_is_answered_in_words():
    async with serving(s2s(ScriptedS2s(say("ok")))) as server, talking(server) as talker:
        await talker.socket._writer.send_frame(b"\xff\xfe{", aiohttp.WSMsgType.TEXT)
        assert "not valid UTF-8" in await talker.error()
        await talker.ask()
        await talker.final()


async def test_start_twice_keeps_what_was_said_and_says_so():
    engine = ScriptedS2s(say("ok"))
    async with serving(s2s(engine)) as server, talking(server) as talker:
        writer = sphn.OpusStreamWriter(24_000)
        await talker.start()
        await talker.speak(tone(0.4), writer)
        await talker.start()
        assert "already open" in await talker.error()
        await talker.speak(tone(0.4), writer)
        await talker.end_turn()
        await talker.final()
        assert engine.turns[0].audio.seconds == pytest.approx(0.8, abs=0.05)


async def test_hundreds_of_pauses_are_one_turn():
    engine = ScriptedS2s(say("a fairly long answer, so that all of them arrive meanwhile"))
    async with serving(s2s(engine)) as server, talking(server) as talker:
        await talker.speak(tone(0.4))
        for _ in range(300):
            await talker.send(b"\x03\x02")
        end = await talker.final()
        await until(lambda: len(talker.errors()) == 299)
        assert len(engine.turns) == 1
        await talker.start()
        await talker.ask()
        await talker.final(end)


async def test_audio_after_an_answer_is_ignored_and_ending_that_turn_says_why():
    engine = ScriptedS2s(say("ok"))
    async with serving(s2s(engine)) as server, talking(server) as talker:
        await talker.ask()
        end = await talker.final()
        await talker.ask()
        assert "until you send start" in await talker.error(end)
        await talker.start()
        await talker.ask()
        await talker.final(end)
        assert len(engine.turns) == 2


async def test_a_broken_page_costs_that_page():
    engine = ScriptedS2s(say("ok"))
    async with serving(s2s(engine)) as server, talking(server) as talker:
        pages = opus_pages(tone(1.2))
        pages[10] = b"XXXX" + pages[10][4:]
        for page in pages:
            await talker.send(AudioData(page))
        assert "no part of an Ogg page" in await talker.error()
        await talker.end_turn()
        await talker.final()
        assert engine.turns[0].audio.seconds == pytest.approx(1.16, abs=0.05)


# --- failures ---------------------------------------------------------------------------------------------------------


async def test_an_engine_that_fails_ends_that_turn_with_a_message_and_not_the_session():
    engine = ScriptedS2s(lambda turn: [RuntimeError("secret detail")] if len(engine.turns) == 1 else say("fine")(turn))
    async with serving(s2s(engine)) as server, talking(server) as talker:
        await talker.ask()
        message = await talker.error()
        assert "secret" not in message
        await talker.start()
        await talker.ask()
        await talker.final()
        metrics = await server.metrics()
        assert metrics['s2s_turns_total{outcome="failed"}'] == 1
        assert metrics['s2s_turns_total{outcome="finished"}'] == 1


async def test_speech_that_fails_ends_that_turn_with_a_message():
    engine = ScriptedS2s(lambda turn: say("[raise]" if len(engine.turns) == 1 else "fine")(turn))
    async with serving(s2s(engine)) as server, talking(server) as talker:
        await talker.ask()
        assert "speech synthesis failed" in await talker.error()
        await talker.start()
        await talker.ask()
        await talker.final()


async def test_a_killed_detokenizer_fails_the_waiting_turns_and_the_next_ones_work():
    engine = ScriptedS2s(lambda turn: say(LONG, LONG)(turn) if turn.turn_id.endswith(".1") else say("back again")(turn))
    async with serving(s2s(engine)) as server, talking(server) as one, talking(server) as two:
        for talker in (one, two):
            await talker.ask()
        for talker in (one, two):
            await talker.audio()
        os.kill(server.service.detokenizer.pid, signal.SIGKILL)
        for talker in (one, two):
            assert "stopped unexpectedly" in await talker.error()
            await talker.start()
            await talker.ask()
        for talker in (one, two):
            await talker.final()
            assert talker.texts()[-1] == "\n[Final: back again ]"
        assert (await server.metrics())["s2s_detokenizer_restarts_total"] == 1
        async with aiohttp.ClientSession() as http, http.get(server.url("/health")) as response:
            assert response.status == 200


async def test_shutting_down_lets_the_answer_finish_and_hangs_up_with_going_away():
    engine = ScriptedS2s(say("an answer of some length"))
    async with serving(s2s(engine)) as server, talking(server) as busy, talking(server) as idle:
        await idle.wait_for(lambda m: isinstance(m, Handshake))
        await busy.ask()
        await busy.audio()
        assert await server.app[LIFE].drain(20.0)
        assert busy.texts()[-1].startswith("\n[Final: ")
        assert busy.socket.close_code == idle.socket.close_code == aiohttp.WSCloseCode.GOING_AWAY


async def test_health_tells_engine_and_sessions():
    async with serving(s2s(ScriptedS2s(say("ok")))) as server, talking(server) as talker:
        await talker.wait_for(lambda m: isinstance(m, Handshake))
        async with aiohttp.ClientSession() as http, http.get(server.url("/health")) as response:
            body = await response.json()
        assert (body["status"], body["engine"], body["sessions"], body["device"]) == ("healthy", "scripted", 1, "cpu")


async def test_a_key_is_asked_for_and_taken_from_the_address():
    async with serving(s2s(ScriptedS2s(say("ok")), api_key="s3cret")) as server:
        async with aiohttp.ClientSession() as http:
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                await http.ws_connect(server.url("/api/chat"))
            assert refused.value.status == 401
        async with talking(
            server, "?api_key=s3cret&text_temperature=0.7&text_topk=25&pad_mult=0&audio_seed=1"
        ) as talker:
            await talker.ask()
            await talker.final()


async def test_a_page_of_another_origin_cannot_connect_unless_allowed():
    foreign = {"Origin": "https://localhost:5443"}
    async with serving(s2s(ScriptedS2s(say("ok")))) as server, aiohttp.ClientSession() as http:
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await http.ws_connect(server.url("/api/chat"), headers=foreign)
        assert refused.value.status == 403
    allowed = s2s(ScriptedS2s(say("ok")), allowed_origins=("https://localhost:5443",))
    async with serving(allowed) as server, talking(server, headers=foreign) as talker:
        await talker.wait_for(lambda m: isinstance(m, Handshake))


async def test_a_client_that_takes_nothing_holds_the_engine_back_and_is_hung_up_on_in_the_end(monkeypatch):
    monkeypatch.setattr(chat, "KEEPALIVE_S", 0.2)
    monkeypatch.setattr(chat, "SEND_TIMEOUT_S", 1.0)
    made = []

    def flood(turn: TurnRequest):
        for number in range(1000):
            made.append(number)
            yield TextDelta("x" * 1_000_000)

    engine = ScriptedS2s(flood)
    async with serving(s2s(engine)) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=1024)
        upgrade = (
            "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + "A" * 22
        )
        writer.write(f"GET /api/chat HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n{upgrade}==\r\n\r\n".encode())
        await reader.readuntil(b"\r\n\r\n")
        frames = [AudioData(b"".join(opus_pages(tone(0.4)))), Control(Action.END_TURN)]
        writer.writelines(masked(encode(frame)) for frame in frames)
        await until(lambda: engine.live == 1)
        await until(lambda: engine.live == 0)
        await until(lambda: not server.service.sessions)
        assert len(made) < 50  # of a gigabyte
        writer.close()


def masked(payload: bytes) -> bytes:
    """A binary WebSocket frame as a client sends it, with the mask that changes nothing."""
    return b"\x82\xfe" + len(payload).to_bytes(2, "big") + bytes(4) + payload


# --- functions --------------------------------------------------------------------------------------------------------

WEATHER = {"name": "get_weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}


def calling(turn: TurnRequest):
    """Calls a function; with its result, says it."""
    if not turn.tool_exchanges:
        return [ToolCall("call1", "get_weather", {"city": "Paris"})]
    return say(turn.tool_exchanges[0].results[0].content)(turn)


async def test_a_called_function_s_result_goes_back_into_the_conversation():
    engine = ScriptedS2s(calling)
    async with serving(s2s(engine)) as server, talking(server) as talker:
        await talker.configure(tools=[WEATHER])
        await talker.ask(tone(0.6))
        event = await talker.event("tool_call")  # though no events were asked for
        assert event == {
            "event": "tool_call",
            "turn": 1,
            "id": "call1",
            "name": "get_weather",
            "arguments": {"city": "Paris"},
        }
        end = await talker.final()
        await talker.send(Metadata({"tool_results": [{"id": "call1", "content": "sunny"}]}))
        await talker.final(end)
        assert talker.texts(end) == ["[Processing...]", "sunny ", "\n[Final: sunny ]"]
        await talker.start()
        await talker.ask()
        await until(lambda: len(engine.turns) == 3)
        first, second, third = engine.turns
        assert second.audio is first.audio
        assert [exchange.assistant_text for exchange in third.history] == ["sunny "]


@pytest.mark.parametrize(
    ("results", "complaint"),
    [
        ([{"id": "other", "content": "x"}], "one result for each of call1"),
        ([], "a list of objects"),
        ([{"id": "call1"}], "a list of objects"),
        ([{"id": "call1", "content": "x" * 9000}], "at most 8000"),
    ],
)
async def test_wrong_results_are_refused_and_right_ones_still_taken(results, complaint):
    async with serving(s2s(ScriptedS2s(calling))) as server, talking(server) as talker:
        await talker.configure(tools=[WEATHER])
        await talker.ask()
        end = await talker.final()
        await talker.configure(tool_results=results)
        assert complaint in await talker.error()
        await talker.configure(tool_results=[{"id": "call1", "content": "rain"}])
        await talker.final(end)
        assert talker.texts()[-1] == "\n[Final: rain ]"


async def test_results_that_nobody_waits_for_are_refused():
    async with serving(s2s(ScriptedS2s(say("ok")))) as server, talking(server) as talker:
        await talker.configure(tool_results=[{"id": "call1", "content": "x"}])
        assert "no answer waits" in await talker.error()
        await talker.ask()
        await talker.final()
