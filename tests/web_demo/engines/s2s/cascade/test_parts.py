"""The cascade with other recognisers and other voices than its own."""

import asyncio
from dataclasses import replace

import aiohttp
import numpy as np
import pytest

from tests.speech import recording
from tests.talk import loud_s, s2s, serving, talking, tone, until
from tests.web_demo.server.asr import helpers as asr
from tests.web_demo.server.tts import fakes as tts
from web_demo.audio.samples import Audio
from web_demo.engines import registry
from web_demo.errors import SetupError
from web_demo.server.asr.settings import AsrSettings
from web_demo.server.common.settings import parse
from web_demo.server.s2s.service import SERVICE
from web_demo.server.s2s.settings import S2sSettings
from web_demo.server.server import create_app
from web_demo.server.tts.settings import TtsSettings
from web_demo.text.english_numbers import cardinal


@pytest.fixture
def parts(monkeypatch):
    """A recogniser and a voice under names of the real registry."""
    recogniser, voice = asr.ScriptedAsr(max_segment_s=3.0), tts.ToneTts()
    monkeypatch.setattr(asr, "made", lambda settings: recogniser, raising=False)
    monkeypatch.setattr(tts, "made", lambda settings: voice, raising=False)
    monkeypatch.setitem(registry.ENGINES["asr"], "scripted", f"{asr.__name__}:made")
    monkeypatch.setitem(registry.ENGINES["tts"], "tone", f"{tts.__name__}:made")
    return recogniser, voice


def command_line(*arguments: str):
    return create_app(parse(S2sSettings, ["--port", "0", "--engine", "embedded", *arguments]))


async def test_any_registered_recogniser_and_voice_serve_a_conversation(parts):
    recogniser, voice = parts
    app = command_line("--asr-engine", "scripted", "--tts-engine", "tone", "--tts-voice", "中文男")
    async with serving(app) as server, talking(server) as talker:
        await talker.ask(recording("cards_001"))
        await talker.final()
        seconds = recogniser.asked[-1]["seconds"]  # before it: what the start measured
        assert talker.texts()[-1].startswith(f"\n[Final: You said: {round(seconds * 10)} tenths. I am the")
        spoken = [request.text for request in voice.requests]
        assert spoken[0] == f"You said: {cardinal(round(seconds * 10))} tenths."
        assert {request.voice for request in voice.requests} == {"中文男"}
        assert loud_s(talker.sound()) == pytest.approx(sum(map(len, spoken)) / 20, abs=0.3)


async def test_the_language_and_the_voice_that_a_client_chose_reach_both_and_unknown_ones_are_their_own(parts):
    recogniser, voice = parts
    app = command_line("--asr-engine", "scripted", "--tts-engine", "tone", "--tts-voice", "中文男")
    async with serving(app) as server, talking(server) as talker:
        end = 0
        for language, name in (("zh-CN", "中文女"), ("sv", "nobody")):
            await talker.configure(spoken_language=language, voice=name)
            await talker.start()
            await talker.ask(recording("cards_001"))
            end = await talker.final(end)
    assert [one["language"] for one in recogniser.asked[-2:]] == ["zh", None]
    assert list(dict.fromkeys(request.voice for request in voice.requests)) == ["中文女", "中文男"]


async def test_a_turn_longer_than_the_recogniser_takes_goes_to_it_in_pieces(parts):
    recogniser, _ = parts
    app = command_line("--asr-engine", "scripted", "--tts-engine", "tone")
    async with serving(app) as server, talking(server) as talker:
        before = len(recogniser.asked)  # what the start measured, unless an earlier test's did
        await talker.configure(events=True)
        await talker.ask(asr.speech(3, 1.5))
        transcript = await talker.event("transcript")
    asked = recogniser.asked[before:]
    assert len(asked) == 3
    assert max(piece["seconds"] for piece in asked) <= 3.0
    assert transcript["text"].count("tenths") == 3


