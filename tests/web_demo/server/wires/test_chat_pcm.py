"""`/api/chat?audio=pcm16`, over a real socket."""

import numpy as np
import pytest
from aiohttp import ClientSession, WSServerHandshakeError

from tests.speech import recording
from tests.talk import s2s, say, serving
from web_demo.audio.pcm import Coding
from web_demo.engines.fakes import ScriptedS2s
from web_demo.server.protocal import Action, AudioData, Control, Handshake, Text, decode, encode


async def test_sound_goes_both_ways_as_pcm_of_the_clients_rate():
    engine = ScriptedS2s(say("Ten meters it is."))
    speech = recording("go_forward_ten_meters").at(44_100)
    spoken = b""
    async with (
        serving(s2s(engine)) as server,
        ClientSession() as http,
        http.ws_connect(server.url("/api/chat?audio=pcm16&rate=44100")) as socket,
    ):
        assert decode(await socket.receive_bytes()) == Handshake()
        sound = Coding.PCM16.encode(speech.samples)
        for start in range(0, len(sound), 30_000):
            await socket.send_bytes(encode(AudioData(sound[start : start + 30_000])))
        await socket.send_bytes(encode(Control(Action.END_TURN)))
        while not (isinstance(message := decode(await socket.receive_bytes()), Text) and "[Final" in message.text):
            spoken += message.payload if isinstance(message, AudioData) else b""
    heard = engine.turns[0].audio
    assert heard.seconds == pytest.approx(speech.seconds, abs=0.05)
    answer = Coding.PCM16.decode(spoken)
    assert len(answer) / 44_100 == pytest.approx(17 * 0.05, abs=0.1)  # the fake voice: 50 ms a character
    assert np.argmax(np.abs(np.fft.rfft(answer))) * 44_100 / len(answer) == pytest.approx(440, abs=3)


@pytest.mark.parametrize("query", ["audio=mp3", "audio=pcm16&rate=96000", "audio=pcm16&rate=x", "audio=pcm16&rate=-1"])
async def test_sound_of_another_kind_is_refused_before_the_conversation(query):
    async with serving(s2s(ScriptedS2s(say("hi")))) as server, ClientSession() as http:
        with pytest.raises(WSServerHandshakeError) as refused:
            await http.ws_connect(server.url(f"/api/chat?{query}"))
    assert refused.value.status == 400
