from __future__ import annotations

from web_demo.models.funaudiochat.engine.pages import SCRATCH_PAGE, CachedPrefix, PagePool


def pool(pages: int = 11) -> PagePool:
    return PagePool(pages, page_tokens=4)


def test_the_scratch_page_is_never_given_out() -> None:
    pages = pool().take(10)
    assert pages is not None
    assert SCRATCH_PAGE not in pages
    assert len(set(pages)) == 10


def test_too_many_pages_are_refused_without_evicting_anyone() -> None:
    one = pool()
    kept = one.take(4)
    assert kept is not None
    one.keep("a", CachedPrefix(tuple(range(16)), tuple(kept), speech=True))
    assert one.take(11) is None
    assert one.cached_conversations == 1


def test_the_longest_unused_conversation_is_evicted_first() -> None:
    one = pool()
    for name in ("old", "new"):
        pages = one.take(4)
        assert pages is not None
        one.keep(name, CachedPrefix(tuple(range(16)), tuple(pages), speech=True))
    assert one.take(4) is not None
    assert one.reuse("old", tuple(range(16)), speech=True) == (0, [])
    assert one.reuse("new", tuple(range(16)), speech=True)[0] == 16


def test_only_the_common_start_is_reused_and_the_other_pages_come_back() -> None:
    one = pool()
    pages = one.take(4)
    assert pages is not None
    one.keep("a", CachedPrefix((*range(9), "other", *range(6)), tuple(pages), speech=True))
    length, reused = one.reuse("a", tuple(range(16)), speech=True)
    assert (length, reused) == (9, pages[:3])  # the third page holds position 8
    assert one.free == 7


def test_a_prompt_kept_without_speech_is_useless_to_a_speaking_turn() -> None:
    one = pool()
    pages = one.take(4)
    assert pages is not None
    one.keep("a", CachedPrefix(tuple(range(16)), tuple(pages), speech=False))
    assert one.reuse("a", tuple(range(16)), speech=True) == (0, [])
    assert one.free == 10


def test_forgetting_a_conversation_frees_its_pages() -> None:
    one = pool()
    pages = one.take(4)
    assert pages is not None
    one.keep("a", CachedPrefix(tuple(range(16)), tuple(pages), speech=True))
    one.forget("a")
    one.forget("never seen")
    assert one.free == one.total
