"""The CosyVoice3 backend, alone and in the real detokenizer child."""

import asyncio
import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
torch.set_num_threads(1)

from tests.talk import s2s, serving, talking  # noqa: E402
from tests.web_demo.models.cosyvoice3.golden import expanded  # noqa: E402
from web_demo.detokenizer.backend import BackendSpec, Window  # noqa: E402
from web_demo.detokenizer.supervisor import Detokenizer  # noqa: E402
from web_demo.engines.base import SpeechCodes, TextDelta  # noqa: E402
from web_demo.engines.fakes import ScriptedS2s  # noqa: E402
from web_demo.engines.s2s.funaudiochat.detokenizer import create  # noqa: E402
from web_demo.errors import DeviceLost, EngineFailed, NotFound, SetupError  # noqa: E402
from web_demo.server.conversation.chunker import Chunker  # noqa: E402

pytestmark = [pytest.mark.long, pytest.mark.models]


@pytest.fixture(scope="module")
def model_path(tmp_path_factory):
    return str(expanded(tmp_path_factory.mktemp("cosyvoice3") / "golden") / "model")


@pytest.fixture
def backend(model_path):
    return create(model_path=model_path, slots=4)


def codes(seed, count):
    return tuple(np.random.default_rng(seed).integers(0, 6561, count).tolist())


def windows(turn_id, tokens, hops):
    chunker = Chunker(hops)
    cut = [*chunker.push(tokens), chunker.flush()]
    return [Window(turn_id, i, codes=part, last=i == len(cut) - 1) for i, part in enumerate(cut)]


def test_a_turn_s_windows_become_all_of_its_sound_the_first_one_at_once(backend):
    backend.open("a", "")
    sounds = [list(backend.decode([window])) for window in windows("a", codes(1, 90), backend.hop_tokens)]
    backend.close("a")
    assert len(sounds[0]) == 1
    assert sum(len(samples) for window in sounds for _, samples in window) == 90 * 960


def test_turns_in_one_batch_sound_as_they_do_alone(backend):
    spoken = {}
    for turn, seed in (("a", 1), ("b", 2)):
        backend.open(turn, "tiny_male")
        parts = [s for window in windows(turn, codes(seed, 70), (28, 25)) for _, s in backend.decode([window])]
        spoken[turn] = np.concatenate(parts)
        backend.close(turn)
    for turn in ("a", "b"):
        backend.open(turn, "tiny_male")
    together = {"a": [], "b": []}
    pairs = zip(windows("a", codes(1, 70), (28, 25)), windows("b", codes(2, 70), (28, 25)), strict=True)
    for pair in pairs:
        for turn, samples in backend.decode(pair):
            together[turn].append(samples)
    for turn, expected in spoken.items():
        assert np.abs(np.concatenate(together[turn]) - expected).mean() < 1e-4


@pytest.mark.parametrize(
    ("error", "seen"),
    [
        (torch.AcceleratorError("CUDA error: device-side assert triggered"), DeviceLost),
        (torch.OutOfMemoryError("no memory left"), torch.OutOfMemoryError),
    ],
)
def test_an_error_of_the_device_but_not_a_lack_of_memory_means_that_it_is_lost(backend, monkeypatch, error, seen):
    def fail(*_):
        raise error

    backend.open("a", "")
    monkeypatch.setattr(backend._token2wav.flow, "speaker", fail)  # by the first window of a turn
    with pytest.raises(seen):
        list(backend.decode([Window("a", 0, codes=codes(1, 40), last=True)]))


def test_voices_differ_and_an_unknown_one_is_refused(backend):
    spoken = []
    for voice in ("tiny_female", "tiny_male"):
        backend.open("a", voice)
        spoken.append(next(backend.decode([Window("a", 0, codes=codes(1, 40), last=True)]))[1])
        backend.close("a")
    assert np.abs(spoken[0] - spoken[1]).max() > 1e-3
    with pytest.raises(NotFound, match="tiny_female, tiny_male"):
        backend.open("b", "nobody")


def test_a_window_of_a_turn_that_is_not_open_is_passed_over(backend):
    backend.open("a", "")
    batch = [Window("gone", 0, codes=codes(1, 40), last=True), Window("a", 0, codes=codes(1, 40), last=True)]
    assert {turn for turn, _ in backend.decode(batch)} == {"a"}
    backend.close("gone")


def test_a_closed_turn_gives_its_slot_back(backend):
    for _ in range(9):
        backend.open("a", "")
        list(backend.decode([Window("a", 0, codes=codes(1, 30))]))
        backend.close("a")


def test_an_answer_longer_than_a_stream_ends_without_failing_its_neighbour(backend):
    backend.open("long", "")
    backend.open("short", "")
    list(backend.decode([Window("long", 0, codes=codes(1, 1))]))
    stream = backend._streams["long"]
    stream.cursor.feed([0] * (stream.cursor.room - 10))
    batch = [Window("long", 1, codes=codes(1, 50)), Window("short", 0, codes=codes(1, 28))]
    decoded = backend.decode(batch)
    turns = {turn for turn, _ in [next(decoded) for _ in range(2)]}
    assert "short" in turns
    assert stream.cursor.ended


