"""Pages of the KV caches, and the prompts kept in them between the turns of a conversation. Pure.

A page holds `page_tokens` backbone positions and the speech head's positions of the same tokens, so one number and one
owner cover both caches.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Iterable
from dataclasses import dataclass

from web_demo.models.funaudiochat.engine.sequence import common_length

SCRATCH_PAGE = 0  # written by the padding rows of a batch; never given out


@dataclass(frozen=True, eq=False)
class CachedPrefix:
    """The filled start of an earlier prompt. `speech`: whether the speech head's cache is filled too."""

    keys: tuple[Hashable, ...]
    pages: tuple[int, ...]
    speech: bool


class PagePool:
    """Owns every page: free, in a running turn, or kept for a conversation. The longest unused is evicted first."""

    def __init__(self, pages: int, page_tokens: int) -> None:
        if pages < 2:
            raise ValueError(f"the pool needs the scratch page and at least one more, got {pages}")
        self.page_tokens = page_tokens
        self.total = pages - 1
        self._free = list(range(pages - 1, SCRATCH_PAGE, -1))
        self._prefixes: OrderedDict[str, CachedPrefix] = OrderedDict()

    @property
    def free(self) -> int:
        return len(self._free)

    @property
    def cached_conversations(self) -> int:
        return len(self._prefixes)

    def pages_for(self, positions: int) -> int:
        return -(-positions // self.page_tokens)

    def reuse(self, conversation_id: str, keys: tuple[Hashable, ...], *, speech: bool) -> tuple[int, list[int]]:
        """Take over what an earlier turn left: (positions that need no prefill, their pages). Gives up the rest."""
        kept = self._prefixes.pop(conversation_id, None)
        if kept is None:
            return 0, []
        length = common_length(kept.keys, keys) if kept.speech or not speech else 0
        used = self.pages_for(length)
        self.release(kept.pages[used:])
        return length, list(kept.pages[:used])

    def take(self, count: int) -> list[int] | None:
        """`count` pages, evicting kept prompts when it must; None (and nothing evicted) when there are too few."""
        reclaimable = sum(len(kept.pages) for kept in self._prefixes.values())
        if count > len(self._free) + reclaimable:
            return None
        while count > len(self._free):
            self.release(self._prefixes.popitem(last=False)[1].pages)
        return [self._free.pop() for _ in range(count)]

    def release(self, pages: Iterable[int]) -> None:
        self._free.extend(pages)

    def keep(self, conversation_id: str, kept: CachedPrefix) -> None:
        self.forget(conversation_id)
        self._prefixes[conversation_id] = kept

    def forget(self, conversation_id: str) -> None:
        kept = self._prefixes.pop(conversation_id, None)
        if kept is not None:
            self.release(kept.pages)
