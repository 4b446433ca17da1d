"""What is wrong is said in an error with the client's event id; the session lives, and a proper turn follows."""

import asyncio
import base64
import json
from typing import get_args

import aiohttp
from openai.types.realtime import RealtimeClientEvent

from tests.talk import LONG, s2s, say, serving, tone
from tests.web_demo.server.wires.realtime.client import connected
from web_demo.engines.fakes import ScriptedS2s
from web_demo.server.common.realtime.events import MAX_EVENT_BYTES
from web_demo.server.wires.realtime.asking import TYPES

IMAGE = {"type": "input_image", "image_url": "data:image/png;base64,AAAA"}


def item(**fields) -> dict:
    return {"type": "conversation.item.create", "item": fields}


def appended(audio: object) -> dict:
    return {"type": "input_audio_buffer.append", "audio": audio}


def update(**session) -> dict:
    return {"type": "session.update", "session": {"type": "realtime", **session}}


BAD: list[tuple[dict, str, str]] = [
    ({"type": "dance"}, "unknown_event", "session.update, input_audio_buffer.append"),
    ({}, "missing_required_parameter", "type is missing"),
    ({"type": 7}, "invalid_value", "type must be a string"),
    ({"type": "session.update"}, "missing_required_parameter", "session is missing"),
    ({"type": "session.update", "session": [1]}, "invalid_value", "session must be an object"),
    (update(tools="all"), "invalid_value", "session.tools"),
    (update(output_modalities=["smell"]), "invalid_value", "output_modalities"),
    (update(audio={"input": {"format": {"type": "audio/mp3"}}}), "invalid_value", "session.audio.input.format.type"),
    (update(audio={"input": {"turn_detection": {"type": "esp"}}}), "invalid_value", "turn_detection.type"),
    (update(audio={"output": {"speed": 9}}), "invalid_value", "session.audio.output.speed"),
    (update(instructions="x" * 40_000), "invalid_value", "session.instructions"),
    (update(extra="x" * 300_000), "session_too_large", "characters"),
    ({"type": "session.update", "session": {"type": "transcription"}}, "invalid_value", "session.type"),
    (appended(None), "invalid_value", "base64"),
    (appended(7), "invalid_value", "base64"),
    (appended("no base64!"), "invalid_base64", "not base64"),
    (appended(base64.b64encode(b"odd").decode()), "invalid_value", "3 bytes"),
    (appended("A" * 8_000_000), "audio_too_long", "one event may hold 120 s"),
    ({"type": "input_audio_buffer.commit"}, "input_audio_buffer_commit_empty", "100 ms"),
    (item(type="message", role="user", content=[IMAGE]), "unsupported_content_type", "no images"),
    (item(type="message", role="user", content=[]), "invalid_value", "content"),
    (item(type="message", role="robot", content=[]), "invalid_value", "role"),
    (item(type="message", role="user", content=[{"type": "input_text"}]), "missing_required_parameter", "text"),
    (item(type="message", role="user", content=[{"type": "input_audio", "audio": "x"}]), "invalid_base64", "base64"),
    (item(type="message", role="user", content="hi"), "invalid_value", "list"),
    (
        item(type="message", role="user", content=[{"type": "input_text", "text": "x" * 40_000}]),
        "invalid_value",
        "40000",
    ),
    (item(type="thought"), "invalid_value", "item.type"),
    (item(type="function_call", call_id="c", name="f", arguments="{"), "invalid_value", "arguments"),
    (item(type="function_call_output", call_id="nobody", output="x"), "invalid_value", "no call 'nobody'"),
    (item(type="function_call_output", output="x"), "missing_required_parameter", "call_id"),
    ({"type": "conversation.item.create"}, "missing_required_parameter", "item is missing"),
    ({"type": "conversation.item.retrieve", "item_id": "x"}, "item_retrieve_invalid_item_id", "no item 'x'"),
    ({"type": "conversation.item.delete", "item_id": "x"}, "item_delete_invalid_item_id", "no item 'x'"),
    ({"type": "conversation.item.delete"}, "missing_required_parameter", "item_id"),
    (
        {"type": "conversation.item.truncate", "item_id": "x", "content_index": 0, "audio_end_ms": 5},
        "item_truncate_invalid_item_id",
        "no item",
    ),
    ({"type": "conversation.item.truncate", "item_id": "x", "audio_end_ms": -5}, "invalid_value", "audio_end_ms"),
    ({"type": "response.create", "response": {"conversation": "mine"}}, "invalid_value", "conversation"),
    ({"type": "response.create", "response": {"tool_choice": "some"}}, "invalid_value", "tool_choice"),
    ({"type": "response.create", "response": {"metadata": {"a": 1}}}, "invalid_value", "response.metadata.a"),
    ({"type": "response.create", "response": {"metadata": {str(n): "" for n in range(20)}}}, "invalid_value", "16"),
    (
        {
            "type": "response.create",
            "response": {"conversation": "none", "input": [{"type": "item_reference", "id": "x"}]},
        },
        "invalid_item_id",
        "no item 'x'",
    ),
    ({"type": "response.cancel"}, "response_cancel_not_active", "no response"),
    ({"type": "response.cancel", "response_id": "resp_x"}, "response_cancel_not_active", "no such response"),
]
RAW: list[tuple[bytes, str]] = [
    (b"", "invalid_json"),
    (b"hello", "invalid_json"),
    (b"[1]", "invalid_json"),
    (b"\xff\xfe", "invalid_json"),
    (b'{"type": "session.update", "session": ' + b"[" * 5_000 + b"]" * 5_000 + b"}", "invalid_json"),
    (b'{"type": "session.update", "n": NaN}', "invalid_json"),
    (b'{"type": "\\ud800"}', "invalid_json"),
    (b'{"type": "session.update", "session": [' + b"0," * 30_000 + b"0]}", "event_too_large"),
    (b'"' + b"x" * MAX_EVENT_BYTES + b'"', "event_too_large"),
]


