"""Recordings through the stages of recognition give what the ASR service answers."""

import asyncio
import json
import os
import shutil
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.web_demo.archive.test_run import children_of, rows
from tests.web_demo.server.asr.helpers import SPEECH, ScriptedAsr, form, serving, speech
from web_demo.archive.listing import RECORDINGS, listed
from web_demo.archive.recognising import Recognition
from web_demo.archive.stages import Assembly, Ended, Failed, Part, Task, Written
from web_demo.audio.samples import silence, to_wav
from web_demo.errors import InvalidRequest
from web_demo.server.asr.settings import AsrSettings

ALL = ("json", "srt", "vtt", "txt")


class Scripted(Recognition):
    """With the recogniser of the service's tests."""

    broken: Exception | None = None

    def engine(self, device: str = "") -> ScriptedAsr:
        engine = ScriptedAsr()
        engine.error = self.broken
        return engine


def plan(kind: type[Recognition] = Scripted, formats: Sequence[str] = ALL, **how) -> Recognition:
    return kind(AsrSettings(port=0, engine="embedded", processes=1), formats, **how)


async def through(stages: Recognition, *sources: Path) -> dict[str, Written | Failed]:
    """Each entry's end, by its name below its folder; all in this process."""
    listing = listed([str(source) for source in sources], RECORDINGS)
    tasks = {number: Task(number, entry, entry.inside) for number, entry in enumerate(listing.entries)}
    assembly, splitter, worker = Assembly(stages, tasks), stages.splitter(), stages.worker("")
    made: dict[str, Written | Failed] = {}
    await worker.start()
    try:
        split = [item async for item in splitter.split(tasks.values())]
        outcomes = [
            *await worker.work([item for item in split if isinstance(item, Part)]),
            *(item for item in split if not isinstance(item, Part)),
        ]
        for outcome in reversed(outcomes):  # in an order that is not theirs
            if (end := assembly.take(outcome)) is not None:
                made[tasks[outcome.number].entry.inside] = end
    finally:
        await worker.close()
        await splitter.close()
    return made


async def answers(client, content: bytes) -> dict[str, str]:
    """What the service says of the same recording, in every format."""
    response = await client.post("/api/transcribe", data=form(content))
    told = {"json": await response.text()}
    for name, asked in (("srt", "srt"), ("vtt", "vtt"), ("txt", "text")):
        data = form(content, field="file", response_format=asked)
        told[name] = await (await client.post("/v1/audio/transcriptions", data=data)).text()
    return told


@pytest.fixture
def recordings(tmp_path: Path) -> Path:
    """One of a minute that is cut in many pieces, a short one, and one of silence."""
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "long.wav").write_bytes(to_wav(speech(8, 1.0)))
    shutil.copy(SPEECH / "librivox_0880.wav", folder / "short.wav")
    (folder / "silence.wav").write_bytes(to_wav(silence(2.0, 16_000)))
    return folder


async def test_results_are_those_of_the_service_in_every_format(recordings: Path):
    made = await through(plan(), recordings)
    assert len(made) == 3
    async with serving() as client:
        for name, end in made.items():
            assert isinstance(end, Written)
            files = {kind: content.decode() for kind, content in end.files.items() if isinstance(content, bytes)}
            assert files == await answers(client, (recordings / name).read_bytes())
    long = made["long.wav"]
    assert isinstance(long, Written)
    assert len(json.loads(long.files["json"])["segments"]) > 1
    assert long.columns["words"] == 2 * len(json.loads(long.files["json"])["segments"])


@pytest.mark.parametrize("language", ["English", "zh-Hans-CN"])
async def test_a_language_is_named_as_to_the_service(recordings: Path, language: str):
    short = recordings / "short.wav"
    (end,) = (await through(plan(formats=["json"], language=language), short)).values()
    async with serving() as client:
        response = await client.post("/api/transcribe", data=form(short.read_bytes(), language=language))
        assert isinstance(end, Written)
        assert json.loads(end.files["json"]) == await response.json()


async def test_a_long_recording_is_parts_that_an_engine_takes_and_its_end(recordings: Path):
    stages = plan()
    splitter = stages.splitter()
    (entry,) = listed([str(recordings / "long.wav")], RECORDINGS).entries
    *parts, ended = [item async for item in splitter.split([Task(0, entry, "long")])]
    await splitter.close()
    assert isinstance(ended, Ended)
    assert ended.parts == len(parts) > 1
    assert all(isinstance(part, Part) and part.cost_s <= stages.max_segment_s for part in parts)


