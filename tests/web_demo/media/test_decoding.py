"""What the service makes of what a decoder says, whoever broke that decoder."""

import asyncio

import numpy as np
import pytest

from web_demo.errors import ServiceError, TooLarge, Unavailable, UnsupportedMedia
from web_demo.media import frames
from web_demo.media.decoders import MOST_WARNINGS, Decoding
from web_demo.media.nursery import LOST, Job

HALF_A_SECOND = frames.pack(frames.SAMPLES, bytes(16_000))
DONE = frames.pack(frames.DONE)


async def heard(*said: bytes, ended: int = 0, max_s: float = 10.0) -> tuple[float, list[str]]:
    """Seconds and warnings of a decoder that says this and ends by that signal."""
    source = asyncio.StreamReader()
    source.feed_data(b"".join(said))
    source.feed_eof()
    ending = asyncio.get_running_loop().create_future()
    ending.set_result(ended)
    sound = Decoding(source, ending, Job(1, 1000, 16_000, max_s))
    audio = await sound.whole()
    assert audio.samples.dtype == np.float32
    return audio.seconds, sound.warnings


async def test_sound_and_warnings_come_through():
    said = (HALF_A_SECOND, frames.pack_text(frames.WARNING, "the third"), HALF_A_SECOND, DONE)
    assert await heard(*said) == (1.0, ["the third"])


@pytest.mark.parametrize(
    ("said", "ended", "error"),
    [
        ([frames.pack(b"Z", b"?")], 0, UnsupportedMedia),
        ([b"S\xff\xff\xff\xff"], 0, UnsupportedMedia),
        ([], 0, UnsupportedMedia),
        ([b"S\x00"], 11, UnsupportedMedia),
        ([], 24, TooLarge),
        ([], LOST, Unavailable),
        ([HALF_A_SECOND], LOST, Unavailable),
        ([frames.pack_text(frames.ERROR, "memory ")], 0, TooLarge),
        ([frames.pack_text(frames.ERROR, "too_large it is")], 0, TooLarge),
        ([frames.pack_text(frames.ERROR, "unsupported no audio")], 0, UnsupportedMedia),
        ([frames.pack_text(frames.ERROR, "what is this")], 0, UnsupportedMedia),
        ([HALF_A_SECOND] * 30, 0, TooLarge),
    ],
)
async def test_what_is_wrong_has_an_error(said, ended, error):
    with pytest.raises(ServiceError) as raised:
        await heard(*said, ended=ended)
    assert type(raised.value) is error


@pytest.mark.parametrize(
    ("last", "ended", "says"),
    [
        (b"", 11, "the file broke the decoder: only the first 0.5 s"),
        (b"", 24, "too much computing for its length: only the first 0.5 s"),
        (frames.pack_text(frames.ERROR, "memory "), 0, "MiB of memory: only the first 0.5 s"),
        (frames.pack(b"Z"), 0, "broke the decoder: only the first 0.5 s"),
    ],
)
async def test_what_came_before_the_end_is_used_and_said_to_be_a_part(last, ended, says):
    seconds, warnings = await heard(HALF_A_SECOND, last, ended=ended)
    assert seconds == 0.5
    assert says in warnings[0]


async def test_texts_are_few_and_safe_to_print():
    said = [frames.pack(frames.WARNING, b"a\r\nX-Header: b\x00\xff" + bytes(1000))] * 40
    _, warnings = await heard(*said, DONE)
    assert len(warnings) == MOST_WARNINGS
    assert set(warnings[0]) <= set("a?X-Header: b")
    assert len(warnings[0]) <= frames.MAX_TEXT
