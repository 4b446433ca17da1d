"""Files over real sockets: what was wrong with them is said in every answer, and none of them holds up the others."""

import asyncio
import json

import numpy as np
import pytest

from tests.web_demo.media.files import claims_samples, paused
from tests.web_demo.server.asr.helpers import (
    GO,
    ScriptedAsr,
    encoded,
    eventually,
    form,
    go,
    health,
    post,
    serving,
    speech,
)
from web_demo.audio.samples import Audio, silence, to_wav

DAMAGED = bytearray(encoded(Audio(np.tile(go().samples, 3), 16_000), "mp3", "libmp3lame"))
DAMAGED[len(DAMAGED) // 2 : len(DAMAGED) // 2 + 400] = bytes(400)
SILENT = to_wav(silence(2.0, 16_000))


async def events(response) -> list[dict]:
    lines = [line.removeprefix("data: ") for line in (await response.text()).split("\n\n") if line]
    return [json.loads(line) for line in lines if line != "[DONE]"]


@pytest.mark.parametrize(("content", "says"), [(bytes(DAMAGED), "damaged"), (SILENT, "silent")])
async def test_every_answer_says_what_was_wrong_with_the_recording(content, says):
    async with serving() as client:
        _, body = await post(client, content)
        assert says in body["warning"]
        streamed = await events(await client.post("/api/transcribe", data=form(content, stream="1")))
        assert streamed[-1]["warning"] == body["warning"]
        for shape in ("json", "verbose_json", "text", "srt", "vtt"):
            response = await client.post(
                "/v1/audio/transcriptions", data=form(content, "file", response_format=shape, model="x")
            )
            assert response.status == 200
            said = (await response.json())["warning"] if "json" in shape else response.headers["X-Audio-Warning"]
            assert said == body["warning"]
        response = await client.post("/v1/audio/transcriptions", data=form(content, "file", stream="1", model="x"))
        assert (await events(response))[-1]["warning"] == body["warning"]


async def test_a_good_recording_has_no_warning():
    async with serving() as client:
        _, body = await post(client, GO.read_bytes())
        response = await client.post(
            "/v1/audio/transcriptions", data=form(GO.read_bytes(), "file", response_format="srt")
        )
    assert "warning" not in body
    assert "X-Audio-Warning" not in response.headers


async def test_sound_without_speech_is_said_to_have_none():
    noise = Audio(np.random.default_rng(1).normal(0, 0.1, 32_000).astype(np.float32), 16_000)
    async with serving() as client:
        _, body = await post(client, to_wav(noise))
    assert (body["text"], body["warning"]) == ("", "no speech was heard in 2.0 s of sound")


async def test_segments_come_as_events_and_the_rest_at_the_end():
    async with serving() as client:
        content = to_wav(speech(3, 6.0))
        _, whole = await post(client, content, cues="1")
        *segments, done = await events(await client.post("/api/transcribe", data=form(content, stream="1", cues="1")))
    assert [{name: event[name] for name in ("text", "start", "end")} for event in segments] == whole["segments"]
    assert {event["type"] for event in segments} == {"segment"}
    del whole["segments"]
    assert done == {"type": "done", **whole}


class SecondPieceWaits(ScriptedAsr):
    async def transcribe(self, audio, **options):
        if len(self.asked) == 1:
            self.hold()
        return await super().transcribe(audio, **options)


async def test_the_first_segment_is_sent_while_the_second_is_still_recognised():
    engine = SecondPieceWaits(concurrency=1)
    async with serving(engine) as client:
        response = await client.post("/api/transcribe", data=form(to_wav(speech(3, 6.0)), stream="1"))
        async with asyncio.timeout(60):
            first = await response.content.readuntil(b"\n\n")
        assert json.loads(first.removeprefix(b"data: "))["type"] == "segment"
        await eventually(engine.in_use, 1)
        engine.go_on.set()
        assert b'"done"' in await response.read()


async def test_subtitles_know_that_the_recorder_was_paused():
    """The kind of `gap2.webm`: the second phrase is 10 s after the first in the recording, and right behind it in the file."""
    phrase = go().at(48_000)
    twice = Audio(np.tile(phrase.samples, 2), 48_000)
    content = paused(twice, at_s=phrase.seconds, for_s=10.0)
    async with serving() as client:
        response = await client.post("/v1/audio/transcriptions", data=form(content, "file", response_format="vtt"))
        times = [line for line in (await response.text()).splitlines() if "-->" in line]
    assert len(times) == 2
    minutes, seconds = times[1].split(" ")[0].split(":")[1:]
    assert 60 * int(minutes) + float(seconds) == pytest.approx(phrase.seconds + 10.0, abs=0.5)


async def test_a_file_that_claims_gigabytes_is_refused_and_others_are_served():
    async with serving() as client:
        answers = await asyncio.gather(
            *(post(client, claims_samples(60_000_000)) for _ in range(4)), post(client, GO.read_bytes())
        )
    assert [status for status, _ in answers] == [415, 415, 415, 415, 200]


async def test_much_silence_in_few_bytes_does_not_hold_up_a_short_recording():
    silent = encoded(silence(600.0, 16_000), "flac", "flac", rate=16_000, layout="mono")
    assert len(silent) < 200_000
    async with serving() as client:
        long = [asyncio.create_task(post(client, silent)) for _ in range(4)]
        try:
            await eventually(lambda: health(client, "requests"), 4)
            status, body = await post(client, GO.read_bytes())
            assert (status, body["text"]) == (200, "28 tenths")
            assert not any(task.done() for task in long)
        finally:
            for task in long:
                task.cancel()
            await asyncio.gather(*long, return_exceptions=True)
