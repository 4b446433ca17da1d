"""OpenAI's realtime transcription over a real WebSocket. Every event is checked against the types of OpenAI's client."""

import asyncio
import base64

import aiohttp
import pytest

from tests.speech import recording
from tests.web_demo.server.asr.helpers import ScriptedAsr, eventually, go, health, serving, speech
from tests.web_demo.server.asr.realtime.talk import TRANSCRIPTION, URL, pcm, silence, talking
from web_demo.audio.g711 import MU_LAW
from web_demo.audio.pcm import Coding
from web_demo.errors import EngineFailed
from web_demo.server.asr import hearing
from web_demo.server.asr.realtime import wire
from web_demo.server.common.service import LIFE

ITEM = [
    "input_audio_buffer.speech_started",
    "input_audio_buffer.speech_stopped",
    "input_audio_buffer.committed",
    "conversation.item.added",
    "conversation.item.done",
    f"{TRANSCRIPTION}.completed",
]


# --- what is said ---


async def test_an_utterance_is_an_item_from_its_beginning_to_its_transcript():
    async with serving() as client, talking(client) as talk:
        await talk.append(pcm(speech(1, 1.0)))
        done = await talk.completed()
    assert talk.kinds == ["session.created", *ITEM]
    assert {event["item_id"] for event in talk.said if "item_id" in event} == {done["item_id"]}
    started, stopped = talk.said[1], talk.of("input_audio_buffer.speech_stopped")[0]
    assert started["audio_start_ms"] < 300
    assert 2_500 < stopped["audio_end_ms"] < 3_700
    assert done["usage"]["seconds"] == pytest.approx(
        (stopped["audio_end_ms"] - started["audio_start_ms"]) / 1000, abs=0.01
    )
    assert done["languages"] == [{"code": "zh"}]


async def test_deltas_come_while_somebody_speaks_and_make_the_transcript():
    engine = ScriptedAsr()
    engine.text = "go forward ten meters"
    async with serving(engine) as client, talking(client) as talk:
        for _ in range(12):  # as a microphone would
            await talk.append(pcm(speech(1, 0.0))[: 48_000 * 2][_ * 8_000 : (_ + 1) * 8_000])
            await asyncio.sleep(0.05)
        await talk.append(silence(1.0))
        done = await talk.completed()
    deltas = talk.of(f"{TRANSCRIPTION}.delta")
    assert "".join(delta["delta"] for delta in deltas) == done["transcript"] == "go forward ten meters"
    assert {delta["item_id"] for delta in deltas} == {done["item_id"]}


async def test_items_follow_one_another():
    async with serving() as client, talking(client) as talk:
        await talk.append(pcm(speech(2, 1.5)))
        await talk.completed(2)
    first, second = talk.of("input_audio_buffer.committed")
    assert (first["previous_item_id"], second["previous_item_id"]) == (None, first["item_id"])
    added = talk.of("conversation.item.added")
    assert [event["previous_item_id"] for event in added] == [None, first["item_id"]]
    assert [event["item"]["id"] for event in added] == [first["item_id"], second["item_id"]]
    assert [event["audio_start_ms"] for event in talk.of(ITEM[0])] == pytest.approx([0, 4_200], abs=350)


async def test_speech_without_a_pause_is_several_items():
    engine = ScriptedAsr(max_segment_s=2.0)
    async with serving(engine) as client, talking(client) as talk:
        await talk.append(pcm(speech(3, 0.0)) + silence(1.0))
        await talk.completed(4)
    assert len(talk.of(ITEM[0])) >= 4
    assert all(asked["seconds"] <= 2.05 for asked in engine.asked)


async def test_without_turn_detection_the_client_commits():
    async with serving() as client, talking(client) as talk:
        assert (await talk.update(turn_detection=None))["turn_detection"] is None
        await talk.append(pcm(go()))
        await talk.send("input_audio_buffer.commit")
        done = await talk.completed()
    assert talk.kinds == ["session.created", "session.updated", *ITEM[2:]]
    assert done["usage"]["seconds"] == pytest.approx(go().seconds, abs=0.02)


