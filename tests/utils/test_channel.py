"""The closable channel."""

import asyncio

import pytest

from utils.channel import Channel, ChannelClosed


async def until_waiting() -> None:
    """Let every other task run as far as it can."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_items_come_out_in_order_and_the_end_after_them():
    channel: Channel[int] = Channel(3)
    for item in range(3):
        await channel.put(item)
    await channel.close()
    assert [item async for item in channel] == [0, 1, 2]


async def test_a_reader_of_an_open_channel_waits_for_more():
    channel: Channel[int] = Channel(1)

    async def read() -> list[int]:
        return [item async for item in channel]

    reader = asyncio.create_task(read())
    await until_waiting()
    assert not reader.done()
    await channel.put(7)
    await channel.close()
    assert await reader == [7]


async def test_a_full_channel_holds_back_its_writer_until_an_item_is_taken():
    channel: Channel[int] = Channel(2)
    await channel.put(0)
    await channel.put(1)
    writer = asyncio.create_task(channel.put(2))
    await until_waiting()
    assert not writer.done()
    assert len(channel) == 2
    assert await anext(aiter(channel)) == 0
    await writer
    assert len(channel) == 2


async def test_closing_wakes_a_waiting_writer():
    channel: Channel[int] = Channel(1)
    await channel.put(0)
    writer = asyncio.create_task(channel.put(1))
    await until_waiting()
    await channel.close()
    with pytest.raises(ChannelClosed):
        await writer
    assert [item async for item in channel] == [0]


async def test_nothing_can_be_put_into_a_closed_channel():
    channel: Channel[int] = Channel(1)
    await channel.close()
    await channel.close()
    with pytest.raises(ChannelClosed):
        await channel.put(0)


async def test_a_cancelled_writer_leaves_nothing_behind():
    channel: Channel[int] = Channel(1)
    await channel.put(0)
    writer = asyncio.create_task(channel.put(1))
    await until_waiting()
    writer.cancel()
    await asyncio.wait({writer})
    assert writer.cancelled()
    await channel.close()
    assert [item async for item in channel] == [0]


async def test_a_cancelled_reader_loses_nothing():
    channel: Channel[int] = Channel(2)
    reader = asyncio.create_task(anext(aiter(channel)))
    await until_waiting()
    reader.cancel()
    await asyncio.wait({reader})
    await channel.put(5)
    await channel.close()
    assert [item async for item in channel] == [5]


def test_a_channel_holds_at_least_one_item():
    with pytest.raises(ValueError, match="at least one item, got size 0"):
        Channel(0)


async def test_a_channel_can_be_full_by_weight():
    channel: Channel[int] = Channel(10, weight=lambda item: item)
    await channel.put(4)
    await channel.put(9)  # there was room
    waiting = asyncio.create_task(channel.put(1))
    await asyncio.sleep(0)
    assert not waiting.done()
    received = channel.__aiter__()
    assert await anext(received) == 4
    await waiting  # 9 leave room for one more
    assert [await anext(received), await anext(received)] == [9, 1]


async def test_shares_become_smaller_as_less_is_left():
    channel: Channel[int] = Channel(16)
    for item in range(16):
        await channel.put(item)
    await channel.close()
    shares = []
    while share := await channel.share(4):
        shares.append(share)
    assert [item for share in shares for item in share] == list(range(16))
    assert [len(share) for share in shares] == [4, 3, 2, 1, 1, 1, 1, 1, 1, 1]


async def test_a_share_is_weighed_and_has_the_oldest_item_whatever_it_weighs():
    channel: Channel[int] = Channel(100, weight=lambda item: item)
    for item in (9, 1, 1, 4, 3):
        await channel.put(item)
    assert [await channel.share(2) for _ in range(4)] == [(9,), (1, 1), (4,), (3,)]


async def test_a_closed_channel_may_give_the_heaviest_first():
    channel: Channel[int] = Channel(100, weight=lambda item: item)
    for item in (3, 9, 1, 4):
        await channel.put(item)
    await channel.close(heaviest_first=True)
    assert [await channel.share(2) for _ in range(5)] == [(9,), (4,), (3,), (1,), ()]


async def test_a_share_waits_for_something_and_makes_room():
    channel: Channel[int] = Channel(1)
    share = asyncio.create_task(channel.share(2))
    await until_waiting()
    assert not share.done()
    await channel.put(7)
    await channel.put(8)  # there is room when the first was taken
    assert await share == (7,)
