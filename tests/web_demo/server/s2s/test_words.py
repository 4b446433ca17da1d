"""What users say, in words, with a speech model that knows none of them: on both wires, beside the answer."""

import pytest

from tests.speech import recording
from tests.talk import s2s, serving, talking
from tests.web_demo.server.asr import helpers as asr
from tests.web_demo.server.asr.helpers import ScriptedAsr
from tests.web_demo.server.wires.realtime.client import connected
from web_demo.audio.samples import silence
from web_demo.engines import registry
from web_demo.engines.base import SpeechText, TextDelta
from web_demo.engines.fakes import ScriptedS2s
from web_demo.errors import EngineFailed

KEY = "secret"
COMPLETED = "conversation.item.input_audio_transcription.completed"
FAILED = "conversation.item.input_audio_transcription.failed"


class SpeechModel(ScriptedS2s):
    """Hears sound, and tells nobody the words."""

    def __init__(self) -> None:
        super().__init__(lambda turn: [TextDelta("Yes. "), SpeechText("Yes.")])

    async def transcribe(self, audio, client=""):
        return None


@pytest.fixture
async def ears():
    engine = ScriptedAsr()
    engine.text = "go forward"
    async with asr.serving(engine, api_key=KEY) as client:
        engine.url = str(client.make_url(""))
        yield engine


async def spoken(client) -> None:
    await client.configure(audio={"input": {"transcription": {"model": "any"}}})
    await client.append(recording("go_forward_ten_meters"))
    await client.append(silence(0.8, 24_000))


async def test_the_asr_service_is_asked_beside_the_answer_which_does_not_wait(ears):
    ears.hold()
    app = s2s(SpeechModel(), asr_url=ears.url, api_key=KEY)
    headers = {"Authorization": f"Bearer {KEY}"}
    async with serving(app) as server, connected(server, headers=headers) as client:
        await spoken(client)
        assert (await client.done())["status"] == "completed"
        assert client.of(COMPLETED) == []
        ears.go_on.set()
        words = await client.wait(COMPLETED)
        assert words["transcript"] == "go forward"
        assert words["item_id"] == client.of("input_audio_buffer.committed")[0]["item_id"]
        await client.send("conversation.item.retrieve", item_id=words["item_id"])
        found = (await client.wait("conversation.item.retrieved"))["item"]
        assert found["content"][0]["transcript"] == "go forward"


async def test_the_chat_protocol_has_it_as_an_event_for_who_asks(ears):
    headers = {"Authorization": f"Bearer {KEY}"}
    async with (
        serving(s2s(SpeechModel(), asr_url=ears.url, api_key=KEY)) as server,
        talking(server, headers=headers) as talker,
    ):
        await talker.configure(events=True, transcription=True)
        await talker.ask(recording("go_forward_ten_meters"))
        assert await talker.event("transcript") == {"event": "transcript", "text": "go forward", "taken": 1}


@pytest.mark.parametrize("down", [True, False])
async def test_a_service_that_cannot_costs_the_transcript_and_nothing_else(ears, down):
    ears.error = EngineFailed("told to")
    app = s2s(SpeechModel(), asr_url="http://127.0.0.1:9" if down else ears.url, api_key=KEY)
    async with serving(app) as server, connected(server, headers={"api-key": KEY}) as client:
        await spoken(client)
        failed = await client.wait(FAILED)
        assert ("does not answer" if down else "status 500") in failed["error"]["message"]
        assert (await client.done())["status"] == "completed"
        assert client.of("error") == []


async def test_a_recogniser_of_its_own_is_asked_where_one_is_named(monkeypatch):
    engine = ScriptedAsr(max_segment_s=1.0)
    monkeypatch.setattr(asr, "made", lambda settings: engine, raising=False)
    monkeypatch.setitem(registry.ENGINES["asr"], "scripted", f"{asr.__name__}:made")
    async with serving(s2s(SpeechModel(), asr_engine="scripted")) as server, connected(server) as client:
        await spoken(client)
        assert (await client.wait(COMPLETED))["transcript"].endswith("tenths")
        assert len(engine.asked) > 1  # in pieces, as it takes them