@pytest.mark.long
async def test_a_long_turn_leaves_the_recogniser_to_other_conversations_and_to_other_clients(parts):
    """Eight pieces of one turn, then two people who say little: one at the same address, one elsewhere."""
    recogniser, _ = parts
    recogniser.capabilities = replace(recogniser.capabilities, max_concurrency=1)
    app = command_line("--asr-engine", "scripted", "--tts-engine", "tone")
    here, there = {"X-Forwarded-For": "203.0.113.1"}, {"X-Forwarded-For": "203.0.113.2"}
    async with (
        serving(app) as server,
        talking(server, headers=here) as long,
        talking(server, headers=here) as neighbour,
        talking(server, headers=there) as stranger,
    ):
        before = len(recogniser.asked)  # what the start measured
        recogniser.hold()
        await long.ask(asr.speech(8, 1.5))
        await until(lambda: len(recogniser.asked) == before + 1)
        await neighbour.ask(tone(0.5))
        await stranger.ask(tone(0.7))
        await until(lambda: len(server.app[SERVICE].engine._ears._turns._waiting.get("203.0.113.2", ())) == 1)
        await until(lambda: len(server.app[SERVICE].engine._ears._turns._waiting.get("203.0.113.1", ())) == 1)
        recogniser.go_on.set()
        for talker in (long, neighbour, stranger):
            await talker.final()
    order = [round(asked["seconds"], 1) for asked in recogniser.asked[before:]]
    assert len(order) == 10
    assert order.index(0.7) == 1  # another client's turn is next
    assert order.index(0.5) <= 3  # and of one client's conversations none waits for more than a piece of each


async def test_an_interrupted_answer_stops_the_voice(parts):
    _, voice = parts
    app = command_line("--asr-engine", "scripted", "--tts-engine", "tone")
    async with serving(app) as server, talking(server) as talker:
        voice.go.clear()
        responder = server.service.engine._responder
        original = responder.reply
        responder.reply = lambda heard, turn: original("[wait]", turn)
        await talker.ask(recording("cards_001"))
        await until(lambda: voice.live == 1)
        await talker.start()
        await until(lambda: voice.live == 0)


async def test_health_tells_who_listens_and_who_speaks(parts):
    app = command_line("--asr-engine", "scripted", "--tts-engine", "tone")
    async with serving(app) as server, aiohttp.ClientSession() as http, http.get(server.url("/health")) as response:
        health = await response.json()
    assert health["recogniser"] == "scripted: script (cpu)"
    assert health["responder"] == "built-in"
    assert health["voice"] == "tone: sine (cpu)"
    assert health["model"] == "script + built-in + sine"
    assert health["instructions"] is False, "built-in answers follow none"
    assert health["languages"] == ["zh", "en"]
    assert {"name": "中文男", "language": "zh"} in health["voices"]


async def test_by_default_both_are_the_embedded_ones():
    async with serving(s2s()) as server, aiohttp.ClientSession() as http, http.get(server.url("/health")) as response:
        health = await response.json()
    assert health["recogniser"] == "embedded: pocketsphinx en-us (cpu)"
    assert health["voice"] == "embedded: espeak-ng (cpu)"


async def test_a_fault_of_either_part_is_a_fault_of_the_service(parts):
    recogniser, voice = parts
    app = command_line("--asr-engine", "scripted", "--tts-engine", "tone")
    async with serving(app) as server:
        recogniser.broken = "no ears"
        assert server.service.health.state() == ("unhealthy", "no ears")
        recogniser.broken, voice.broken = None, "no voice"
        assert server.service.health.state() == ("unhealthy", "no voice")


@pytest.mark.long
async def test_a_voice_of_another_rate_keeps_its_length(parts):
    _, voice = parts
    voice.sample_rate = 16_000
    app = command_line("--asr-engine", "scripted", "--tts-engine", "tone")
    async with serving(app) as server, talking(server) as talker:
        await talker.ask(recording("cards_001"))
        await talker.final()
        characters = sum(len(request.text) for request in voice.requests)
        assert loud_s(talker.sound()) == pytest.approx(1.5 * characters / 20, abs=0.3)


