"""What the voice is given of a text, and that silence is never a success."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import aiohttp
import numpy as np
import pytest

from tests.web_demo.server.tts.fakes import ToneTts, serving
from web_demo.audio.samples import Samples
from web_demo.engines.base import SpeechRequest
from web_demo.server.tts.settings import TtsSettings


class MuteTts(ToneTts):
    """Of texts with "mute" it makes `noise` and no more."""

    def __init__(self, noise: float | None) -> None:
        super().__init__()
        self.noise = noise

    async def synthesize(self, request: SpeechRequest) -> AsyncGenerator[Samples, None]:
        if "mute" not in request.text:
            async for samples in super().synthesize(request):
                yield samples
        elif self.noise is not None:
            yield np.full(4800, self.noise, np.float32)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"text": "You have 3 👍 likes!"}, "You have three likes!"),
        ({"text": "# Title\n\nRun `ls` **3** times"}, "Title. Run ls three times"),
        ({"text": "so **bold** 2", "markdown": False}, "so bold two"),
        ({"text": "24/7"}, "二十四七"),
        ({"text": "24/7", "language": "English"}, "twenty four seven"),
        ({"text": "24/7", "speaker_id": "alloy"}, "二十四七"),
    ],
)
async def test_the_voice_gets_words(body: dict[str, object], words: str) -> None:
    engine = ToneTts()
    async with serving(engine=engine) as client:
        async with client.post("/api/synthesize", json=body) as answer:
            assert answer.status == 200
        async with client.post("/api/synthesize?explain=1", json=body) as answer:
            assert " ".join((await answer.json())["pieces"]) == words
    assert " ".join(request.text for request in engine.requests) == words


async def test_an_explanation_tells_language_and_pieces_and_speaks_nothing() -> None:
    engine = ToneTts()
    async with serving(engine=engine) as client:
        async with client.post(
            "/api/synthesize?explain=1", json={"text": "房间有50㎡。离这里30㎞，很近很近。"}
        ) as answer:
            assert await answer.json() == {
                "language": "zh",
                "pieces": ["房间有五十平方米。离这里三十公里，很近很近。"],
                "success": True,
            }
        form = aiohttp.FormData({"text": "3 cats"}, default_to_multipart=True)
        async with client.post("/api/synthesize?explain=true", data=form) as answer:
            assert (await answer.json())["pieces"] == ["three cats"]
        async with client.post("/api/synthesize?explain=1", json={"text": "👍 …"}) as answer:
            assert answer.status == 400
        async with client.post("/api/synthesize", json={"text": "3", "language": "no language"}) as answer:
            assert answer.status == 400
    assert engine.requests == []


@pytest.mark.parametrize("noise", [None, 0.0, 1e-6])
@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/synthesize", {"text": "mute"}),
        ("/api/synthesize", {"text": "mute", "stream": True}),
        ("/v1/audio/speech", {"input": "mute", "voice": "alloy"}),
        ("/v1/audio/speech", {"input": "mute", "voice": "alloy", "stream_format": "sse"}),
    ],
)
async def test_a_voice_that_gives_no_sound_is_named_in_a_502(
    path: str, body: dict[str, object], noise: float | None
) -> None:
    async with serving(engine=MuteTts(noise)) as client, client.post(path, json=body) as answer:
        assert answer.status == 502
        error = (await answer.json())["error"]
        assert error["code"] == "no_sound"
        assert "中文女" in error["message"]


async def test_one_silent_sentence_of_many_is_passed_over_and_counted() -> None:
    async with serving(engine=MuteTts(0.0)) as client:
        text = "This is the first one. This one is mute. This is the last one."
        async with client.post("/api/synthesize", json={"text": text}) as answer:
            assert answer.status == 200
        async with client.get("/metrics") as answer:
            assert "tts_silent_pieces_total 1.0" in await answer.text()


async def test_rules_that_raise_are_counted_and_the_text_is_spoken_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(text: str) -> str:
        raise AssertionError("no path")

    monkeypatch.setattr("web_demo.text.frontend._RULES", {"en": broken})
    engine = ToneTts()
    async with serving(engine=engine) as client:
        async with client.post("/api/synthesize", json={"text": "It broke at 3 of them."}) as answer:
            assert answer.status == 200
        async with client.get("/metrics") as answer:
            assert "tts_text_failures_total 1.0" in await answer.text()
    assert engine.requests[0].text == "It broke at 3 of them."


PAIRS = [
    ("１２：３０", "12:30"),
    ("会议在１５：３０开始", "会议在15:30开始"),
    ("exam\u00adple of in\u00adcom\u00adpre\u00adhen\u00adsi\u00adble words", "example of incomprehensible words"),
    ("cafe\u0301 naive", "café naive"),
    ("房间有50㎡。", "房间有50平方米。"),
    ("这是**加粗**文字。", "这是加粗文字。"),
    ("See [our page](https://example.org/a/b?c=1) now.", "See our page now."),
    ("# Title\n\nFirst line.", "Title.\n\nFirst line."),
    ("You have 3 👍 likes!", "You have three likes!"),
    ("It was $1,234.56.", "It was one thousand two hundred thirty four dollars and fifty six cents."),
    ("10%-20%", "百分之十到百分之二十"),
]


async def test_pairs_that_mean_the_same_are_as_long_on_the_embedded_voice() -> None:
    async with serving(TtsSettings(port=0, engine="embedded")) as client:
        for pair in PAIRS:
            durations = []
            for text in pair:
                async with client.post("/api/synthesize", json={"text": text}) as answer:
                    durations.append((await answer.json())["duration"])
            assert durations[0] == pytest.approx(durations[1], rel=0.05), pair
