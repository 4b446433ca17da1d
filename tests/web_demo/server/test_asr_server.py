"""The service over real sockets: what it answers, to good input and to bad."""

import asyncio
import io
import wave

import numpy as np
import pytest

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
from web_demo.audio.samples import silence, to_wav
from web_demo.errors import EngineFailed
from web_demo.server.common.forms import BODIES, BODY_COST


async def test_an_engine_at_fault_makes_the_service_unhealthy_and_is_asked_no_more():
    engine = ScriptedAsr()
    async with serving(engine) as client:
        engine.broken = "the model fell over"
        response = await client.get("/health")
        body = await response.json()
        assert (response.status, body["status"], body["reason"]) == (503, "unhealthy", "the model fell over")
        status, body = await post(client, GO.read_bytes())
    assert (status, body["error"]["code"]) == (503, "unavailable")
    assert "the model fell over" in body["error"]["message"]
    assert engine.asked == []


async def test_a_wav_file_is_transcribed_as_documented():
    async with serving() as client:
        status, body = await post(client, GO.read_bytes())
    assert status == 200
    assert body == {
        "text": "28 tenths",
        "language": "中文",
        "success": True,
        "duration": 2.786,
        "segments": [{"text": "28 tenths", "start": 0.0, "end": 2.786}],
    }


async def test_subtitles_come_along_where_they_are_asked_for():
    engine = ScriptedAsr()
    engine.text = "I said that this is a sentence of more than one line. 好。"
    async with serving(engine) as client:
        _, body = await post(client, GO.read_bytes(), cues="1")
        assert [cue["text"] for cue in body["cues"]] == [
            "I said that this is a sentence\nof more than one line.",
            "好。",
        ]
        assert (body["cues"][0]["start"], body["cues"][0]["end"]) == (0.0, body["cues"][1]["start"])
        status, _ = await post(client, GO.read_bytes(), cues="perhaps")
        assert status == 400


@pytest.mark.parametrize(
    ("container", "codec", "rate", "layout"),
    [
        ("mp3", "libmp3lame", 44_100, "stereo"),
        ("flac", "flac", 96_000, "mono"),
        ("ogg", "libopus", 48_000, "mono"),
        ("ipod", "aac", 44_100, "5.1"),
        ("webm", "libopus", 48_000, "stereo"),
        ("adts", "aac", 8_000, "mono"),
        ("wav", "pcm_s24le", 8_000, "stereo"),
        ("aiff", "pcm_s16be", 22_050, "mono"),
    ],
)
async def test_formats_rates_and_channel_counts_are_read(container, codec, rate, layout):
    engine = ScriptedAsr()
    async with serving(engine) as client:
        status, body = await post(client, encoded(go(), container, codec, rate=rate, layout=layout))
    assert status == 200, body
    assert body["duration"] == pytest.approx(2.8, abs=0.15)
    assert engine.asked[0]["rate"] == 16_000


async def test_options_reach_the_engine():
    engine = ScriptedAsr()
    async with serving(engine) as client:
        status, body = await post(client, GO.read_bytes(), language="英文", hotwords="ten，meters, ,ten", itn="false")
    assert status == 200
    assert body["language"] == "英文"
    asked = engine.asked[0]
    assert (asked["language"], asked["hotwords"], asked["itn"]) == ("en", ("ten", "meters"), False)


@pytest.mark.parametrize("seconds", [0.01, 3.0, 30.0])
async def test_silence_is_a_success_without_text(seconds):
    engine = ScriptedAsr()
    async with serving(engine) as client:
        status, body = await post(client, to_wav(silence(seconds, 16_000)))
    assert (status, body["text"], body["success"], body["segments"]) == (200, "", True, [])
    assert not engine.asked


async def test_long_audio_is_cut_at_silences_and_its_times_are_those_of_the_recording():
    engine = ScriptedAsr(max_segment_s=5.0)
    async with serving(engine) as client:
        status, body = await post(client, to_wav(speech(times=4, gap_s=6.0)))
    assert status == 200
    starts = [segment["start"] for segment in body["segments"]]
    assert starts == pytest.approx([8.786 * n for n in range(4)], abs=0.6)
    assert all(asked["seconds"] <= 5.0 for asked in engine.asked)


async def test_pieces_of_one_recording_are_decoded_side_by_side_up_to_the_engines_limit():
    engine = ScriptedAsr(max_segment_s=5.0, concurrency=3)
    engine.hold()
    async with serving(engine) as client:
        request = asyncio.create_task(post(client, to_wav(speech(times=4, gap_s=6.0))))
        await eventually(engine.in_use, 3)
        engine.go_on.set()
        assert (await request)[1]["text"].count("tenths") == 4
        assert engine.most_running == 3


