"""Where a stream of speech tokens stands, and which piece of it to compute next. Pure: no tensors.

Tokens are counted from the start of the prompt, because attention blocks are. Only finished blocks are handed out
before the end, so the pieces together equal one whole call; the exception is a first piece of fewer tokens than a
block, for an early first sound: its frames are computed without the rest of their block, and differ a little.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ..config import MAX_FRAMES


@dataclass(frozen=True)
class Rules:
    """`block`: tokens of an attention block; `lookahead`: tokens a piece sees beyond its end; `ratio`: mel frames a
    token; `first`: a first piece may be this short; `longest`: tokens computed in one piece, a multiple of the block;
    `delay`: frames that the vocoder stays behind the mel."""

    block: int
    lookahead: int
    ratio: int
    first: int
    longest: int
    delay: int

    def __post_init__(self) -> None:
        if not 1 <= self.first <= self.block:
            raise ValueError(f"the first piece must have 1 to {self.block} tokens, got {self.first}")
        if self.longest < 2 * self.block or self.longest % self.block:
            raise ValueError(f"a piece must hold at least two whole blocks of {self.block} tokens, got {self.longest}")


@dataclass(frozen=True)
class Piece:
    """Compute tokens [start, end); sound begins at token `offset` (`offset == end`: only prompt, no sound).

    Frames for the vocoder: it has `done`, it keeps the mel of `carried` more, `fresh` ones are new, it moves on by
    `frames`.
    """

    start: int
    end: int
    keep: int  # tokens of finished blocks, which are never computed again
    offset: int
    last: bool
    done: int
    carried: int
    fresh: int
    frames: int


class Cursor:
    """Not thread-safe; one for each stream."""

    def __init__(self, rules: Rules, prompt: Iterable[int] = ()) -> None:
        self._rules = rules
        self.tokens = list(prompt)
        self._prompt = len(self.tokens)
        self._start = 0  # tokens of finished blocks
        self._offset = self._prompt  # tokens whose sound was handed out
        self._done = 0
        self._known = 0
        self._last = False
        self._closed = False

    @property
    def started(self) -> bool:
        """Some of the sound has been handed out."""
        return self._offset > self._prompt

    @property
    def closed(self) -> bool:
        """The last piece has been taken."""
        return self._closed

    @property
    def ended(self) -> bool:
        """The last tokens have been given."""
        return self._last

    @property
    def room(self) -> int:
        """How many more tokens the stream can take."""
        return MAX_FRAMES // self._rules.ratio - len(self.tokens)

    @property
    def pending(self) -> int:
        """Tokens given whose sound was not handed out yet."""
        return len(self.tokens) - self._offset

    def feed(self, tokens: Iterable[int], *, last: bool = False) -> None:
        """Append tokens; raises ValueError past the longest stream, or after the last ones."""
        if self._last:
            raise ValueError("the stream's last tokens were already given")
        more = list(tokens)
        if len(more) > self.room:
            longest = MAX_FRAMES // self._rules.ratio
            raise ValueError(f"a stream has at most {longest} tokens with its prompt, got {len(more) - self.room} more")
        self.tokens += more
        self._last = last

    def ready(self) -> Piece | None:
        """The next piece, without taking it; None when more tokens must come first."""
        end, last = self._next_end()
        return None if end is None else self.piece(end, last=last)

    def piece(self, end: int, *, last: bool) -> Piece:
        """The piece that ends at token `end`; `ready` chooses the ends that keep the sound exact."""
        rules = self._rules
        offset = min(self._offset, end)
        fresh = (end - offset) * rules.ratio
        known = self._known + fresh
        frames = known - self._done if last else max(0, known - self._done - rules.delay)
        keep = 0 if last else (end // rules.block) * rules.block - self._start
        return Piece(self._start, end, keep, offset, last, self._done, self._known - self._done, fresh, frames)

    def take(self, piece: Piece) -> None:
        """The piece was computed: move on."""
        self._start = piece.start + piece.keep
        self._offset = max(self._offset, piece.end)
        self._known += piece.fresh
        self._done += piece.frames
        self._closed = piece.last

    def _next_end(self) -> tuple[int | None, bool]:
        rules = self._rules
        total = len(self.tokens)
        if self._closed or (self._last and total == self._prompt):
            return None, False
        if self._last and total - self._start <= rules.longest:
            return total, True
        end = total - rules.lookahead
        boundary = min((end // rules.block) * rules.block, self._start + rules.longest)
        if boundary > self._start and boundary > self._offset:
            return boundary, False
        if boundary > self._start and boundary <= self._prompt:
            return boundary, False  # prompt only: nothing to hear, but its blocks are finished now
        if not self.started and end - self._prompt >= rules.first and end - self._start < rules.longest:
            return end, False
        return None, False
