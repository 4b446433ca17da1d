"""A machine without a GPU, with the models of sherpa-onnx in place: all three services take them, and Chinese passes through."""

import json
import subprocess
import sys
from contextlib import AsyncExitStack

import aiohttp
from aiohttp import web

from tests import tiny_sherpa
from tests.speech import recording
from tests.talk import Server, loud_s, s2s, serving, talking, until
from web_demo.audio.samples import from_wav, to_int16, to_wav
from web_demo.server import asr_server, tts_server
from web_demo.server.asr.settings import AsrSettings
from web_demo.server.common.service import HEALTH
from web_demo.server.tts.settings import TtsSettings

WHERE = {"asr": "Fun-ASR-Nano-2512", "tts": "Fun-CosyVoice3-0.5B-2512"}  # the defaults, of which nothing is there


async def started(stack: AsyncExitStack, app: web.Application) -> Server:
    server = await stack.enter_async_context(serving(app, ready=False))
    await until(lambda: app[HEALTH].state()[0] != "loading")
    assert app[HEALTH].state() == ("healthy", "")
    return server


async def test_auto_takes_sherpa_in_all_three_services_and_a_chinese_turn_passes_through_the_stack(tmp_path):
    tiny_sherpa.sense_voice(tmp_path / "sense-voice")
    tiny_sherpa.streaming_paraformer(tmp_path / "paraformer")
    tiny_sherpa.matcha(tmp_path / "matcha")
    paths = {kind: tmp_path / name for kind, name in WHERE.items()}
    async with AsyncExitStack() as stack:
        heard = await started(stack, asr_server.create_app(AsrSettings(port=0, model_path=paths["asr"])))
        spoken = await started(stack, tts_server.create_app(TtsSettings(port=0, model_path=paths["tts"])))
        app = s2s(
            model_path=tmp_path / "Fun-Audio-Chat-8B",
            asr_model_path=paths["asr"],
            tts_model_path=paths["tts"],
            asr_url=f"http://127.0.0.1:{heard.port}",
            tts_url=f"http://127.0.0.1:{spoken.port}",
        )
        server = await started(stack, app)
        http = await stack.enter_async_context(aiohttp.ClientSession())
        for service, engine in ((heard, "sherpa"), (spoken, "sherpa"), (server, "embedded")):
            async with http.get(service.url("/health")) as answer:
                health = await answer.json()
                assert (health["status"], health["engine"]) == ("healthy", engine)
        assert health["recogniser"] == "sherpa: sense-voice (cpu)"
        assert health["voice"] == "sherpa: matcha (cpu)"
        assert "download_models" not in json.dumps(health["better"])  # nothing of it is missing

        async with talking(server) as talker:
            await talker.ask(recording("cards_001"))
            await talker.final()
            assert talker.texts()[-1].startswith("\n[Final: 现在是")
            assert loud_s(talker.sound()) > 1.0

        form = aiohttp.FormData()
        form.add_field("audio", to_wav(recording("cards_001")), filename="turn.wav")
        async with http.post(server.url("/api/transcribe"), data=form) as answer:
            body = await answer.json()
        assert (body["text"], body["language"]) == (tiny_sherpa.SAID, "中文")
        speech = {"input": "你好！", "voice": "onyx", "response_format": "wav"}
        async with http.post(server.url("/v1/audio/speech"), json=speech) as answer:
            assert answer.status == 200
            assert from_wav(await answer.read()).seconds > 0.2
        async with http.get(spoken.url("/api/speakers")) as answer:
            speakers = (await answer.json())["speakers"]
        assert speakers[:2] == [
            {"name": "中文女", "kind": "built-in", "language": "zh"},
            {"name": "英文女", "kind": "built-in", "language": "en"},
        ]

        texts = []
        async with http.ws_connect(heard.url("/api/transcribe/stream")) as socket:
            sound = to_int16(recording("cards_001").at(16_000).samples).tobytes()
            for start in range(0, len(sound), 3_200):
                await socket.send_bytes(sound[start : start + 3_200])
            await socket.send_json({"type": "end"})
            async for message in socket:
                texts.append((said := json.loads(message.data))["type"] + ":" + said.get("text", ""))
        assert f"final:{tiny_sherpa.SAID}" in texts
        partials = [text.removeprefix("partial:") for text in texts if text.startswith("partial:")]
        assert partials
        assert all(tiny_sherpa.STREAMED.startswith(text) for text in partials)


def test_a_recogniser_and_a_voice_are_measured_together(tmp_path):
    tiny_sherpa.sense_voice(tmp_path / "ears")
    tiny_sherpa.kokoro(tmp_path / "voice")
    (tmp_path / "lines.txt").write_text("现在几点了\n")
    command = (
        sys.executable,
        "-m",
        "scripts.benchmarks.heard",
        "--engine",
        "sherpa",
        "--model-path",
        str(tmp_path / "ears"),
    )
    spoken = ("--spoken-by", "sherpa", "--voice-path", str(tmp_path / "voice"), "--texts", str(tmp_path / "lines.txt"))
    done = subprocess.run((*command, *spoken), capture_output=True, text=True, check=True)
    figures = json.loads(done.stdout.splitlines()[-1])
    assert (figures["words"], figures["engine"], figures["spoken_by"]) == (5, "sherpa", "sherpa")
    assert figures["wrong"] in (0, 5)  # a hum may or may not be taken for a voice
    assert figures["voice_real_time_factor"] > 0