async def test_a_long_buffer_is_transcribed_in_the_engines_pieces():
    engine = ScriptedAsr(max_segment_s=4.0)
    async with serving(engine) as client, talking(client) as talk:
        await talk.update(turn_detection=None)
        await talk.append(pcm(speech(3, 1.5)), 96_000)
        await talk.send("input_audio_buffer.commit")
        await talk.completed()
    assert len(engine.asked) == 3


async def test_a_buffer_of_silence_is_an_item_without_words():
    engine = ScriptedAsr()
    async with serving(engine) as client, talking(client) as talk:
        await talk.update(turn_detection=None)
        await talk.append(silence(1.0))
        await talk.send("input_audio_buffer.commit")
        assert (await talk.completed())["transcript"] == ""
    assert engine.asked == []


async def test_a_commit_ends_what_is_being_said():
    async with serving() as client, talking(client) as talk:
        await talk.append(pcm(go())[:96_000])  # in the middle of it
        started = await talk.until(ITEM[0])
        await talk.send("input_audio_buffer.commit")
        assert (await talk.completed())["item_id"] == started["item_id"]
    assert not talk.of(ITEM[1])


async def test_at_the_end_a_commit_and_a_clear_are_answered_in_their_order():
    """As the agents SDK ends its stream: whether the service had committed already or not."""
    async with serving() as client, talking(client) as talk:
        await talk.append(pcm(speech(1, 1.0)))
        await talk.send("input_audio_buffer.commit")
        await talk.send("input_audio_buffer.clear")
        await talk.until("input_audio_buffer.cleared")
        committed = talk.of("input_audio_buffer.committed")
        while len(talk.of(f"{TRANSCRIPTION}.completed")) < len(committed):
            await talk.completed()
    assert talk.of(f"{TRANSCRIPTION}.completed")[0]["transcript"]


async def test_what_was_cleared_is_in_no_item():
    engine = ScriptedAsr()
    async with serving(engine) as client, talking(client) as talk:
        await talk.update(turn_detection=None)
        await talk.append(pcm(go()))
        await talk.send("input_audio_buffer.clear")
        await talk.append(silence(0.5))
        await talk.send("input_audio_buffer.commit")
        assert (await talk.completed())["usage"]["seconds"] == pytest.approx(0.5, abs=0.03)
    assert engine.asked == []


async def test_of_a_buffer_that_nobody_commits_the_last_minutes_are_kept(monkeypatch):
    monkeypatch.setattr(wire, "MAX_BUFFER_S", 2.0)
    async with serving() as client, talking(client) as talk:
        await talk.update(turn_detection=None)
        await talk.append(silence(5.0), 24_000)
        await talk.send("input_audio_buffer.commit")
        assert (await talk.completed())["usage"]["seconds"] == pytest.approx(2.0, abs=0.05)


# --- the session ---


async def test_a_session_begins_as_openais_own_and_is_told_whole_after_each_change():
    async with serving() as client, talking(client) as talk:
        created = talk.said[0]["session"]
        assert created["type"] == "transcription"
        assert created["audio"]["input"]["format"] == {"type": "audio/pcm", "rate": 24_000}
        assert created["audio"]["input"]["turn_detection"]["silence_duration_ms"] == 500
        changed = await talk.update(transcription={"model": "whisper-1", "language": "en"}, mine={"a": 1})
        assert changed["transcription"] == {"model": "whisper-1", "language": "en", "prompt": None}
        assert changed["turn_detection"] == created["audio"]["input"]["turn_detection"]
        assert changed["mine"] == {"a": 1}


async def test_language_prompt_and_keywords_reach_the_engine():
    engine = ScriptedAsr()
    async with serving(engine) as client, talking(client) as talk:
        await talk.update(transcription={"language": "en", "prompt": "meters", "keywords": ["forward", "ten"]})
        await talk.append(pcm(speech(1, 1.0)))
        await talk.completed()
    assert engine.asked[-1]["language"] == "en"
    assert engine.asked[-1]["hotwords"] == ("forward", "ten", "meters")


