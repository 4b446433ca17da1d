"""How far a run is, and which devices its workers get. Pure."""

import io

import pytest

from tests.web_demo.archive.fakes import Capitals
from web_demo.archive.program import devices
from web_demo.archive.progress import Display, Progress
from web_demo.errors import SetupError


def test_the_bar_has_files_hours_speed_and_the_time_that_is_left():
    progress = Progress(files=40, size=1000, began=100.0, done=9, failed=1, size_done=250, sound_s=7200.0)
    assert progress.line(now=700.0) == (
        "[######..................] 10/40 files  2.0 h of sound  12.0 x real time  1 failed  0:30:00 left"
    )


@pytest.mark.parametrize("size", [0, 10])
def test_a_run_that_has_just_begun_or_has_nothing_to_read_has_a_bar(size: int):
    assert "0/1 files" in Progress(files=1, size=size, began=5.0).line(now=5.0)


def test_a_log_gets_a_line_now_and_then_and_the_last_one():
    written = io.StringIO()
    display = Display(Progress(files=1, size=1, began=0.0), written)
    for now in range(0, 100, 5):
        display.show(float(now))
    display.show(100.0, last=True)
    assert len(written.getvalue().splitlines()) == 4
    assert "\x1b" not in written.getvalue()


def test_gpus_are_shared_out_by_number():
    stages = Capitals(uses_gpu=True)
    assert devices("0, 2", 0, stages) == ["cuda:0", "cuda:2"]
    assert devices("0,2", 3, stages) == ["cuda:0", "cuda:2", "cuda:0"]
    assert devices("", 0, stages) == [""]
    assert devices("", 0, Capitals(is_remote=True)) == [""]
    assert len(devices("", 3, Capitals())) == 3
    with pytest.raises(SetupError, match="numbers such as 0,1"):
        devices("cuda:0", 0, stages)
