"""Shares of a GPU: what fits beside what, in numbers."""

from __future__ import annotations

import pytest

from web_demo.errors import SetupError
from web_demo.models.runtime.memory import GIB, Beside, as_smaller, for_caches, streams_alone, streams_beside

STREAM = 363_500_000  # of CosyVoice3 with four seconds of context in 16 bits
GPUS = {"24 GB": 24 * GIB, "80 GB": 79 * GIB, "H200": 139 * GIB}


@pytest.mark.parametrize(("gpu", "dtype", "cache", "sessions"), [
    ("24 GB", "auto", "auto", 1), ("24 GB", "float8", "auto", 7), ("24 GB", "float8", "float8", 9),
    ("80 GB", "auto", "auto", 43), ("80 GB", "auto", "float8", 59),
    ("H200", "auto", "auto", 97), ("H200", "float8", "auto", 104), ("H200", "auto", "float8", 133),
])  # fmt: skip
def test_a_detokenizer_leaves_room_for_as_many_sessions_of_the_model_beside_it(gpu, dtype, cache, sessions):
    beside, total = Beside.speech_model(dtype, cache), GPUS[gpu]
    streams = streams_beside(STREAM, total=total, most=256, batch=32, beside=beside)
    assert streams == sessions
    left = total - streams * STREAM - min(streams, 32) * GIB // 4 - 2 * GIB - beside.weights
    assert for_caches(free=left, total=total) // beside.session >= streams


def test_no_more_streams_than_were_asked_for_and_the_whole_gpu_where_nobody_else_lives():
    total = GPUS["H200"]
    assert streams_beside(STREAM, total=total, most=64, batch=32, beside=Beside.speech_model("auto")) == 64
    assert streams_beside(STREAM, total=total, most=512, batch=32, beside=Beside()) == 348


def test_a_gpu_that_is_too_small_still_gets_one_stream():
    """The model beside it then says what it lacks."""
    assert streams_beside(STREAM, total=8 * GIB, most=64, batch=32, beside=Beside.speech_model("auto")) == 1
    assert streams_alone(STREAM, free=0, most=8) == 1
    assert for_caches(free=GIB, total=24 * GIB) == 0


def test_text_to_speech_takes_half_of_what_is_free():
    assert streams_alone(STREAM, free=10 * GIB, most=32) == 14


def test_a_large_gpu_can_play_a_small_one() -> None:
    """With 20 GiB on it, one of 139 is one of 24 with 4 left."""
    assert as_smaller(119 * GIB, 139 * GIB, "24") == (4 * GIB, 24 * GIB)
    assert as_smaller(109 * GIB, 139 * GIB, "24") == (0, 24 * GIB)  # more is on it than that holds
    assert as_smaller(4 * GIB, 16 * GIB, "24") == (4 * GIB, 16 * GIB)
    assert as_smaller(4 * GIB, 16 * GIB, "") == (4 * GIB, 16 * GIB)
    with pytest.raises(SetupError, match="number of GiB"):
        as_smaller(1, 2, "24 GB")
