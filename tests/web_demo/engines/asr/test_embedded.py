import asyncio
import os
import signal
from collections.abc import AsyncIterator

import numpy as np
import pytest
import pytest_asyncio

from tests.talk import until
from web_demo.audio.samples import Audio
from web_demo.engines.asr.embedded import EmbeddedAsr, create
from web_demo.errors import InvalidRequest

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def engine() -> AsyncIterator[EmbeddedAsr]:
    engine = create()
    await engine.start()
    yield engine
    await engine.close()


def word_errors(expected: str, heard: str) -> int:
    """Levenshtein distance in words."""
    reference, words = expected.split(), heard.split()
    row = list(range(len(words) + 1))
    for i, wanted in enumerate(reference, 1):
        previous, row[0] = row[:], i
        for j, got in enumerate(words, 1):
            row[j] = min(previous[j] + 1, row[j - 1] + 1, previous[j - 1] + (wanted != got))
    return row[-1]


async def test_people_are_understood_at_most_one_word_in_five_is_wrong(engine, recordings):
    heard = await asyncio.gather(*(engine.transcribe(audio) for audio, _ in recordings.values()))
    wrong = sum(word_errors(text, t.text) for (_, text), t in zip(recordings.values(), heard, strict=True))
    total = sum(len(text.split()) for _, text in recordings.values())
    assert wrong <= total / 5, [t.text for t in heard]


async def test_words_have_times_inside_the_recording_in_order(engine, recordings):
    audio, text = recordings["go_forward_ten_meters"]
    (segment,) = (await engine.transcribe(audio)).segments
    assert [word.text for word in segment.words] == text.split()
    times = [t for word in segment.words for t in (word.start_s, word.end_s)]
    assert times == sorted(times)
    assert times[0] >= 0
    assert times[-1] <= audio.seconds


async def test_two_stretches_of_speech_are_two_segments_at_their_places(engine, recordings):
    audio, _ = recordings["cards_003"]
    gap = np.zeros(32_000, np.float32)
    transcript = await engine.transcribe(Audio(np.concatenate((audio.samples, gap, audio.samples)), 16_000))
    first, second = transcript.segments
    assert first.end_s <= second.start_s
    assert audio.seconds + 1 < second.start_s < audio.seconds + 2.5


async def test_other_sample_rates_are_converted(engine, recordings):
    audio, text = recordings["go_forward_ten_meters"]
    assert (await engine.transcribe(audio.at(48_000))).text == text


async def test_hotwords_lift_hypotheses_that_contain_them_and_unknown_ones_are_named(engine, recordings):
    audio, _ = recordings["librivox_0880"]
    plain = await engine.transcribe(audio)
    biased = await engine.transcribe(audio, hotwords=["ill disposed", "qwertzuiop"])
    assert "ill disposed" not in plain.text
    assert "ill disposed" in biased.text
    assert biased.ignored_hotwords == ("qwertzuiop",)
    assert [w.text for s in biased.segments for w in s.words] == biased.text.split()


async def test_a_request_does_not_change_the_result_of_the_next(engine, recordings):
    audio, _ = recordings["cards_005"]
    before = await engine.transcribe(audio)
    loud, _ = recordings["librivox_0870"]
    await asyncio.gather(*(engine.transcribe(loud, hotwords=["leisure"]) for _ in range(2)))
    assert await engine.transcribe(audio) == before


async def test_another_language_is_refused_with_the_one_there_is(engine, recordings):
    audio, _ = recordings["cards_001"]
    with pytest.raises(InvalidRequest, match=r"English only.*'en'.*'zh'"):
        await engine.transcribe(audio, language="zh")


async def test_cancelled_requests_leave_the_workers_usable(engine, recordings):
    audio, text = recordings["go_forward_ten_meters"]
    tasks = [asyncio.create_task(engine.transcribe(audio)) for _ in range(6)]
    await asyncio.sleep(0.05)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    heard = await asyncio.gather(*(engine.transcribe(audio) for _ in range(3)))
    assert [t.text for t in heard] == [text] * 3


async def test_a_request_whose_worker_is_killed_is_answered_all_the_same(engine, recordings):
    audio, text = recordings["go_forward_ten_meters"]
    pids = engine._pool.pids
    long = Audio(np.tile(audio.samples, 4), 16_000)
    tasks = [asyncio.create_task(engine.transcribe(long)) for _ in pids]
    await asyncio.sleep(0.2)
    os.kill(pids[0], signal.SIGKILL)
    assert all(transcript.text for transcript in await asyncio.gather(*tasks))
    again = await asyncio.gather(*(engine.transcribe(audio) for _ in range(4)))
    assert [t.text for t in again] == [text] * 4


async def test_with_all_workers_killed_the_engine_is_at_fault_and_comes_back(engine, recordings, monkeypatch):
    monkeypatch.setattr("web_demo.children.pool.PATIENCE_S", 60.0)  # a busy machine
    audio, text = recordings["go_forward_ten_meters"]
    await until(lambda: engine.fault() is None)
    for pid in engine._pool.pids:
        os.kill(pid, signal.SIGKILL)
    await until(lambda: engine.fault() is not None)
    assert "embedded ASR worker process is restarting" in engine.fault()
    assert (await engine.transcribe(audio)).text == text
    assert engine.fault() is None