async def test_what_could_be_read_of_a_truncated_mp3_is_transcribed():
    mp3 = encoded(go(), "mp3", "libmp3lame", rate=44_100)
    async with serving() as client:
        status, body = await post(client, mp3[: len(mp3) // 2])
    assert status == 200
    assert 1.0 < body["duration"] < 1.9


PNG = b"\x89PNG\r\n\x1a\n" + bytes(200)
PLAYLIST = b"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nfile:///etc/passwd\n"
CONCAT = b"ffconcat version 1.0\nfile /etc/passwd\n"


@pytest.mark.parametrize(
    ("content", "status", "reason"),
    [
        (None, 400, "no audio"),
        (b"", 415, "empty"),
        (PNG, 415, "no audio"),
        (PLAYLIST, 415, "no audio"),
        (CONCAT, 415, "no audio"),
        (b"ID3" + bytes(3000), 415, "no audio"),
        (b"fLaC" + bytes(50), 415, "no audio"),
        (b"RIFF\xff\xff\xff\xffWAVE" + PLAYLIST, 415, ""),
    ],
)
async def test_what_is_no_audio_is_refused_with_a_reason(content, status, reason):
    async with serving() as client:
        got, body = await post(client, content)
        assert got == status, body
        assert reason in body["error"]["message"]
        assert body["success"] is False
        assert (await post(client, GO.read_bytes()))[0] == 200


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"language": "klingon"}, "zh (中文), en (英文)"),
        ({"language": "fr"}, "not available"),
        ({"hotwords": ",".join(f"word{n}" for n in range(10_000))}, "at most 200 hotwords are taken, got 10000"),
        ({"hotwords": "<|startofspeech|>!/etc/passwd<|endofspeech|>"}, "tokens"),
        ({"hotwords": "a\x00b"}, "control"),
        ({"hotwords": "x" * 65}, "at most 64 characters"),
        ({"itn": "perhaps"}, "true or false"),
    ],
)
async def test_wrong_options_get_a_400_that_says_what_there_is(fields, reason):
    async with serving() as client:
        status, body = await post(client, GO.read_bytes(), **fields)
    assert status == 400
    assert reason in body["error"]["message"]


async def test_another_content_type_is_refused():
    async with serving() as client:
        response = await client.post("/api/transcribe", data=GO.read_bytes(), headers={"Content-Type": "audio/wav"})
        assert response.status == 415
        assert "audio/wav" in (await response.json())["error"]["message"]


async def test_a_body_that_is_no_form_is_refused():
    async with serving() as client:
        for headers in ({"Content-Type": "multipart/form-data"}, {"Content-Type": "multipart/form-data; boundary=x"}):
            response = await client.post("/api/transcribe", data=b"nothing like it", headers=headers)
            assert response.status == 400, await response.text()


async def test_the_length_cap_holds_while_decoding():
    async with serving(max_audio_s=2.0) as client:
        status, body = await post(client, GO.read_bytes())
    assert status == 413
    assert "longer than 2 s" in body["error"]["message"]


async def test_a_long_recording_that_is_small_as_a_file_is_refused():
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setparams((1, 1, 4000, 0, "NONE", ""))
        out.writeframes(bytes(900 * 4000))
    async with serving(max_audio_s=600) as client:
        status, body = await post(client, file.getvalue())
    assert status == 413
    assert "600 s" in body["error"]["message"]


async def test_a_forged_sample_rate_is_refused_before_it_becomes_hours_of_sound():
    wav = bytearray(GO.read_bytes())
    wav[24:28] = (1).to_bytes(4, "little")
    async with serving() as client:
        status, body = await post(client, bytes(wav))
    assert status == 415
    assert "the sample rate is 1 Hz" in body["error"]["message"]


async def test_an_upload_over_the_cap_is_refused_before_it_is_read_whole():
    sent = 0

    async def body():
        nonlocal sent
        yield b'--b\r\nContent-Disposition: form-data; name="audio"; filename="a"\r\n\r\n'
        for _ in range(400):
            sent += 1 << 20
            yield bytes(1 << 20)

    async with serving(max_upload_mb=1) as client:
        headers = {"Content-Type": "multipart/form-data; boundary=b"}
        try:
            response = await client.post("/api/transcribe", data=body(), headers=headers)
            assert response.status == 413
        except ConnectionError:
            pass  # the service hung up while the client was still sending
        assert sent < 100 << 20
        assert (await post(client, GO.read_bytes()))[0] == 200


