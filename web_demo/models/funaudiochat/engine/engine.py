"""The loop: schedule, run, postprocess."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence

import torch

from web_demo.models.funaudiochat.engine.runner import RowResult, Runner
from web_demo.models.funaudiochat.engine.scheduler import Limits, Scheduler
from web_demo.models.funaudiochat.engine.sequence import EndReason, Frame, Plan, Request, Turn, prefix_keys
from web_demo.models.funaudiochat.engine.state import check_bad_words
from web_demo.models.funaudiochat.model import FunAudioChat
from web_demo.models.runtime.kernels.base import Kernels

logger = logging.getLogger(__name__)


class Engine:
    """Serves many turns on one device. Every method is called from the one thread that owns the model."""

    def __init__(
        self,
        model: FunAudioChat,
        limits: Limits,
        kernels: Kernels | None = None,
        *,
        speech_cache: torch.dtype | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._now = clock
        self.config, self.device = model.config, model.device
        self.bind_thread()
        self.scheduler = Scheduler(limits)
        self.runner = Runner(model, limits, kernels, speech_cache=speech_cache)
        self._turns: dict[str, Turn] = {}

    def bind_thread(self) -> None:
        """Make the model's device the calling thread's: CUDA keeps that choice a thread, and kernels are launched by it."""
        if self.device.type == "cuda":
            torch.cuda.set_device(self.device)

    @property
    def busy(self) -> bool:
        return self.scheduler.busy

    def idle_s(self) -> float | None:
        """Seconds until `step` has something to do, 0 for now; None: nothing until a request comes."""
        return self.scheduler.idle_s(self._now())

    def submit(self, request: Request) -> None:
        """Raises TooLong, Full, or ValueError for a prompt or settings that cannot run."""
        prompt, settings = request.prompt, request.settings
        if request.request_id in self._turns:
            raise ValueError(f"the request {request.request_id!r} runs already")
        if not prompt.ids or prompt.ids[-1] == self.config.audio_id:
            raise ValueError("a prompt must end in a text token")
        places, slots = prompt.ids.count(self.config.audio_id), sum(audio.slots for audio in prompt.audios)
        if places != slots:
            raise ValueError(f"the prompt has {places} audio slots and the audios fill {slots}: they must be equal")
        check_bad_words(settings.bad_words, self.config.text.vocab_size)
        turn = Turn(request, prefix_keys(prompt, self.config.audio_id))
        self.scheduler.add(turn)
        self._turns[request.request_id] = turn

    def abort(self, request_id: str) -> bool:
        """Free the turn's slot and pages now; False when there is no such turn any more."""
        turn = self._turns.get(request_id)
        if turn is None:
            return False
        self._finish(turn, EndReason.ABORTED)
        return True

    def forget(self, conversation_id: str) -> None:
        """Free what was kept of an earlier turn."""
        self.scheduler.pool.forget(conversation_id)

    def step(self) -> list[Frame]:
        """One iteration: every turn that is due gets a frame. A turn that fails ends alone, with a FAILED frame."""
        plan, admitted = self.scheduler.schedule(self._now())
        for turn in admitted:
            self.runner.admit(turn)
        failed = self._prefill(plan)
        results, dropped = self._decode([turn for turn in plan.decode if turn.end is None])
        return failed + dropped + [self._postprocess(turn, result) for turn, result in results]

    def _prefill(self, plan: Plan) -> list[Frame]:
        """One pass for all chunks; when memory is short for that, one by one, and a turn that still finds none ends."""
        failed: list[Frame] = []
        waiting = [list(plan.prefill)] if plan.prefill else []
        while waiting:
            chunks = waiting.pop(0)
            try:
                self.runner.prefill(chunks)
            except torch.OutOfMemoryError as error:
                if len(chunks) > 1:
                    waiting += [[chunk] for chunk in chunks]
                else:
                    failed.append(self._fail(chunks[0].turn, f"out of memory in the prefill: {error}"))
            else:
                for chunk in chunks:
                    chunk.turn.prefilled = chunk.end
        return failed

    def _decode(self, turns: Sequence[Turn]) -> tuple[list[tuple[Turn, RowResult]], list[Frame]]:
        """A frame for all; when memory is short, the turn that came last ends and the others are tried again."""
        remaining = list(turns)
        dropped: list[Frame] = []
        while remaining:
            try:
                return list(zip(remaining, self.runner.decode(remaining), strict=True)), dropped
            except torch.OutOfMemoryError as error:
                dropped.append(self._fail(remaining.pop(), f"out of memory in a frame: {error}"))
        return [], dropped

    def _postprocess(self, turn: Turn, result: RowResult) -> Frame:
        settings = turn.request.settings
        if result.broken:
            self.runner.clear(turn)
            return self._fail(turn, "the model's output was not finite (NaN or infinity)")
        turn.generated += 1
        end = None
        if result.text_id in (settings.eos_ids or (self.config.text_eos_id,)):
            end = EndReason.EOS
        elif turn.generated == settings.max_new_tokens:
            end = EndReason.LENGTH
        if end is not None:
            self._finish(turn, end)
        return Frame(turn.request.request_id, result.text_id, result.codes, end)

    def _fail(self, turn: Turn, error: str) -> Frame:
        logger.error("turn %s failed: %s", turn.request.request_id, error)
        self._finish(turn, EndReason.FAILED, error)
        return Frame(turn.request.request_id, -1, (), EndReason.FAILED, error)

    def _finish(self, turn: Turn, end: EndReason, error: str = "") -> None:
        del self._turns[turn.request.request_id]
        self.runner.drop(turn)
        self.scheduler.finish(turn, end, error)
