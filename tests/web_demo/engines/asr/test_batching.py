import asyncio
import threading
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

import pytest

from web_demo.engines.asr.batching import BatchLimits, MicroBatcher
from web_demo.errors import Unavailable


class Doubler:
    """Doubles numbers; fails on any batch that holds a negative one. `go_on` holds it inside a batch."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.threads: set[int] = set()
        self.entered = threading.Event()
        self.go_on = threading.Event()
        self.go_on.set()

    def __call__(self, items: Sequence[int]) -> list[int]:
        self.batches.append(list(items))
        self.threads.add(threading.get_ident())
        self.entered.set()
        self.go_on.wait()
        if min(items) < 0:
            raise ValueError("negative")
        return [2 * item for item in items]


@asynccontextmanager
async def batching(model: Doubler, **limits) -> AsyncIterator[MicroBatcher]:
    with ThreadPoolExecutor(1) as thread:
        batcher = MicroBatcher(model, thread, BatchLimits(**limits))
        batcher.start()
        try:
            yield batcher
        finally:
            model.go_on.set()
            await batcher.close()


async def test_requests_at_the_same_time_share_a_batch_and_get_their_own_results():
    model = Doubler()
    async with batching(model) as batcher:
        results = await asyncio.gather(*(batcher.submit(n, "a", 1.0) for n in range(8)))
    assert results == [2 * n for n in range(8)]
    assert model.batches == [list(range(8))]
    assert len(model.threads) == 1


async def test_different_prompts_never_share_a_batch():
    model = Doubler()
    async with batching(model) as batcher:
        await asyncio.gather(*(batcher.submit(n, n % 2, 1.0) for n in range(4)))
    assert model.batches == [[0, 2], [1, 3]]


async def test_batches_are_limited_by_items_and_by_padded_seconds():
    model = Doubler()
    async with batching(model, max_items=3, max_padded_s=20.0) as batcher:
        await asyncio.gather(*(batcher.submit(n, "a", s) for n, s in enumerate((5.0, 5.0, 5.0, 5.0, 15.0, 50.0))))
    assert model.batches == [[0, 1, 2], [3], [4], [5]]


async def test_only_the_guilty_request_of_a_batch_fails():
    model = Doubler()
    async with batching(model) as batcher:
        results = await asyncio.gather(*(batcher.submit(n, "a", 1.0) for n in (1, -1, 3)), return_exceptions=True)
    assert results[0] == 2
    assert isinstance(results[1], ValueError)
    assert results[2] == 6


async def test_a_request_that_is_cancelled_while_it_waits_is_never_run():
    model = Doubler()
    model.go_on.clear()
    async with batching(model) as batcher:
        first = asyncio.create_task(batcher.submit(1, "a", 1.0))
        await asyncio.to_thread(model.entered.wait)
        waiting = [asyncio.create_task(batcher.submit(n, "a", 1.0)) for n in (2, 3)]
        await asyncio.sleep(0)
        waiting[0].cancel()
        model.go_on.set()
        assert await first == 2
        assert await waiting[1] == 6
    assert model.batches == [[1], [3]]


async def test_closing_answers_those_who_wait():
    model = Doubler()
    model.go_on.clear()
    async with batching(model) as batcher:
        running = asyncio.create_task(batcher.submit(1, "a", 1.0))
        await asyncio.to_thread(model.entered.wait)
        waiting = asyncio.create_task(batcher.submit(2, "b", 1.0))
        await asyncio.sleep(0)
        model.go_on.set()
        await batcher.close()
        results = await asyncio.gather(running, waiting, return_exceptions=True)
        assert all(result == 2 or isinstance(result, Unavailable) for result in results)
        with pytest.raises(Unavailable):
            await batcher.submit(3, "a", 1.0)
