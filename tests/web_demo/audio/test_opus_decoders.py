"""The two decoders of Opus packets beside each other; what both must do to a stream is in test_opus.py."""

import numpy as np
import pytest

from tests.speech import recording
from web_demo.audio import ogg
from web_demo.audio.opus import OpusWriter
from web_demo.audio.opus_decoders import AvDecoder, SphnDecoder
from web_demo.audio.samples import Samples


def packets_of(samples: Samples) -> list[bytes]:
    writer, demuxer = OpusWriter(), ogg.Demuxer()
    return [packet for page in (*writer.write(samples), *writer.flush()) for packet in demuxer.feed(page.data)]


@pytest.mark.parametrize("rate", [8_000, 16_000, 24_000, 48_000])
def test_both_libraries_give_the_same_sound_at_every_rate_of_opus(rate: int) -> None:
    packets = packets_of(recording("go_forward_ten_meters").at(24_000).samples)
    first, second = SphnDecoder(rate), AvDecoder(rate)
    sound = np.concatenate([first.decode(packets[at : at + 20]) for at in range(0, len(packets), 20)])
    other = np.concatenate([second.decode(packets[at : at + 3]) for at in range(0, len(packets), 3)])
    assert len(sound) == len(other) == len(packets) * rate // 25
    lag = max(range(-80, 81), key=lambda lag: float(np.dot(sound[80:-80], np.roll(other, -lag)[80:-80])))
    assert abs(lag) / rate < 0.005  # the filter looks ahead
    aligned = np.roll(other, -lag)
    assert np.corrcoef(sound[80:-80], aligned[80:-80])[0, 1] > 0.98


def test_what_the_lower_rate_cannot_hold_does_not_come_back_as_a_lower_tone() -> None:
    t = np.arange(24_000) / 24_000
    packets = packets_of((0.5 * np.sin(2 * np.pi * 11_000 * t)).astype(np.float32))
    assert np.sqrt(np.mean(np.square(AvDecoder(24_000).decode(packets)))) > 0.2  # it is there …
    assert np.sqrt(np.mean(np.square(AvDecoder(16_000).decode(packets)[1600:]))) < 0.005  # … and would be 5 kHz here


def test_a_rate_that_opus_does_not_have_is_refused() -> None:
    with pytest.raises(ValueError, match="must divide 48000"):
        AvDecoder(44_100)