async def test_semantic_detection_is_taken_and_its_eagerness_tells_how_long_a_pause_is():
    async with serving() as client, talking(client) as talk:
        assert (await talk.update(turn_detection={"type": "semantic_vad"}))["turn_detection"]["eagerness"] == "auto"
        await talk.update(turn_detection={"type": "semantic_vad", "eagerness": "low"})
        await talk.append(pcm(speech(2, 0.6)) + silence(1.5))
        await talk.completed()
    assert len(talk.of(ITEM[0])) == 1


async def test_what_waits_for_a_commit_is_heard_when_detection_is_turned_on():
    async with serving() as client, talking(client) as talk:
        await talk.update(turn_detection=None)
        await talk.append(pcm(speech(1, 1.0)))
        await talk.update(turn_detection={"type": "server_vad"})
        if not talk.of(f"{TRANSCRIPTION}.completed"):
            await talk.completed()
    assert len(talk.of(ITEM[0])) == 1
    assert talk.of(ITEM[0])[0]["audio_start_ms"] < 300


async def test_what_is_being_said_goes_on_when_detection_is_turned_off():
    async with serving() as client, talking(client) as talk:
        await talk.append(pcm(go())[:96_000])
        started = await talk.until(ITEM[0])
        await talk.update(turn_detection=None)
        await talk.append(silence(1.0))
        await talk.send("input_audio_buffer.commit")
        done = await talk.completed()
    assert done["item_id"] == started["item_id"]
    assert done["usage"]["seconds"] > 2.5


@pytest.mark.parametrize("law", [Coding.MU_LAW, Coding.A_LAW])
async def test_a_phone_call_in_frames_of_20_ms(law: Coding):
    name = {Coding.MU_LAW: "audio/pcmu", Coding.A_LAW: "audio/pcma"}[law]
    async with serving() as client, talking(client) as talk:
        await talk.update(format={"type": name})
        await talk.append(law.encode(speech(1, 1.0).at(8_000).samples), 160)
        done = await talk.completed()
    assert 2.5 < done["usage"]["seconds"] < 3.7
    assert talk.kinds == ["session.created", "session.updated", *ITEM]


async def test_another_rate_of_pcm():
    async with serving() as client, talking(client) as talk:
        talk.check = dict  # OpenAI has no other rate
        await talk.update(format={"type": "audio/pcm", "rate": 16_000})
        await talk.append(pcm(speech(1, 1.0), 16_000))
        assert 2.5 < (await talk.completed())["usage"]["seconds"] < 3.7


# --- who may come in ---


@pytest.mark.parametrize(
    "connect",
    [
        {"headers": {"Authorization": "Bearer key-1"}},
        {"headers": {"api-key": "key-1"}},
        {"protocols": ("realtime", "openai-insecure-api-key.key-1")},
    ],
)
async def test_the_key_comes_in_three_ways(connect):
    async with serving(api_key="key-1") as client, talking(client, **connect) as talk:
        assert talk.socket.protocol == ("realtime" if "protocols" in connect else None)


async def test_without_the_key_nothing_opens():
    async with serving(api_key="key-1") as client:
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await client.ws_connect(URL, protocols=("realtime", "openai-insecure-api-key.key-2"))
    assert refused.value.status == 401


async def test_any_model_and_no_intent_will_do():
    async with serving() as client, talking(client, params={"model": "gpt-realtime-whisper"}) as talk:
        await talk.append(pcm(speech(1, 1.0)))
        await talk.completed()


