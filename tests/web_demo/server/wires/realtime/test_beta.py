"""The protocol before general availability, by openai-python's own client of it, unmodified, and held against its types."""

import asyncio
import base64
from contextlib import asynccontextmanager
from typing import get_args

import aiohttp
from openai import AsyncOpenAI
from openai.types.beta.realtime import RealtimeServerEvent

from tests.speech import recording
from tests.talk import PATIENCE_S, s2s, say, serving
from tests.web_demo.server.wires.realtime.test_turns import WEATHER, calling
from web_demo.audio.g711 import MU_LAW
from web_demo.audio.samples import silence
from web_demo.engines.fakes import ScriptedS2s

_UNION, *_ = get_args(RealtimeServerEvent)
TYPES = {get_args(one.model_fields["type"].annotation)[0]: one for one in get_args(_UNION)}


@asynccontextmanager
async def connection(server):
    address = server.url("/v1")  # that client makes wss:// of it, whatever it was
    client = AsyncOpenAI(base_url=address, websocket_base_url=address.replace("http", "ws", 1), api_key="none")
    async with client, client.beta.realtime.connect(model="gpt-4o-realtime-preview") as made:
        yield made


async def until(connection, kind: str) -> list:
    """All events up to the first of this type, each as the types have it."""
    seen = []
    async with asyncio.timeout(PATIENCE_S):
        while not seen or seen[-1].type != kind:
            seen.append(await connection.recv())
            TYPES[seen[-1].type].model_validate(seen[-1].to_dict())
    return seen


async def test_a_spoken_turn_by_telephone_has_the_events_of_that_time():
    async with serving(s2s(ScriptedS2s(say("Hello there.")))) as server, connection(server) as talk:
        created, conversation = await talk.recv(), await talk.recv()
        assert (created.type, created.session.input_audio_format) == ("session.created", "pcm16")
        assert created.session.modalities == ["audio", "text"]
        assert created.session.turn_detection.type == "server_vad"
        assert conversation.type == "conversation.created"
        await talk.session.update(
            session={
                "modalities": ["text", "audio"],
                "input_audio_format": "g711_ulaw",
                "output_audio_format": "g711_alaw",
                "input_audio_transcription": {"model": "whisper-1"},
                "voice": "verse",
                "temperature": 0.7,
                "max_response_output_tokens": 500,
            }
        )
        session = (await until(talk, "session.updated"))[-1].session
        assert (session.input_audio_format, session.output_audio_format) == ("g711_ulaw", "g711_alaw")
        assert (session.voice, session.temperature, session.max_response_output_tokens) == ("verse", 0.7, 500)
        assert session.input_audio_transcription.model == "whisper-1"
        spoken = recording("go_forward_ten_meters").at(8_000).samples
        for part in (spoken, silence(0.8, 8_000).samples):
            for start in range(0, len(part), 1600):
                audio = base64.b64encode(MU_LAW.encode(part[start : start + 1600])).decode()
                await talk.input_audio_buffer.append(audio=audio)
        seen = await until(talk, "response.done")
        kinds = list(dict.fromkeys(event.type for event in seen))
        assert [kind for kind in kinds if "transcription" not in kind] == [
            "input_audio_buffer.speech_started",
            "input_audio_buffer.speech_stopped",
            "input_audio_buffer.committed",
            "conversation.item.created",
            "response.created",
            "response.output_item.added",
            "response.content_part.added",
            "response.audio_transcript.delta",
            "response.audio.delta",
            "response.audio.done",
            "response.audio_transcript.done",
            "response.content_part.done",
            "response.output_item.done",
            "response.done",
        ]
        response = seen[-1].response
        assert (response.output_audio_format, response.voice) == ("g711_alaw", "verse")
        assert response.conversation_id == conversation.conversation.id
        assert [(part.type, part.transcript) for part in response.output[0].content] == [("audio", "Hello there. ")]
        sound = b"".join(base64.b64decode(event.delta) for event in seen if event.type == "response.audio.delta")
        assert len(sound) / 8_000 > 0.3  # a byte a sample


async def test_a_written_turn_and_a_function_and_what_is_wrong_by_the_name_that_was_sent():
    async with serving(s2s(ScriptedS2s(calling("call_1")))) as server, connection(server) as talk:
        await talk.session.update(session={"tools": [WEATHER], "tool_choice": "auto", "turn_detection": None})
        assert (await until(talk, "session.updated"))[-1].session.turn_detection is None
        content = [{"type": "input_text", "text": "weather?"}]
        await talk.conversation.item.create(item={"type": "message", "role": "user", "content": content})
        await talk.response.create(response={"modalities": ["text"]})
        (call,) = (await until(talk, "response.done"))[-1].response.output
        await talk.conversation.item.create(
            item={"type": "function_call_output", "call_id": call.call_id, "output": "sunny"}
        )
        await talk.response.create(response={"modalities": ["text"]})
        seen = await until(talk, "response.done")
        assert {"response.text.delta", "response.text.done"} <= {event.type for event in seen}
        (message,) = seen[-1].response.output
        assert [(part.type, part.text) for part in message.content] == [("text", "sunny ")]
        await talk.session.update(session={"input_audio_format": "opus"})
        error = (await until(talk, "error"))[-1].error
        assert error.param == "session.input_audio_format.type"
        assert "session.input_audio_format" in error.message


async def test_browsers_say_so_by_a_subprotocol_and_others_speak_the_protocol_of_today():
    async with serving(s2s(ScriptedS2s(say("hi")))) as server, aiohttp.ClientSession() as http:
        for protocols, names in (
            (("realtime", "openai-insecure-api-key.none", "openai-beta.realtime-v1"), ["input_audio_format", "voice"]),
            (("realtime", "openai-insecure-api-key.none"), ["audio", "output_modalities"]),
        ):
            async with http.ws_connect(server.url("/v1/realtime"), protocols=protocols) as socket:
                assert socket.protocol == "realtime"
                assert set(names) <= set((await socket.receive_json())["session"])
