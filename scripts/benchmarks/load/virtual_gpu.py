#!/usr/bin/env python3
"""Conversations on one GPU in virtual time: what a rule of the speech model's pace, or of the detokenizer's batches, does to first
sounds and to gaps, in seconds and without a GPU.

    python3 -m scripts.benchmarks.load.virtual_gpu --speakers 1 64 96 128

The scheduler, its pace, the chunker and the detokenizer's choice of windows are the real ones. What a prompt, a frame and a
batch take is as measured on an H200 (deploy/benchmarks/), and while both processes have work, each goes on at `--share` of
its speed: 0.6 fits what was measured. The service between them takes no time but `HOST_S`, so what its Python cannot keep
up with is not seen here. Speakers do what those of conversations.py do.
"""

from __future__ import annotations

import argparse
import heapq
import random
import sys
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count, pairwise
from typing import Any, cast

from scripts.benchmarks.report import Report, quantile_ms
from utils.constant import CODES_PER_SECOND
from web_demo.detokenizer.backend import Window
from web_demo.detokenizer.messages import Close, Decode, Open
from web_demo.detokenizer.worker import Work
from web_demo.models.funaudiochat.engine.scheduler import Limits, Scheduler
from web_demo.models.funaudiochat.engine.sequence import EndReason, Request, Turn
from web_demo.models.funaudiochat.settings import GenerationSettings
from web_demo.server.conversation.chunker import Chunker

# Milliseconds by rows: frames with an 8-bit speech cache; first windows and windows of 2 s with fused kernels.
FRAME_MS = {1: 9.8, 2: 10.5, 4: 11.3, 8: 12.6, 16: 15.5, 32: 17.8, 64: 24.3, 128: 37.9}
FIRST_MS = {1: 15.0, 8: 21.0, 32: 54.0}
WINDOW_MS = {1: 17.0, 8: 37.0, 32: 108.0}
PROMPTS_MS = 14.0  # a pass over the prompts of new turns of 3 s
ASKED_S = 0.015  # from the end of a turn to the engine: features, tokens
HOST_S = 0.0015  # of a step, beside the device
SENT_S = 0.004  # from a sound to its first page
HOPS = (20, 33, 50)
LOOK_AHEAD = 3  # codes of the first window that make no sound yet
MAX_BATCH = 32
PROMPT_TOKENS = 60
ANSWER_FRAMES = 100
USER_S, LISTEN_S = 3.0, 10.0


def between(points: dict[int, float], rows: int) -> float:
    """Seconds for this many rows, along the line between the two sizes beside it."""
    sizes = sorted(points)
    for low, high in pairwise(sizes):
        if low <= rows <= high:
            return (points[low] + (points[high] - points[low]) * (rows - low) / (high - low)) / 1000
    return points[min(max(rows, sizes[0]), sizes[-1])] / 1000


@dataclass
class Answer:
    """One turn, from its end to the interruption of its answer."""

    name: str
    asked_at: float
    turn: Turn
    chunker: Chunker = field(default_factory=lambda: Chunker(HOPS))
    windows: deque[tuple[int, ...]] = field(default_factory=deque)  # whole, not yet given to the detokenizer
    index: int = 0  # of the window that it has
    begins: float | None = None  # when the listener began to play, moved by every gap
    sound_s: float = 0.0
    is_sounding: bool = False  # the detokenizer has a window of it


@dataclass
class Job:
    """What one of the two processes is at: seconds on the device, then on the host, then `done`."""

    device_s: float
    host_s: float
    done: Callable[[], None]


@dataclass
class Seen:
    turns: int = 0
    unanswered: int = 0
    first_s: list[float] = field(default_factory=list)
    gaps_s: list[float] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)  # of frames
    busy_s: list[float] = field(default_factory=lambda: [0.0, 0.0])  # speech model, detokenizer