async def test_more_sessions_than_allowed_are_refused_in_words_until_one_leaves():
    async with serving(max_live=1) as client:
        async with talking(client) as talk:
            async with client.ws_connect(URL) as socket:
                refusal = await socket.receive_json()
                assert (refusal["type"], refusal["error"]["code"]) == ("error", "busy")
                assert (await socket.receive()).type is aiohttp.WSMsgType.CLOSE
                assert socket.close_code == aiohttp.WSCloseCode.TRY_AGAIN_LATER
            await talk.socket.close()
        await eventually(lambda: health(client, "live_streams"), 0)
        async with talking(client):
            pass


async def test_a_service_that_shuts_down_says_goodbye():
    async with serving() as client, talking(client) as talk:
        client.app[LIFE].draining.set()
        assert (await talk.socket.receive()).type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED)
        assert talk.socket.close_code == aiohttp.WSCloseCode.GOING_AWAY


# --- what goes wrong ---


async def test_an_utterance_that_the_engine_cannot_do_fails_and_the_next_is_heard():
    engine = ScriptedAsr()
    engine.error = EngineFailed("no luck")
    async with serving(engine) as client, talking(client) as talk:
        await talk.append(pcm(speech(1, 1.0)))
        failed = await talk.until(f"{TRANSCRIPTION}.failed")
        assert failed["error"]["message"] == "no luck"
        engine.error = None
        await talk.append(pcm(speech(1, 1.0)))
        assert (await talk.completed())["item_id"] != failed["item_id"]


async def test_a_defect_in_the_engine_closes_the_session_with_a_code():
    engine = ScriptedAsr()
    engine.error = RuntimeError("a defect")
    async with serving(engine) as client, talking(client) as talk:
        await talk.append(pcm(speech(1, 1.0)))
        async for _ in talk.socket:
            pass
        assert talk.socket.close_code == aiohttp.WSCloseCode.INTERNAL_ERROR


async def test_a_client_that_leaves_stops_its_recognition():
    engine = ScriptedAsr()
    engine.hold()
    async with serving(engine) as client:
        async with talking(client) as talk:
            await talk.append(pcm(speech(1, 1.0)))
            await asyncio.wait_for(engine.entered.wait(), 20)
        await eventually(engine.in_use, 0)
    assert engine.cancelled == 1


async def test_sound_that_comes_too_fast_is_read_more_slowly_and_heard_whole(monkeypatch):
    monkeypatch.setattr(hearing, "AHEAD_S", 0.5)
    monkeypatch.setattr(hearing, "RATE", 40.0)
    async with serving() as client, talking(client) as talk:
        await talk.append(pcm(speech(2, 2.0)))
        await talk.completed(2)


async def test_a_client_of_the_beta_sets_flat_fields_and_is_told_flat_ones():
    async with (
        serving(ScriptedAsr()) as service,
        service.ws_connect(URL, headers={"OpenAI-Beta": "realtime=v1"}) as socket,
    ):
        created = await socket.receive_json()
        assert created["type"] == "transcription_session.created"
        assert created["session"]["input_audio_format"] == "pcm16"
        fields = {
            "input_audio_format": "g711_ulaw",
            "input_audio_transcription": {"model": "whisper-1", "language": "zh"},
            "turn_detection": None,
        }
        await socket.send_json({"type": "transcription_session.update", "session": fields})
        updated = await socket.receive_json()
        assert updated["type"] == "transcription_session.updated"
        assert {name: updated["session"][name] for name in fields} == {
            **fields,
            "input_audio_transcription": {**fields["input_audio_transcription"], "prompt": None},
        }
        sound = base64.b64encode(MU_LAW.encode(recording("cards_001").at(8_000).samples)).decode()
        await socket.send_json({"type": "input_audio_buffer.append", "audio": sound})
        await socket.send_json({"type": "input_audio_buffer.commit"})
        kinds = []
        while not kinds or not kinds[-1].endswith(("completed", "error")):
            kinds.append((await socket.receive_json())["type"])
        assert kinds == [
            "input_audio_buffer.committed",
            "conversation.item.created",
            f"{TRANSCRIPTION}.delta",
            f"{TRANSCRIPTION}.completed",
        ]
