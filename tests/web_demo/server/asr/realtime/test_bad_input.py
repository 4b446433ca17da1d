"""Whatever a client sends: the right error with its event's id, the session lives, and a proper utterance is heard after it."""

import json

import pytest

from tests.web_demo.server.asr.helpers import serving, speech
from tests.web_demo.server.asr.realtime.talk import pcm, silence, talking
from web_demo.server.asr.realtime import wire

APPEND = "input_audio_buffer.append"
COMMIT = "input_audio_buffer.commit"
INPUT = "session.audio.input"


def update(**fields) -> tuple[str, dict]:
    return "session.update", {"session": fields}


def update_input(**fields) -> tuple[str, dict]:
    return update(type="transcription", audio={"input": fields})


@pytest.mark.parametrize(
    ("event", "code", "param"),
    [
        (("response.create", {}), "unknown_event", "type"),
        (("dance", {"very": {"deep": []}}), "unknown_event", "type"),
        ((APPEND, {}), "invalid_value", "audio"),
        ((APPEND, {"audio": 7}), "invalid_value", "audio"),
        ((APPEND, {"audio": ["AAAA"]}), "invalid_value", "audio"),
        ((APPEND, {"audio": "not base64!"}), "invalid_base64", "audio"),
        ((APPEND, {"audio": "AAAA"}), "invalid_value", "audio"),  # three bytes: half a sample
        ((APPEND, {"audio": "A" * 4_000_000}), "audio_too_long", "audio"),
        ((COMMIT, {}), "input_audio_buffer_commit_empty", None),
        (("session.update", {}), "invalid_value", "session"),
        (("session.update", {"session": "x"}), "invalid_value", "session"),
        (update(type="realtime"), "invalid_value", "session.type"),
        (update(type="dance"), "invalid_value", "session.type"),
        (update(audio=[]), "invalid_value", "session.audio"),
        (update(more="x" * 300_000), "session_too_large", "session"),
        (update_input(format={"type": "audio/opus"}), "invalid_value", f"{INPUT}.format.type"),
        (update_input(format={"type": "audio/pcm", "rate": 0}), "invalid_value", f"{INPUT}.format.rate"),
        (update_input(turn_detection={"type": "psychic"}), "invalid_value", f"{INPUT}.turn_detection.type"),
        (update_input(turn_detection={"threshold": "loud"}), "invalid_value", f"{INPUT}.turn_detection.threshold"),
        (update_input(transcription={"language": "klingon"}), "invalid_value", f"{INPUT}.transcription.language"),
        (update_input(transcription={"keywords": ["x" * 200]}), "invalid_value", f"{INPUT}.transcription.keywords"),
        (update_input(transcription=5), "invalid_value", f"{INPUT}.transcription"),
    ],
)
async def test_a_wrong_event_gets_its_error_and_the_session_lives(
    event: tuple[str, dict], code: str, param: str | None
):
    kind, fields = event
    async with serving() as client, talking(client) as talk:
        event_id = await talk.send(kind, **fields)
        error = (await talk.until("error"))["error"]
        assert (error["event_id"], error["code"], error["param"]) == (event_id, code, param)
        assert error["type"] == "invalid_request_error"
        await talk.append(pcm(speech(1, 1.0)))
        assert (await talk.completed())["transcript"]


@pytest.mark.parametrize(
    "message", ["{", "[]", "7", '{"type": "x", "a": "\\ud800"}', "", "[" * 100_000, b"\xff\xfe", b"{}"]
)
async def test_what_is_no_event_gets_an_error_and_the_session_lives(message: str | bytes):
    async with serving() as client, talking(client) as talk:
        await (talk.socket.send_bytes(message) if isinstance(message, bytes) else talk.socket.send_str(message))
        assert (await talk.until("error"))["error"]["event_id"] is None
        await talk.append(pcm(speech(1, 1.0)))
        await talk.completed()


async def test_a_refused_update_changes_nothing():
    async with serving() as client, talking(client) as talk:
        before = talk.said[0]["session"]
        wrong = {"transcription": {"language": "en"}, "turn_detection": {"threshold": 7}}
        await talk.send("session.update", session={"audio": {"input": wrong}})
        await talk.until("error")
        await talk.send("session.update", session={})
        assert (await talk.until("session.updated"))["session"] == before


async def test_a_second_commit_finds_nothing():
    async with serving() as client, talking(client) as talk:
        await talk.update(turn_detection=None)
        await talk.append(silence(0.3))
        await talk.send(COMMIT)
        event_id = await talk.send(COMMIT)
        assert (await talk.until("error"))["error"]["event_id"] == event_id


async def test_a_flood_of_updates_is_read_more_slowly_and_each_is_answered(monkeypatch):
    monkeypatch.setattr(wire, "EVENTS_AT_ONCE", 5.0)
    monkeypatch.setattr(wire, "EVENTS_PER_S", 1000.0)
    async with serving() as client, talking(client) as talk:
        for number in range(300):
            await talk.send("session.update", session={"number": number})
        await talk.until("session.updated", 300)
        assert talk.said[-1]["session"]["number"] == 299
        await talk.append(pcm(speech(1, 1.0)))
        await talk.completed()


async def test_formats_may_change_under_way():
    async with serving() as client, talking(client) as talk:
        for kind in ("audio/pcmu", "audio/pcm", "audio/pcma"):
            await talk.update(format={"type": kind})
            await talk.append(bytes(3_200))
        await talk.update(format={"type": "audio/pcm"})
        await talk.append(pcm(speech(1, 1.0)))
        await talk.completed()


async def test_errors_are_json_that_everybody_reads():
    async with serving() as client, talking(client) as talk:
        await talk.socket.send_str(json.dumps({"type": "ü" * 500}))
        assert len((await talk.until("error"))["error"]["message"]) < 400
