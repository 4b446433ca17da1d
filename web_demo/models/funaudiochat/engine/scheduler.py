"""Who runs next. Touches no tensor, so its policy is tested without a device.

Policy: turns are admitted in the order they came, each with a slot and every page that its longest answer can need, so
a running turn never waits for memory. Running turns get one frame an iteration when they are due (`pace`); prefills share a
budget of tokens and a number of turns beside them, so that neither a long prompt nor many new ones can make the others late.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from utils.constant import MAX_NEW_TOKENS
from web_demo.models.funaudiochat.engine.pace import Pace
from web_demo.models.funaudiochat.engine.pages import CachedPrefix, PagePool
from web_demo.models.funaudiochat.engine.sequence import EndReason, Plan, PrefillChunk, Status, Turn


@dataclass(frozen=True)
class Limits:
    """Capacity of one engine."""

    slots: int  # turns that generate at once
    pages: int  # of both caches, the scratch page included
    page_tokens: int = 16
    max_context: int = 4096  # positions of one turn: prompt and answer
    max_new_tokens: int = MAX_NEW_TOKENS
    prefill_tokens: int = 512  # prompt positions computed between two frames
    prefill_turns: int = 8  # turns that they may belong to: each costs some launches of its own
    max_waiting: int = 64
    frame_s: float = 0.2  # of speech in one frame

    def __post_init__(self) -> None:
        for name in ("slots", "page_tokens", "max_context", "max_new_tokens", "prefill_tokens", "prefill_turns"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")

    @property
    def pages_per_turn(self) -> int:
        return -(-self.max_context // self.page_tokens)


class Full(Exception):
    """More turns wait than the engine takes."""


class TooLong(ValueError):
    """The turn can never run here: its prompt and longest answer exceed the context or the memory."""


class Scheduler:
    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.pool = PagePool(limits.pages, limits.page_tokens)
        self._free_slots = list(range(limits.slots - 1, -1, -1))
        self._waiting: deque[Turn] = deque()
        self._active: list[Turn] = []  # in the order of admission
        self._pace = Pace(limits.frame_s)

    @property
    def busy(self) -> bool:
        return bool(self._waiting or self._active)

    def idle_s(self, now: float) -> float | None:
        """Seconds until there is something to run, 0 for now; None: nothing until a turn is added."""
        if not self.busy:
            return None
        if self._waiting or any(turn.status is Status.PREFILLING for turn in self._active):
            return 0.0
        return self._pace.idle_s(self._active, now)

    @property
    def active(self) -> tuple[Turn, ...]:
        return tuple(self._active)

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def check(self, turn: Turn) -> None:
        """Raises TooLong for a turn that could wait for ever."""
        limits, settings = self.limits, turn.request.settings
        if settings.max_new_tokens > limits.max_new_tokens:
            raise TooLong(f"max_new_tokens is at most {limits.max_new_tokens} here, got {settings.max_new_tokens}")
        if turn.max_positions > limits.max_context:
            raise TooLong(
                f"the conversation takes {len(turn.keys)} positions and its answer up to {settings.max_new_tokens}: "
                f"more than the {limits.max_context} of this engine; shorten the history or the audio"
            )
        needed = self.pool.pages_for(turn.max_positions)
        if needed > self.pool.total:
            raise TooLong(f"the turn can take {needed} cache pages and this engine has {self.pool.total}")

    def add(self, turn: Turn) -> None:
        """Raises TooLong or Full; otherwise the turn runs as soon as a slot and its pages are free."""
        self.check(turn)
        if len(self._waiting) >= self.limits.max_waiting:
            raise Full(f"{len(self._waiting)} turns wait already")
        self._waiting.append(turn)

    def _admit(self, turn: Turn) -> bool:
        if not self._free_slots:
            return False
        request = turn.request
        speech = request.settings.speech
        length = 0
        pages: list[int] = []
        if request.conversation_id:
            length, pages = self.pool.reuse(request.conversation_id, turn.keys[: turn.prefill_length], speech=speech)
        missing = self.pool.take(self.pool.pages_for(turn.max_positions) - len(pages))
        if missing is None:
            if pages:  # put back what was taken over, it may still be there at the next try
                self.pool.keep(request.conversation_id, CachedPrefix(turn.keys[:length], tuple(pages), speech))
            return False
        turn.slot = self._free_slots.pop()
        turn.pages = pages + missing
        turn.prefilled = turn.reused = length
        turn.status = Status.PREFILLING
        self._active.append(turn)
        return True

    def schedule(self, now: float) -> tuple[Plan, tuple[Turn, ...]]:
        """The next iteration, and the turns that were admitted for it (the runner sets up their rows first). `now`: seconds
        of a monotonic clock."""
        admitted = []
        while self._waiting and self._admit(self._waiting[0]):
            admitted.append(self._waiting.popleft())
        chunks: list[PrefillChunk] = []
        budget = self.limits.prefill_tokens
        for turn in self._active:
            if turn.status is Status.PREFILLING:
                count = (
                    min(budget, turn.prefill_length - turn.prefilled) if len(chunks) < self.limits.prefill_turns else 0
                )
                if count:
                    chunks.append(PrefillChunk(turn, turn.prefilled, turn.prefilled + count))
                    budget -= count
                if turn.prefilled + count == turn.prefill_length:
                    turn.status = Status.RUNNING
        running = [turn for turn in self._active if turn.status is Status.RUNNING]
        decode = self._pace.due(running, now, hurry=bool(self._waiting))
        for turn in decode:
            turn.began = now if turn.began is None else turn.began
        return Plan(tuple(chunks), decode), tuple(admitted)

    def finish(self, turn: Turn, end: EndReason, error: str = "") -> None:
        """Free the slot and the pages; what is filled of the prompt stays for the conversation's next turn."""
        if turn.status is Status.FINISHED:
            return
        if turn.status is Status.WAITING:
            self._waiting.remove(turn)
        else:
            self._active.remove(turn)
            self._free_slots.append(turn.slot)
            self._keep_prompt(turn, end)
        turn.status, turn.end, turn.error = Status.FINISHED, end, error

    def _keep_prompt(self, turn: Turn, end: EndReason) -> None:
        kept = 0
        if turn.request.conversation_id and end is not EndReason.FAILED:
            kept = self.pool.pages_for(turn.prefilled)
        self.pool.release(turn.pages[kept:])
        if kept:
            keys = turn.keys[: turn.prefilled]
            self.pool.keep(
                turn.request.conversation_id, CachedPrefix(keys, tuple(turn.pages[:kept]), turn.request.settings.speech)
            )
        turn.pages = []
