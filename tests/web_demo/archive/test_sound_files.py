"""Parts that were encoded apart are one file, with chapters where it has them."""

import av
import numpy as np
import pytest

from web_demo.archive.sound_files import KINDS, Encoded, Mark, SoundFile, encode

RATE = 24_000


def tone(hz: float, seconds: float = 2.0) -> np.ndarray:
    return (0.3 * np.sin(2 * np.pi * hz * np.arange(round(seconds * RATE)) / RATE)).astype(np.float32)


def loudest(samples: np.ndarray, rate: int) -> float:
    return float(np.abs(np.fft.rfft(samples)).argmax() * rate / len(samples))


@pytest.mark.parametrize("name", KINDS)
def test_parts_are_heard_one_after_the_other_and_chapters_begin_with_them(name: str):
    kind = KINDS[name]
    file = SoundFile(kind, RATE, {"title": "书", "artist": ""})
    marks = []
    for number, hz in enumerate((300.0, 600.0, 900.0)):
        marks.append(Mark(f"第{number}章", file.samples))
        file.add(encode(kind, tone(hz), RATE))
    file.add(Encoded(RATE, ()))  # a part without sound
    file.end(marks)
    file.content.seek(0)
    with file.content, av.open(file.content) as made:
        chapters = [(float(each["start"] * each["time_base"]), each["metadata"]["title"]) for each in made.chapters()]
        rate = made.streams.audio[0].rate
        resampler = av.AudioResampler("s16", "mono", rate)
        frames = [part for frame in made.decode(audio=0) for part in resampler.resample(frame)]
        heard = np.concatenate([frame.to_ndarray()[0] for frame in frames]).astype(np.float32)
        assert made.duration is not None
        assert abs(made.duration / 1e6 - 6.0) < 0.3
        assert made.metadata.get("title", "书") == "书"
    assert [title for _, title in chapters] == (["第0章", "第1章", "第2章"] if kind.chapters else [])
    starts = [at for at, _ in chapters] or [0.0, 2.0, 4.0]
    for start, hz in zip(starts, (300.0, 600.0, 900.0), strict=True):
        inside = heard[round((start + 0.3) * rate) : round((start + 1.7) * rate)]
        assert abs(loudest(inside, rate) - hz) < 3
    if kind.joined is False:
        assert len(heard) == 6 * RATE