async def _raw(client, head: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", client.server.port)
    writer.write(
        b"POST /api/transcribe HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n"
        b"Content-Type: multipart/form-data; boundary=b\r\n\r\n" + head
    )
    await writer.drain()
    return reader, writer


HALF = b'--b\r\nContent-Disposition: form-data; name="audio"; filename="a"\r\n\r\nRIFF'


async def test_a_client_that_stalls_is_told_so_and_others_are_served_meanwhile():
    async with serving(body_s=0.5) as client:
        reader, writer = await _raw(client, HALF)
        assert (await post(client, GO.read_bytes()))[0] == 200
        answer = await asyncio.wait_for(reader.readuntil(b"}}"), 10)
        writer.close()
    assert answer.startswith(b"HTTP/1.1 408")
    assert b"came too slowly" in answer


async def test_uploads_that_never_end_take_nobody_s_place():
    async with serving(ScriptedAsr(concurrency=1), max_queue=0) as client:
        bodies = client.server.app[BODIES]
        held = [await _raw(client, HALF) for _ in range(50)]
        async with asyncio.timeout(20):
            while bodies.taken < 50 * BODY_COST:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        assert (await post(client, GO.read_bytes()))[0] == 200
        for _, writer in held:
            writer.transport.abort()
        async with asyncio.timeout(20):
            while bodies.taken:  # noqa: ASYNC110
                await asyncio.sleep(0.02)


async def test_a_client_that_goes_away_stops_its_work():
    engine = ScriptedAsr()
    engine.hold()
    async with serving(engine) as client:
        request = asyncio.create_task(client.post("/api/transcribe", data=form(GO.read_bytes())))
        await engine.entered.wait()
        request.cancel()
        await asyncio.gather(request, return_exceptions=True)
        await eventually(engine.in_use, 0)
        assert engine.cancelled == 1
        metrics = await (await client.get("/metrics")).text()
        assert "service_hangups_total 1.0" in metrics


async def test_above_the_queue_requests_get_429_and_running_ones_finish():
    engine = ScriptedAsr(concurrency=1)
    engine.hold()
    async with serving(engine, max_queue=1) as client:
        running = [asyncio.create_task(post(client, GO.read_bytes(), address=f"10.0.0.{who}")) for who in (1, 2)]
        await eventually(lambda: health(client, "requests"), 2)
        response = await client.post("/api/transcribe", data=form(GO.read_bytes()))
        assert response.status == 429
        assert int(response.headers["Retry-After"]) >= 1
        engine.go_on.set()
        assert [status for status, _ in await asyncio.gather(*running)] == [200, 200]
        assert engine.most_running == 1
        assert (await post(client, GO.read_bytes()))[0] == 200


async def test_one_client_with_many_recordings_leaves_half_of_the_places_to_others():
    engine = ScriptedAsr(concurrency=1)
    engine.hold()
    async with serving(engine, max_queue=3) as client:
        running = [asyncio.create_task(post(client, GO.read_bytes(), address="10.0.0.1")) for _ in range(2)]
        await eventually(lambda: health(client, "requests"), 2)
        status, body = await post(client, GO.read_bytes(), address="10.0.0.1")
        assert (status, "2 places are yours" in body["error"]["message"]) == (429, True)
        running.append(asyncio.create_task(post(client, GO.read_bytes(), address="10.0.0.2")))
        await eventually(lambda: health(client, "requests"), 3)
        engine.go_on.set()
        assert [status for status, _ in await asyncio.gather(*running)] == [200, 200, 200]


async def test_health_says_what_runs():
    async with serving() as client:
        body = await (await client.get("/health")).json()
    assert {"status": "healthy", "model": "script", "device": "cpu", "engine": "scripted"}.items() <= body.items()


async def test_samples_that_are_no_numbers_do_not_reach_the_engine():
    samples = go().samples.copy()
    samples[100:200] = np.nan
    samples[300] = np.inf
    head = encoded(go(), "wav", "pcm_f32le", rate=16_000, layout="mono")
    data = head[: head.index(b"data") + 8] + samples.astype("<f4").tobytes()
    async with serving() as client:
        status, body = await post(client, data)
    assert (status, body["text"]) == (200, "28 tenths")


async def test_a_failing_engine_is_a_500_with_its_reason_and_a_defect_is_one_without():
    engine = ScriptedAsr()
    async with serving(engine) as client:
        engine.error = EngineFailed("the worker died")
        status, body = await post(client, GO.read_bytes())
        assert (status, body["error"]) == (500, {"code": "engine_failed", "message": "the worker died"})
        engine.error = RuntimeError("a secret detail")
        status, body = await post(client, GO.read_bytes())
        assert (status, body["error"]["code"]) == (500, "internal_error")
        assert "secret" not in body["error"]["message"]
        engine.error = None
        assert (await post(client, GO.read_bytes()))[0] == 200