class VirtualGpu:
    def __init__(self, speakers: int, share: float, seed: int = 0) -> None:
        self._share, self._chance, self.seen = share, random.Random(seed), Seen()
        limits = Limits(slots=256, pages=256 * 20, max_context=300, max_new_tokens=ANSWER_FRAMES)
        self._scheduler, self._work = Scheduler(limits), Work()
        self._answers: dict[str, Answer] = {}
        self._jobs: list[Job | None] = [None, None]
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()
        self.now = 0.0
        for number in range(speakers):
            self._at(USER_S + (USER_S + LISTEN_S) * number / speakers, self._end_turn)

    def run(self, seconds: float) -> Seen:
        while self.now < seconds:
            self._start_jobs()
            self._advance()
        return self.seen

    def _at(self, when: float, happens: Callable[[], None]) -> None:
        heapq.heappush(self._events, (when, next(self._order), happens))

    def _advance(self) -> None:
        """To the next event, the end of a part of a job, or the time that the scheduler asked for."""
        on_device = [job is not None and job.device_s > 0 for job in self._jobs]
        speed = self._share if all(on_device) else 1.0
        steps = [
            job.device_s / speed if job.device_s > 0 else job.host_s for job in self._jobs if job is not None
        ]  # fmt: skip
        if self._jobs[0] is None and (idle_s := self._scheduler.idle_s(self.now)) is not None:
            steps.append(max(idle_s, 1e-6))
        step = max(0.0, min([*steps, self._events[0][0] - self.now]))
        self.now += step
        for number, job in enumerate(self._jobs):
            if job is None:
                continue
            self.seen.busy_s[number] += step
            if job.device_s > 0:
                job.device_s = max(0.0, job.device_s - step * speed)
                job.device_s *= job.device_s > 1e-9
            else:
                job.host_s -= step
                if job.host_s < 1e-9:
                    self._jobs[number] = None
                    job.done()
        while self._events and self._events[0][0] <= self.now:
            heapq.heappop(self._events)[2]()

    def _start_jobs(self) -> None:
        if self._jobs[0] is None and self._scheduler.idle_s(self.now) == 0.0:
            plan, _ = self._scheduler.schedule(self.now)
            for chunk in plan.prefill:
                chunk.turn.prefilled = chunk.end
            device_s = (PROMPTS_MS / 1000 if plan.prefill else 0.0) + (
                between(FRAME_MS, len(plan.decode)) if plan.decode else 0.0
            )
            self._jobs[0] = Job(device_s, HOST_S, lambda: self._made(plan.decode))
            if plan.decode:
                self.seen.rows.append(len(plan.decode))
        if self._jobs[1] is None and (batch := self._work.take_batch(MAX_BATCH, self.now)):
            padded = 1 << (len(batch) - 1).bit_length()
            points = FIRST_MS if all(window.index == 0 for window in batch) else WINDOW_MS
            self._jobs[1] = Job(between(points, padded), HOST_S, lambda: self._sounded(batch))

    def _end_turn(self) -> None:
        name = f"t{next(self._order)}"
        request = Request(name, cast("Any", None), GenerationSettings(max_new_tokens=ANSWER_FRAMES), live=True)
        answer = Answer(name, self.now, Turn(request, tuple(range(PROMPT_TOKENS))))
        self._answers[name] = answer
        self.seen.turns += 1
        self._at(self.now + ASKED_S, lambda: self._scheduler.add(answer.turn))
        self._at(self.now + LISTEN_S, lambda: self._interrupt(answer))
        self._at(self.now + LISTEN_S + USER_S + self._chance.uniform(-0.1, 0.1), self._end_turn)

    def _interrupt(self, answer: Answer) -> None:
        del self._answers[answer.name]
        self._scheduler.finish(answer.turn, EndReason.ABORTED)
        self._work.accept(Close(answer.name))
        self._work.take_changes()
        self.seen.unanswered += answer.begins is None

    def _made(self, turns: Sequence[Turn]) -> None:
        for turn in turns:
            if turn.end is not None:
                continue
            turn.generated += 1
            if turn.generated == 1:  # says that speech begins
                continue
            answer = self._answers[turn.request.request_id]
            answer.windows += answer.chunker.push((0,) * round(self._scheduler.limits.frame_s * CODES_PER_SECOND))
            if turn.generated == ANSWER_FRAMES:
                self._scheduler.finish(turn, EndReason.LENGTH)
            self._ask(answer)

    def _ask(self, answer: Answer) -> None:
        """The next window, when the one before has sounded."""
        if answer.windows and not answer.is_sounding:
            deadline = 0.0 if answer.begins is None else answer.begins + answer.sound_s
            if answer.index == 0:
                self._work.accept(Open(answer.name, ""))
            self._work.accept(
                Decode(Window(answer.name, answer.index, codes=answer.windows.popleft(), deadline=deadline))
            )
            answer.is_sounding = True

    def _sounded(self, batch: Sequence[Window]) -> None:
        for window in batch:
            answer = self._answers.get(window.turn_id)
            if answer is None:
                continue
            answer.is_sounding = False
            if answer.begins is None:
                answer.begins = self.now + SENT_S
                self.seen.first_s.append(answer.begins - answer.asked_at)
            elif (late := self.now - (answer.begins + answer.sound_s)) > 0:
                self.seen.gaps_s.append(late)
                answer.begins += late
            answer.sound_s += (len(window.codes) - (LOOK_AHEAD if answer.index == 0 else 0)) / CODES_PER_SECOND
            answer.index += 1
            self._ask(answer)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--speakers", type=int, nargs="+", default=[1, 64, 96, 128])
    parser.add_argument("--seconds", type=float, default=60.0, help="of virtual time")
    parser.add_argument("--share", type=float, default=0.6)
    args = parser.parse_args(argv)
    report = Report("virtual_gpu", share=args.share, seconds=args.seconds)
    for speakers in args.speakers:
        seen = VirtualGpu(speakers, args.share).run(args.seconds)
        report.row(
            speakers=speakers,
            turns=seen.turns,
            first_ms={"p50": quantile_ms(seen.first_s, 0.5), "p95": quantile_ms(seen.first_s, 0.95)},
            gaps=len(seen.gaps_s),
            gap_ms_worst=round(max(seen.gaps_s, default=0.0) * 1000),
            rows_a_frame=round(sum(seen.rows) / max(1, len(seen.rows)), 1),
            busy={
                name: round(busy_s / args.seconds, 2)
                for name, busy_s in zip(("model", "voice"), seen.busy_s, strict=True)
            },
        )
    report.end()
    return 0


if __name__ == "__main__":
    sys.exit(main())
