"""Rounds of the synthesizer, without its thread: who is served, when, and what is left behind."""

import numpy as np
import pytest

from web_demo.models.cosyvoice3.engine.job import Finished, new_job
from web_demo.models.cosyvoice3.engine.synthesizer import Synthesizer
from web_demo.models.cosyvoice3.engine.token2wav import StreamSettings, Token2Wav
from web_demo.models.cosyvoice3.lm.batch import LmBatch
from web_demo.models.cosyvoice3.lm.generate import END_OF_PROMPT, LmInput
from web_demo.models.cosyvoice3.voices import load_voices

pytestmark = pytest.mark.models


class Bench:
    """A synthesizer whose rounds the test turns by hand, with a clock that stands still."""

    def __init__(self, lm, flow, vocoder, voice, slots=4):
        self.voice = voice
        self.now = 100.0
        self.lm = LmBatch(lm, slots=slots, capacity=600, batches=(1, 2, 4))
        settings = StreamSettings(slots=slots, context_s=4.0, batches=(1, 2, 4))
        self.token2wav = Token2Wav(flow, vocoder, settings)
        self.synthesizer = Synthesizer(self.lm, self.token2wav, clock=lambda: self.now)

    def job(self, *lengths, speed=1.0, seed=0):
        events = []
        pieces = [LmInput(tuple(range(length)), (END_OF_PROMPT,)) for length in lengths]
        job = new_job(pieces, self.voice, seed=seed, emit=events.append, speed=speed)
        self.synthesizer._jobs.append(job)
        return job, events

    def turn(self, rounds):
        for _ in range(rounds):
            self.synthesizer.round()

    def finish(self, *jobs):
        for _ in range(2000):
            if not any(job in self.synthesizer._jobs for job in jobs):
                return
            self.turn(1)
        raise AssertionError("the jobs do not end")

    @property
    def free(self):
        return self.lm.free, self.token2wav.free


@pytest.fixture
def bench(lm, flow, vocoder, model_dir):
    return Bench(lm, flow, vocoder, load_voices(model_dir / "spk2info.pt").get(""))


def sound(events):
    return np.concatenate([event for event in events if not isinstance(event, Finished)])


def test_the_first_sound_comes_while_the_lm_still_runs(bench):
    job, events = bench.job(4)
    bench.turn(28)
    assert len(events) == 1
    assert len(events[0]) == 42 * 480
    assert not job.speaking[0].utterance.ended
    bench.finish(job)
    assert isinstance(events[-1], Finished)
    assert events[-1].error is None
    assert bench.free == (4, 4)


def test_all_tokens_become_sound(bench):
    job, events = bench.job(3, 2)
    tokens = []
    while job in bench.synthesizer._jobs:
        tokens = [len(speaking.tokens) for speaking in job.speaking] or tokens
        bench.turn(1)
    assert len(sound(events)) > 0
    assert len(sound(events)) % 960 == 0


def test_a_request_sounds_the_same_alone_and_in_company(bench):
    alone, events_alone = bench.job(3, seed=7)
    bench.finish(alone)
    one, events_one = bench.job(3, seed=7)
    two, _ = bench.job(5, 2, seed=8)
    bench.finish(one, two)
    assert np.abs(sound(events_one) - sound(events_alone)).mean() < 1e-4


def test_a_newcomer_s_first_sound_goes_before_those_with_audio_in_hand(bench):
    early, early_events = bench.job(8)
    bench.turn(28)
    late, late_events = bench.job(8, seed=1)
    before = len(early_events)
    while not late_events:
        bench.turn(1)
    # In the round of the newcomer's first sound nobody with audio in hand was vocoded beside it.
    assert len(early_events) in (before, before + 1)
    assert early.deadline(24_000) > bench.now
    bench.finish(early, late)


def test_later_pieces_grow_unless_the_listener_runs_dry(bench):
    job, events = bench.job(12)
    bench.finish(job)
    frames = [len(event) // 480 for event in events[:-1]]
    assert frames[:3] == [42, 100, 200]
    hurried, hurried_events = bench.job(12)
    bench.turn(28)
    bench.now += 60.0
    bench.turn(25)
    assert [len(event) // 480 for event in hurried_events] == [42, 50]
    bench.finish(hurried)


def test_a_cancelled_job_says_nothing_more_and_frees_its_slots(bench):
    job, events = bench.job(10)
    bench.turn(30)
    bench.synthesizer.cancel(job)
    heard = len(events)
    bench.turn(1)
    assert bench.free == (4, 4)
    assert len(events) == heard


def test_more_requests_than_slots_wait_for_their_turn(lm, flow, vocoder, bench):
    small = Bench(lm, flow, vocoder, bench.voice, slots=1)
    jobs = [small.job(2, seed=seed) for seed in range(3)]
    small.finish(*(job for job, _ in jobs))
    assert all(isinstance(events[-1], Finished) and len(sound(events)) for _, events in jobs)


def test_while_the_vocoder_is_busy_with_others_the_lm_goes_on_to_the_next_piece(bench, monkeypatch):
    job, events = bench.job(6, 2)
    with monkeypatch.context() as busy:
        busy.setattr(bench.synthesizer, "_make_sound", lambda: None)
        bench.turn(130)
    assert events == []
    heard, ahead = job.speaking
    assert heard.utterance.ended
    assert ahead.stream is None  # it waits for its stream, which holds much memory, and keeps its tokens until then
    assert len(ahead.tokens) > 0
    bench.finish(job)
    assert len(sound(events)) % 960 == 0
    assert bench.free == (4, 4)


def test_another_speed_changes_the_length_and_nothing_is_left_behind(bench):
    slow, slow_events = bench.job(2, speed=0.5, seed=3)
    plain, plain_events = bench.job(2, seed=3)
    bench.finish(slow, plain)
    assert len(sound(slow_events)) == 2 * len(sound(plain_events))
    assert bench.free == (4, 4)


def test_an_input_too_long_fails_its_own_job_only(bench):
    bad, bad_events = bench.job(590)
    good, good_events = bench.job(2)
    bench.finish(bad, good)
    assert "there is room for" in str(bad_events[-1].error)
    assert good_events[-1].error is None
