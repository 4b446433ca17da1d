"""Text to speech for many requests on one GPU: a thread that steps the LM and vocodes what is due, in turns.

A round is: admit, one LM token for every utterance, then one batch of sound. Sound is made for requests that have none
yet as soon as a first piece is there, before others that have audio in hand; later pieces grow (25, 50, 100 tokens)
unless the listener would run dry.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import Protocol

import torch

from web_demo.audio.samples import Samples
from web_demo.errors import ServiceError, Unavailable
from web_demo.models.runtime.owner import OwnerThread, Stopped

from ..flow.flow import Flow
from ..lm.batch import Utterance
from ..lm.generate import LmInput
from ..vocoder.stretch import stretched
from ..vocoder.vocoder import Vocoder
from .job import Finished, Job, Speaking
from .token2wav import Stream, Token2Wav

log = logging.getLogger(__name__)

AHEAD = 2  # pieces of one request that the LM may work on: the one heard and the next
_URGENT_S = 0.3  # a listener with less audio than this in hand gets what there is


class SpeechLm(Protocol):
    """`LmBatch`, or one in vLLM (`lm/vllm/remote.py`)."""

    @property
    def free(self) -> int: ...
    @property
    def largest(self) -> int: ...
    def add(self, given: LmInput, seed: int) -> Utterance: ...
    def step(self, utterances: Sequence[Utterance]) -> None: ...
    def remove(self, utterance: Utterance) -> None: ...


class Synthesizer:
    """Start with `start()`; `submit` and `cancel` may be called from any thread."""

    def __init__(self, lm: SpeechLm, token2wav: Token2Wav, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._lm, self._token2wav, self._now = lm, token2wav, clock
        self._jobs: list[Job] = []
        self._owner = OwnerThread(
            "cosyvoice3", step=self._try_round, idle_s=lambda: 0.0 if self._jobs else None, ended=self._give_up
        )

    @property
    def fault(self) -> str | None:
        """Why the thread ended by itself."""
        broken = self._owner.broken
        return f"the speech synthesiser has stopped ({broken}); the service must be restarted" if broken else None

    def start(self) -> None:
        self._owner.start()

    def submit(self, job: Job) -> None:
        """Raises Unavailable once the thread has ended, or is about to."""
        try:
            self._owner.do(lambda: self._jobs.append(job))
        except Stopped as error:
            raise Unavailable(self.fault or "the service is shutting down") from error

    def cancel(self, job: Job) -> None:
        """Takes effect within one round; the job emits nothing more."""
        job.cancelled = True

    def close(self) -> None:
        """Ends every job with an error and waits for the thread."""
        self._owner.stop()

    def _give_up(self) -> None:
        for job in self._jobs:  # nothing is freed: nothing will run any more, and a lost device cannot be asked
            if not job.cancelled:
                job.emit(Finished(Unavailable(self.fault or "the service is shutting down")))

    def _try_round(self) -> None:
        """A round that fails costs its jobs; an error of the device is passed on, since all later rounds would fail too."""
        try:
            self.round()
        except torch.AcceleratorError:
            raise
        except Exception as error:
            log.exception("a round of synthesis failed: its %d jobs are given up", len(self._jobs))
            for job in list(self._jobs):
                self._drop(job, error)

    def round(self) -> None:
        """One LM step and one batch of sound. Called by the thread alone."""
        for job in [job for job in self._jobs if job.cancelled]:
            self._drop(job, None)
        for job in list(self._jobs):
            self._begin_pieces(job)
        for job in self._jobs:
            self._open_stream(job)
        self._step_lm()
        self._make_sound()
        for job in list(self._jobs):
            self._end_pieces(job)

    def _begin_pieces(self, job: Job) -> None:
        """Start the next piece once the LM has finished the one before."""
        lm_busy = any(not speaking.utterance.ended for speaking in job.speaking)
        if not job.pieces or lm_busy or len(job.speaking) >= AHEAD or not self._lm.free:
            return
        given = job.pieces.popleft()
        try:
            utterance = self._lm.add(given, job.seed)
        except (ValueError, ServiceError) as error:
            self._drop(job, error)
            return
        job.speaking.append(Speaking(utterance))
        job.speaking[-1].pass_tokens()

    def _open_stream(self, job: Job) -> None:
        """For the piece to be heard now; the one after it waits, a stream holds much memory."""
        if job.speed == 1.0 and job.speaking and job.speaking[0].stream is None and self._token2wav.free:
            job.speaking[0].stream = self._token2wav.open(job.voice)
            job.speaking[0].pass_tokens()

    def _step_lm(self) -> None:
        running = [s for job in self._jobs for s in job.speaking if not s.utterance.ended]
        largest = self._lm.largest
        for begin in range(0, len(running), largest):
            self._lm.step([speaking.utterance for speaking in running[begin : begin + largest]])
        for speaking in running:
            speaking.pass_tokens()
        for job in list(self._jobs):
            if error := next((speaking.utterance.error for speaking in job.speaking if speaking.utterance.error), None):
                self._drop(job, error)

    def _make_sound(self) -> None:
        now = self._now()
        rate = self._token2wav.sample_rate
        due = [(job, stream) for job in self._jobs if (stream := self._due(job, now)) is not None]
        if any(job.first_at is None for job, _ in due):
            due = [(job, s) for job, s in due if job.deadline(rate) - now < _URGENT_S]
        due.sort(key=lambda item: item[0].deadline(rate))
        due = due[: self._token2wav.max_batch]
        owners = {stream: job for job, stream in due}
        for stream, samples in self._token2wav.run_batch([stream for _, stream in due]):
            owners[stream].deliver(samples, self._now())

    def _due(self, job: Job, now: float) -> Stream | None:
        """The stream of the piece being heard, when it is time to vocode what it has."""
        speaking = job.speaking[0] if job.speaking else None
        if speaking is None or speaking.stream is None or speaking.stream.cursor.ready() is None:
            return None
        rules, cursor = self._token2wav.rules, speaking.stream.cursor
        hop = min(rules.longest, rules.block << min(job.chunks, 8))
        enough = cursor.ended or cursor.pending >= hop + rules.lookahead
        urgent = job.deadline(self._token2wav.sample_rate) - now < _URGENT_S
        return speaking.stream if enough or urgent else None

    def _end_pieces(self, job: Job) -> None:
        while job.speaking:
            speaking = job.speaking[0]
            if job.speed != 1.0 and speaking.utterance.ended:
                self._speak_whole(job, speaking)
            elif not speaking.spoken:
                return
            self._release(job.speaking.popleft())
        if job.done:
            self._jobs.remove(job)
            if not job.cancelled:
                job.emit(Finished())

    def _speak_whole(self, job: Job, speaking: Speaking) -> None:
        """A whole piece at another speed: its mel is stretched before the vocoder."""
        if speaking.tokens:
            flow, vocoder = self._token2wav.flow, self._token2wav.vocoder
            job.deliver(whole_speech(flow, vocoder, speaking.tokens, job), self._now())

    def _release(self, speaking: Speaking) -> None:
        self._lm.remove(speaking.utterance)
        if speaking.stream is not None:
            self._token2wav.close(speaking.stream)

    def _drop(self, job: Job, error: Exception | None) -> None:
        while job.speaking:
            self._release(job.speaking.popleft())
        if job in self._jobs:
            self._jobs.remove(job)
        if not job.cancelled:
            job.emit(Finished(error))


def whole_speech(flow: Flow, vocoder: Vocoder, tokens: list[int], job: Job) -> Samples:
    device = flow.noise.device
    voice = job.voice
    mel = flow.whole(
        torch.tensor([tokens], device=device),
        voice.embedding.to(device),
        prompt_tokens=torch.tensor([voice.prompt_tokens], dtype=torch.int64, device=device),
        prompt_mel=voice.prompt_mel[None].to(device),
        chunk_mask=False,
    )
    samples: Samples = vocoder.whole(stretched(mel, job.speed))[0].cpu().numpy()
    return samples