def test_a_turn_may_be_opened_before_the_one_it_replaces_is_closed(model_path):
    backend = create(model_path=model_path, slots=1)
    backend.open("old", "")
    list(backend.decode([Window("old", 0, codes=codes(1, 28))]))
    backend.open("new", "")
    backend.close("old")
    assert len(list(backend.decode([Window("new", 0, codes=codes(1, 28))]))) == 1


def test_a_window_of_text_is_a_wiring_mistake(backend):
    backend.open("a", "")
    with pytest.raises(ValueError, match="speaks codes"):
        list(backend.decode([Window("a", 0, text="hello")]))


def test_settings_that_cannot_be_met_are_named(model_path, tmp_path):
    with pytest.raises(SetupError, match="float8"):
        create(model_path=model_path, dtype="float8")
    with pytest.raises(SetupError, match="missing"):
        create(model_path=model_path, speakers=str(tmp_path / "missing.pt"))


def without_speakers(model_path, folder):
    shutil.copytree(model_path, folder / "model")
    (folder / "model" / "spk2info.pt").unlink()
    return str(folder / "model")


def test_without_a_speaker_file_the_reference_recording_lends_its_voice(model_path, tmp_path, monkeypatch):
    wav = Path(model_path).parent / "cases" / "prompt_24k.wav"
    monkeypatch.setattr("web_demo.engines.s2s.funaudiochat.detokenizer.REFERENCE_WAV", wav)
    backend = create(model_path=without_speakers(model_path, tmp_path), slots=1)
    for voice in ("", "中文女"):
        backend.open("a", voice)
        assert sum(len(s) for _, s in backend.decode([Window("a", 0, codes=codes(1, 30), last=True)])) == 30 * 960
        backend.close("a")


def test_without_any_voice_it_does_not_start(model_path, tmp_path, monkeypatch):
    monkeypatch.setattr("web_demo.engines.s2s.funaudiochat.detokenizer.REFERENCE_WAV", tmp_path / "nothing.wav")
    with pytest.raises(SetupError, match="no voice to speak with"):
        create(model_path=without_speakers(model_path, tmp_path), slots=1)


async def killed_in_the_middle(detokenizer, speech):
    async for _ in speech.say(codes=codes(2, 2000), last=True):
        os.kill(detokenizer.pid, signal.SIGKILL)


async def test_in_its_child_it_speaks_and_its_death_costs_that_answer_alone(model_path):
    spec = BackendSpec("web_demo.engines.s2s.funaudiochat.detokenizer:create", {"model_path": model_path, "slots": 2})
    async with Detokenizer(spec, open_timeout_s=120) as detokenizer:  # a new child imports torch and loads the weights
        assert (detokenizer.ready.backend, detokenizer.ready.hop_tokens) == ("cosyvoice3", (20, 33, 50))
        async with await detokenizer.open("a") as speech:
            sound = [samples async for samples in speech.say(codes=codes(1, 40), last=True)]
            assert sum(map(len, sound)) == 40 * 960
        async with await detokenizer.open("b") as speech:
            with pytest.raises(EngineFailed, match="stopped unexpectedly"):
                await killed_in_the_middle(detokenizer, speech)
        async with await detokenizer.open("c") as speech:
            sound = [samples async for samples in speech.say(codes=codes(1, 40), last=True)]
            assert sum(map(len, sound)) == 40 * 960


async def test_the_s2s_service_speaks_through_it_to_two_users_at_once(model_path):
    spec = BackendSpec("web_demo.engines.s2s.funaudiochat.detokenizer:create", {"model_path": model_path, "slots": 4})
    answer = codes(3, 75)
    steps = [TextDelta("la"), *(SpeechCodes(answer[i : i + 5]) for i in range(0, 75, 5))]
    engine = ScriptedS2s(lambda turn: steps, speech=spec)
    async with serving(s2s(engine)) as server, talking(server) as one, talking(server) as two:
        await asyncio.gather(one.ask(), two.ask())
        await asyncio.gather(one.final(), two.final())
        for talker in (one, two):
            assert talker.errors() == []
            assert talker.sound().seconds == pytest.approx(3.0, abs=0.2)
            assert np.abs(talker.sound().samples).max() > 0.01


async def test_interrupting_it_leaves_room_for_the_next_answer(model_path):
    spec = BackendSpec("web_demo.engines.s2s.funaudiochat.detokenizer:create", {"model_path": model_path, "slots": 1})
    long, short = codes(4, 1500), codes(5, 40)
    engine = ScriptedS2s(
        lambda turn: [TextDelta("la"), SpeechCodes(long if len(engine.turns) == 1 else short)], speech=spec
    )
    async with serving(s2s(engine)) as server, talking(server) as talker:
        await talker.ask()
        await talker.audio()
        await talker.start()
        position = len(talker.log)
        await talker.ask()
        await talker.final(position)
        assert talker.errors() == []