@pytest.mark.long
async def test_the_openai_engines_put_our_own_services_into_a_conversation():
    """Over sockets: the S2S service in front of the ASR and the TTS service."""
    listens, speaks = asr.ScriptedAsr(), tts.ToneTts()
    async with asr.serving(listens) as asr_service, tts.serving(engine=speaks) as tts_service:
        app = command_line(
            *("--asr-engine", "openai", "--asr-base-url", str(asr_service.make_url("/v1"))),
            *("--tts-engine", "openai", "--tts-base-url", f"{tts_service._base_url}v1"),
        )
        async with serving(app) as server, talking(server) as talker, aiohttp.ClientSession() as http:
            await talker.ask(recording("cards_001"))
            await talker.final()
            async with http.get(server.url("/health")) as response:
                health = await response.json()
    assert "tenths. I am the embedded stand-in" in talker.texts()[-1]
    assert loud_s(talker.sound()) > 4.0
    assert health["recogniser"].startswith("openai: script (http://127.0.0.1:")
    assert health["voice"].startswith("openai: sine (http://127.0.0.1:")
    assert speaks.requests[0].voice == "中文女"  # "alloy", in our names


async def test_silence_is_not_sent_to_a_recogniser_that_would_make_words_of_it():
    listens = asr.ScriptedAsr()
    async with asr.serving(listens) as asr_service:
        app = command_line("--asr-engine", "openai", "--asr-base-url", str(asr_service.make_url("/v1")))
        async with serving(app) as server, talking(server) as talker:
            await talker.ask(Audio(np.zeros(24_000, np.float32), 24_000))
            assert "no speech was heard" in await talker.error()
    assert listens.asked == []


@pytest.mark.parametrize(
    ("arguments", "option"),
    [(["--asr-engine", "openai"], "--asr-base-url"), (["--tts-engine", "openai"], "--tts-base-url")],
)
def test_an_openai_part_without_an_address_is_refused_in_words(arguments, option):
    with pytest.raises(SetupError, match=option):
        command_line(*arguments)


def test_a_voice_for_an_engine_that_has_its_own_is_refused():
    with pytest.raises(
        SetupError, match="--tts-engine openai works with --engine embedded only, not with funaudiochat"
    ):
        create_app(parse(S2sSettings, ["--engine", "funaudiochat", "--tts-engine", "openai"]))


def test_the_parts_get_the_settings_of_their_services():
    settings = parse(S2sSettings, ["--asr-engine", "funasr", "--tts-engine", "cosyvoice3", "--device", "cuda:1"])
    assert settings.recogniser.model_path == AsrSettings().model_path
    assert settings.voice.model_path == TtsSettings().model_path
    assert (settings.recogniser.device, settings.voice.device) == ("cuda:1", "cuda:1")


async def test_two_turns_speak_side_by_side_and_no_more_than_the_voice_allows():
    from web_demo.engines.s2s.cascade.voice import EngineVoice

    engine = tts.ToneTts(max_concurrency=2)
    voice = EngineVoice(engine)
    await voice.start()

    async def say() -> int:
        async with await voice.open("t") as speech:
            return sum([len(samples) async for samples in speech.say(text="[wait] ten")])

    talks = [asyncio.create_task(say()) for _ in range(3)]
    await until(lambda: engine.live == 2)
    engine.go.set()
    assert await asyncio.gather(*talks) == [10 * 1200] * 3
    await voice.close()


async def test_the_voice_gets_words_and_an_answer_without_any_is_told_of(parts):
    _, voice = parts
    app = command_line("--asr-engine", "scripted", "--tts-engine", "tone")
    answers = ["**Three** cats, 3 👍 of them. See [this](http://e.org).", "👍👍"]

    async def reply(heard, turn):
        for character in answers.pop(0):
            yield character

    async with serving(app) as server, talking(server) as talker:
        server.service.engine._responder.reply = reply
        await talker.ask(recording("cards_001"))
        await talker.final()
        assert [request.text for request in voice.requests] == ["Three cats, three of them.", "See this."]
        await talker.start()
        await talker.ask(recording("cards_001"))
        await until(lambda: len(voice.requests) == 3)
        assert voice.requests[-1].text == "The answer has no words that can be spoken."