async def test_bad_recordings_fail_with_the_reason_that_the_service_gives(recordings: Path):
    (recordings / "noise.wav").write_bytes(os.urandom(5000))
    (recordings / "empty.mp3").touch()
    made = await through(plan(), recordings)
    async with serving() as client:
        for name in ("noise.wav", "empty.mp3"):
            response = await client.post("/api/transcribe", data=form((recordings / name).read_bytes()))
            assert made[name] == Failed(made[name].number, (await response.json())["error"]["message"])  # type: ignore[union-attr]
    assert isinstance(made["short.wav"], Written)


async def test_decoders_that_are_killed_cost_no_recording(recordings: Path):
    (recordings / "long.wav").write_bytes(to_wav(speech(30, 1.0)))
    stages = plan()
    splitter = stages.splitter()
    (entry,) = listed([str(recordings / "long.wav")], RECORDINGS).entries
    task = Task(0, entry, "long")
    parts: dict[int, bytes] = {}
    ended = killed = came = 0
    async for item in splitter.split([task]):
        if not parts:
            for pid in children_of(os.getpid()):
                if b"web_demo.media.nursery" in Path(f"/proc/{pid}/cmdline").read_bytes():  # noqa: ASYNC240
                    for lost in (pid, *children_of(int(pid))):
                        os.kill(int(lost), signal.SIGKILL)
                        killed += 1
        assert not isinstance(item, Failed)
        if isinstance(item, Part):
            came += 1
            assert parts.setdefault(item.index, item.work.pcm) == item.work.pcm  # the same, if it comes again
        else:
            ended = item.parts
    await splitter.close()
    assert killed == 2  # it, and the decoder that it had forked
    assert list(parts) == list(range(ended))
    assert came > ended


async def test_a_manifest_says_the_language_of_each_and_a_wrong_one_is_that_rows_failure(recordings: Path):
    manifest = recordings / "list.jsonl"
    manifest.write_text(
        '{"path": "short.wav", "language": "en", "hotwords": ["Dashwood"]}\n'
        '{"path": "silence.wav", "language": "Klingon"}\n'
    )
    made = await through(plan(), manifest)
    short = made["short.wav"]
    assert isinstance(short, Written)
    assert json.loads(short.files["json"])["language"] == "en"
    assert "Klingon" in made["silence.wav"].error  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("how", "error"),
    [
        ({"formats": ["doc"]}, "got doc"),
        ({"formats": []}, "got none"),
        ({"language": "xx"}, "xx"),
        ({"batch_s": -1.0}, "got -1.0"),
        ({"batch_s": float("nan")}, "got nan"),
    ],
)
def test_what_cannot_be_asked_for_is_refused_before_anything_begins(how: dict, error: str):
    with pytest.raises(InvalidRequest, match=error):
        plan(**how)


async def test_the_program_writes_what_the_embedded_recogniser_hears(tmp_path: Path):
    """The whole of it as a user starts it: the engine in a child, a folder in, a folder out."""
    source = tmp_path / "录音"
    (source / "deep").mkdir(parents=True)
    shutil.copy(SPEECH / "go_forward_ten_meters.wav", source / "deep" / "你好.wav")
    (source / "broken.wav").write_bytes(b"RIFF")
    root = Path(__file__).parents[3]
    program = await asyncio.create_subprocess_exec(
        sys.executable,
        *(
            "scripts/transcribe_archive.py",
            str(source),
            str(tmp_path / "out"),
            "--formats",
            "json,txt",
            "--workers",
            "1",
        ),
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
        stderr=asyncio.subprocess.PIPE,
    )
    _, said = await program.communicate()
    assert program.returncode == 1, said.decode()
    assert (tmp_path / "out" / "deep" / "你好.txt").read_text() == "go forward ten meters\n"
    bad, good = rows(tmp_path / "out")
    assert (bad["status"], good["status"], good["words"], good["engine"]) == ("failed", "ok", 4, "embedded")
    assert good["engine_version"].startswith("pocketsphinx 5")
    assert b"--retry-failed" in said
