"""openai-python's own realtime client, unmodified: its types, its connection, its key."""

import asyncio
import base64
from contextlib import asynccontextmanager

import pytest
from openai import AsyncOpenAI

from tests.speech import recording
from tests.talk import PATIENCE_S, s2s, say, serving
from tests.web_demo.server.wires.realtime.test_turns import WEATHER, calling
from web_demo.audio.samples import Audio, silence, to_int16
from web_demo.engines.fakes import ScriptedS2s

KEY = "secret key"


@asynccontextmanager
async def connection(server, key: str = "none"):
    client = AsyncOpenAI(base_url=server.url("/v1"), api_key=key)
    async with client, client.realtime.connect(model="gpt-realtime", max_retries=0) as made:
        yield made


async def until(connection, kind: str):
    """All events up to the first of this type."""
    seen = []
    async with asyncio.timeout(PATIENCE_S):
        while not seen or seen[-1].type != kind:
            seen.append(await connection.recv())
            assert seen[-1].type != "error", seen[-1]
    return seen


async def append(connection, audio: Audio) -> None:
    data = to_int16(audio.at(24_000).samples).tobytes()
    for start in range(0, len(data), 9_600):
        await connection.input_audio_buffer.append(audio=base64.b64encode(data[start : start + 9_600]).decode())


@pytest.mark.long
async def test_a_human_voice_is_heard_written_down_and_answered_by_the_embedded_engine():
    async with serving(s2s(), patience_s=120) as server, connection(server) as talk:
        await talk.session.update(
            session={"type": "realtime", "audio": {"input": {"transcription": {"model": "whisper-1"}}}}
        )
        await until(talk, "session.updated")
        await append(talk, recording("go_forward_ten_meters"))
        await append(talk, silence(0.8, 24_000))
        seen = await until(talk, "response.done")
        (words,) = [event for event in seen if event.type == "conversation.item.input_audio_transcription.completed"]
        assert words.transcript == "go forward ten meters"
        response = seen[-1].response
        assert response.status == "completed"
        assert response.output[0].content[0].transcript.startswith("You said: go forward ten meters.")
        sound = b"".join(base64.b64decode(event.delta) for event in seen if event.type == "response.output_audio.delta")
        assert len(sound) / 48_000 > 4.0
        await talk.input_audio_buffer.clear()
        await until(talk, "input_audio_buffer.cleared")
        await append(talk, silence(1.0, 24_000))  # nobody speaks: no turn
        await talk.conversation.item.create(
            item={"type": "message", "role": "user", "content": [{"type": "input_text", "text": "who are you"}]}
        )
        await talk.response.create(response={"output_modalities": ["text"]})
        done = (await until(talk, "response.done"))[-1].response
        assert "embedded stand-in" in done.output[0].content[0].text


async def test_a_function_is_called_and_its_result_spoken_an_answer_cut_and_truncated():
    def script(turn):
        return say(*["a long answer"] * 30)(turn) if turn.text == "talk" else calling("call_1")(turn)

    async with serving(s2s(ScriptedS2s(script))) as server, connection(server) as talk:
        await talk.session.update(session={"type": "realtime", "tools": [WEATHER], "output_modalities": ["audio"]})
        await until(talk, "session.updated")
        await talk.conversation.item.create(
            item={"type": "message", "role": "user", "content": [{"type": "input_text", "text": "weather?"}]}
        )
        await talk.response.create()
        (call,) = (await until(talk, "response.done"))[-1].response.output
        assert (call.type, call.name, call.status) == ("function_call", "get_weather", "completed")
        await talk.conversation.item.create(
            item={"type": "function_call_output", "call_id": call.call_id, "output": "sunny"}
        )
        await talk.response.create()
        (message,) = (await until(talk, "response.done"))[-1].response.output
        assert message.content[0].transcript == "sunny "
        await talk.conversation.item.create(
            item={"type": "message", "role": "user", "content": [{"type": "input_text", "text": "talk"}]}
        )
        await talk.response.create()
        await until(talk, "response.output_audio.delta")
        await talk.response.cancel()
        cut = (await until(talk, "response.done"))[-1].response
        assert (cut.status, cut.status_details.reason) == ("cancelled", "client_cancelled")
        await talk.conversation.item.truncate(item_id=cut.output[0].id, content_index=0, audio_end_ms=660)
        assert (await until(talk, "conversation.item.truncated"))[-1].audio_end_ms == 660
        await talk.conversation.item.retrieve(item_id=cut.output[0].id)
        found = (await until(talk, "conversation.item.retrieved"))[-1].item
        assert found.content[0].transcript == "a long answer"
        await talk.conversation.item.delete(item_id=found.id)
        await until(talk, "conversation.item.deleted")


async def test_the_key_is_asked_for():
    async with serving(s2s(ScriptedS2s(say("hi")), api_key=KEY)) as server:
        async with connection(server, KEY) as talk:
            assert (await talk.recv()).type == "session.created"
        with pytest.raises(Exception, match="401"):
            async with connection(server, "wrong"):
                pass
