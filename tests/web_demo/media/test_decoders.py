"""Files from strangers, each decoded in a caged process of its own."""

import subprocess
import sys
import tempfile
import textwrap
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import numpy as np
import pytest

from tests.web_demo.media.files import claims_samples, with_subtitles
from tests.web_demo.media.test_decode import KINDS, VOICE, decode, voice_as
from web_demo.audio.samples import Audio, silence, to_wav
from web_demo.errors import TooLarge, UnsupportedMedia
from web_demo.media.decoders import Decoders, Decoding


@pytest.fixture
async def decoders() -> AsyncIterator[Decoders]:
    decoders = Decoders()
    yield decoders
    await decoders.close()


@asynccontextmanager
async def decoding(decoders: Decoders, data: bytes, *, max_s: float = 60.0) -> AsyncIterator[Decoding]:
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.seek(0)
        async with decoders.decoding(file, len(data), max_s=max_s) as sound:
            yield sound


async def whole(decoders: Decoders, data: bytes, *, max_s: float = 60.0) -> Audio:
    async with decoding(decoders, data, max_s=max_s) as sound:
        return await sound.whole()


async def test_inside_the_cage_every_kind_of_file_gives_the_same_sound(decoders: Decoders):
    for container, codec in KINDS:
        data = voice_as(container, codec)
        assert np.array_equal((await whole(decoders, data)).samples, decode(data)[0].samples), (container, codec)


async def test_subtitles_in_a_file_do_not_matter(decoders: Decoders):
    """PyAV has classes for them that it loads late."""
    assert (await whole(decoders, with_subtitles(VOICE))).seconds == pytest.approx(VOICE.seconds)


@pytest.mark.parametrize(
    ("data", "error", "says"),
    [
        (b"", UnsupportedMedia, "empty"),
        (b"MZ", UnsupportedMedia, "no audio"),
        (to_wav(silence(2.0, 16_000)), TooLarge, r"longer than 1\.5 s"),
    ],
)
async def test_what_is_refused_in_the_cage_has_its_error(decoders: Decoders, data, error, says):
    with pytest.raises(error, match=says):
        await whole(decoders, data, max_s=1.5)


async def test_warnings_come_out_of_the_cage(decoders: Decoders):
    async with decoding(decoders, to_wav(silence(2.0, 16_000))) as sound:
        assert (await sound.whole()).seconds == sound.seconds == 2.0
    assert "no sound in it" in sound.warnings[0]


async def test_a_file_that_claims_more_than_memory_holds_ends_only_its_decoder(decoders: Decoders):
    with pytest.raises((UnsupportedMedia, TooLarge)):
        await whole(decoders, claims_samples(60_000_000), max_s=1e6)
    assert (await whole(decoders, to_wav(VOICE))).seconds == pytest.approx(VOICE.seconds)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux enforces it")
def test_a_file_that_claims_more_than_memory_holds_takes_little():
    """In a process of its own, whose children are the decoders alone: 2.1 GB without the cage."""
    program = """
        import asyncio, resource
        from tests.web_demo.media.files import claims_samples, with_subtitles
        from tests.web_demo.media.test_decoders import decoding
        from web_demo.media.decoders import Decoders
        async def main():
            decoders = Decoders()
            async with decoding(decoders, claims_samples(60_000_000), max_s=1e6) as sound:
                try:
                    await sound.whole()
                finally:
                    await sound._ended
                    await decoders.close()
        try:
            asyncio.run(main())
        finally:
            print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, timeout=240, check=False
    )
    assert "UnsupportedMedia" in done.stderr
    assert 10 < int(done.stdout) < 250


async def test_another_process_forks_decoders_when_the_first_is_gone(decoders: Decoders):
    await whole(decoders, to_wav(VOICE))
    nursery = decoders._nursery
    assert nursery is not None
    nursery._process.kill()
    await nursery._reading
    assert (await whole(decoders, to_wav(VOICE))).seconds == pytest.approx(VOICE.seconds)


async def test_a_reader_that_leaves_ends_the_decoder(decoders: Decoders):
    async with decoding(decoders, to_wav(silence(120.0, 16_000)), max_s=3600.0) as sound:
        await anext(sound.blocks())
    assert await sound._ended is not None