async def test_every_wrong_event_gets_its_error_and_a_proper_turn_follows():
    async with serving(s2s(ScriptedS2s(say("ok")))) as server, connected(server) as client:
        await client.by_hand()
        for number, (event, code, words) in enumerate(BAD):
            here = client.here
            await client.socket.send_str(json.dumps({**event, "event_id": f"e{number}"}))
            error = await client.error(here)
            assert (error["code"], error["event_id"]) == (code, f"e{number}"), (event, error)
            assert words in error["message"], error
            assert error["type"] == "invalid_request_error"
        assert len(client.of("error")) == len(BAD)
        here = client.here
        await client.append(tone(0.4))
        await client.send("input_audio_buffer.commit")
        await client.send("response.create")
        assert (await client.done(here))["status"] == "completed"


async def test_what_is_no_event_at_all_is_an_error_and_a_proper_turn_follows():
    async with serving(s2s(ScriptedS2s(say("ok")))) as server, connected(server) as client:
        for message, code in RAW:
            here = client.here
            await client.socket.send_frame(message, aiohttp.WSMsgType.TEXT)  # not what `send_str` would let through
            error = await client.error(here)
            assert (error["code"], error["event_id"]) == (code, None), (message[:80], error)
        here = client.here
        await client.ask("hi")
        assert (await client.done(here))["status"] == "completed"


async def test_an_item_whose_id_is_taken_and_a_second_response_are_refused():
    async with serving(s2s(ScriptedS2s(say(LONG)))) as server, connected(server) as client:
        await client.say("hi", id="a")
        await client.say("ho", id="a")
        assert "already" in (await client.error())["message"]
        here = client.here
        await client.send("response.create", event_id="one")
        await client.send("response.create", event_id="two")
        error = await client.error(here)
        assert (error["code"], error["event_id"]) == ("conversation_already_has_active_response", "two")
        await client.wait("response.output_audio.delta")
        assert len(client.of("response.created")) == 1


async def test_a_truncation_past_the_end_is_refused_and_a_little_past_it_taken():
    async with serving(s2s(ScriptedS2s(say("Hello there.")))) as server, connected(server) as client:
        await client.ask("hi")
        said = (await client.done())["output"][0]
        for end_ms, taken in ((5_000, False), (900, True)):
            here = client.here
            event = {"item_id": said["id"], "content_index": 0, "audio_end_ms": end_ms}
            await client.send("conversation.item.truncate", **event)
            if taken:
                await client.wait("conversation.item.truncated", here)
            else:
                assert "shorter" in (await client.error(here))["message"]


async def test_a_flood_of_updates_is_answered_one_by_one_and_holds_up_nobody_else():
    async with serving(s2s(ScriptedS2s(say("ok")))) as server, connected(server) as flood, connected(server) as client:
        session = {"type": "realtime", "instructions": "x" * 20_000}

        async def pour() -> None:
            for _ in range(400):
                await flood.send("session.update", session=session)

        pouring = asyncio.create_task(pour())
        await flood.wait("session.updated")
        await client.ask("hi")
        assert (await client.done())["status"] == "completed"
        await pouring
        here = flood.here
        await flood.ask("hi")
        await flood.done(here)
        assert len(flood.of("session.updated")) == 400
        assert flood.of("error") == []


async def test_more_sound_than_may_come_is_said_and_the_rest_is_kept():
    engine = ScriptedS2s(say("ok"))
    async with serving(s2s(engine)) as server, connected(server) as client:
        await client.by_hand()
        minute = base64.b64encode(bytes(60 * 48_000)).decode()
        for _ in range(3):
            await client.send("input_audio_buffer.append", audio=minute)
        assert (await client.error())["code"] == "invalid_audio"
        await client.send("input_audio_buffer.commit")
        await client.send("response.create")
        assert (await client.done())["status"] == "completed"


def test_the_known_events_are_those_that_the_client_s_types_have():
    union, *_ = get_args(RealtimeClientEvent)
    known = {get_args(one.model_fields["type"].annotation)[0] for one in get_args(union)}
    assert known - set(TYPES) == {"output_audio_buffer.clear"}  # WebRTC alone
    assert set(TYPES) <= known
