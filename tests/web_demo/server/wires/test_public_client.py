"""The recorded session of the public browser client over a real socket, as fast as it goes: with the embedded engine and
with a scripted one."""

import asyncio

import aiohttp
import pytest

from tests.public_client import Sent, session
from tests.talk import Talker, s2s, serving, talking, until
from web_demo.audio.vad import speech_spans
from web_demo.engines.base import Heard, SpeechText, TextDelta, TurnRequest
from web_demo.engines.fakes import ScriptedS2s
from web_demo.server.protocal import Action, AudioData, Control, Error, Text, decode

pytestmark = pytest.mark.long


async def test_the_public_client_is_answered_in_its_first_two_turns():
    recorded = session()
    starts = []
    app = s2s(allowed_origins=(recorded.origin,))
    async with serving(app) as server, talking(server, params=recorded.query, origin=recorded.origin) as talker:
        await talker.wait_for(lambda m: True)
        for message in recorded.messages:
            if decode(message.data) == Control(Action.START):  # the user had heard something of the answer
                await until(lambda: sounds(talker, since=starts[-1] if starts else 0) > 20)
                starts.append(len(talker.log))
            await talker.send(message.data)
        first, second, third = 0, *starts
        for begin, end in ((first, second), (second, third)):
            answer = talker.messages()[begin:end]
            text = "".join(message.text for message in answer if isinstance(message, Text))
            assert text.startswith("[Processing...]You said: ")
            assert "forward ten meters" in text
        assert not any(isinstance(message, Text) for message in talker.messages()[third:])  # nobody ended that turn
        assert talker.errors() == []
        assert not talker.closed


def sounds(talker: Talker, since: int) -> int:
    return sum(isinstance(message, AudioData) for message in talker.messages(since))


PAUSE, START = b"\x03\x02", b"\x03\x00"


def parts() -> list[list[Sent]]:
    """The session, each part up to and with a control message: turn, start, turn, start."""
    cut: list[list[Sent]] = [[]]
    for sent in session().messages:
        cut[-1].append(sent)
        if sent.data in (PAUSE, START):
            cut.append([])
    assert cut.pop() == []
    assert [part[-1].data for part in cut] == [PAUSE, START, PAUSE, START]
    return cut


def answer(turn: TurnRequest) -> list[object]:
    if not turn.history:
        return [Heard("go forward"), TextDelta("short"), SpeechText("short")]
    long = "x" * 100  # 5 s of sound, and never done by itself: it is interrupted
    return [Heard("go forward"), TextDelta(long), SpeechText(long), 3600.0]


async def replay_all(talker: Talker, engine: ScriptedS2s) -> None:
    first, until_start, second, interruption = parts()
    await replay(talker, first)
    await talker.final()
    await replay(talker, until_start)  # its microphone stays open while the answer plays
    position = len(talker.log)
    await replay(talker, second)
    await talker.audio(position)
    await replay(talker, interruption)
    await until(lambda: engine.live == 0)


async def replay(talker: Talker, part: list[Sent]) -> None:
    for sent in part:
        await talker.send(sent.data)


async def test_the_public_client_is_answered_twice_and_interrupts():
    recorded = session()
    engine = ScriptedS2s(answer)
    app = s2s(engine, allowed_origins=(recorded.origin,))
    async with serving(app) as server, talking(server, params=recorded.query, origin=recorded.origin) as talker:
        await replay_all(talker, engine)
        assert talker.errors() == []
        await talker.send(b"\x08")  # its error comes after all that was sent before
        position = await talker.wait_for(lambda message: isinstance(message, Error))
        await asyncio.sleep(0.2)
        assert talker.messages(position) == []  # the interrupted answer is silent
        assert [text for text in talker.texts() if "[Final" in text] == ["\n[Final: short]"]
    one, two = engine.turns
    assert one.system_prompt == two.system_prompt != ""
    assert (one.sampling.temperature, one.sampling.top_k, one.sampling.seed) == (0.7, 25, 662804)
    # Each turn holds what was said from its beginning to its `pause`, and nothing of the time between.
    assert one.audio.seconds == pytest.approx(5.3, abs=0.2)
    assert two.audio.seconds == pytest.approx(3.55, abs=0.2)
    assert all(list(speech_spans(turn.audio.samples)) for turn in (one, two))
    assert [exchange.assistant_text for exchange in two.history] == ["short"]


async def test_without_leave_the_public_client_is_refused_for_its_origin():
    async with serving(s2s(ScriptedS2s(answer))) as server:
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            async with talking(server, origin=session().origin):
                pass
    assert refused.value.status == 403
