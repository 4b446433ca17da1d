"""Whatever a client sends wrongly is answered in words, and the next proper turn works."""

import aiohttp
import pytest

from tests.talk import opus_pages, s2s, say, serving, talking, tone
from web_demo.engines.fakes import ScriptedS2s
from web_demo.server.protocal import AudioData

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


async def test_bad_input_gets_a_message_that_says_what_was_wrong_and_the_next_turn_works():
    async with serving(s2s(ScriptedS2s(say("still here")))) as server:
        for name, (message, expected) in BAD.items():
            async with talking(server) as talker:
                await talker.send(message)
                assert expected in await talker.error(), name
                await talker.start()
                await talker.ask()
                await talker.final()
                assert talker.texts()[-1] == "\n[Final: still here ]", name
                assert len(talker.errors()) == 1, name


async def test_text_in_bad_utf8_is_answered_in_words():
    async with serving(s2s(ScriptedS2s(say("ok")))) as server, talking(server) as talker:
        await talker.socket._writer.send_frame(b"\xff\xfe{", aiohttp.WSMsgType.TEXT)
        assert "not valid UTF-8" in await talker.error()
        await talker.ask()
        await talker.final()


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
