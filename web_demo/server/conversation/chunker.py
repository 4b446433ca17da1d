"""Speech codes to detokenizer windows. Pure.

A model emits codes in small groups; a detokenizer works on windows of fixed sizes: a small first one, so that the first
sound comes early, then larger ones. Backends keep their own look-ahead, so windows do not overlap.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator


class Chunker:
    """`hop_tokens`: codes in the first window, the second, …; the last number repeats."""

    def __init__(self, hop_tokens: tuple[int, ...]) -> None:
        if not hop_tokens or min(hop_tokens) < 1:
            raise ValueError(f"hop_tokens must be positive numbers, got {hop_tokens}")
        self._hops = hop_tokens
        self._pending: list[int] = []
        self._made = 0

    def push(self, codes: Iterable[int]) -> Iterator[tuple[int, ...]]:
        """The windows that became whole."""
        self._pending.extend(codes)
        while len(self._pending) >= (hop := self._hops[min(self._made, len(self._hops) - 1)]):
            window = tuple(self._pending[:hop])
            del self._pending[:hop]
            self._made += 1
            yield window

    def flush(self) -> tuple[int, ...]:
        """What is left at the end of the speech; maybe nothing."""
        rest, self._pending = tuple(self._pending), []
        return rest
