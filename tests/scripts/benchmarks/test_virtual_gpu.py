"""The rules of pace and of batches, together, on a GPU in virtual time: as many as one carries are heard without a gap."""

from __future__ import annotations

import pytest

from scripts.benchmarks.load.virtual_gpu import ASKED_S, FIRST_MS, FRAME_MS, HOST_S, PROMPTS_MS, VirtualGpu


@pytest.mark.parametrize("seed", [0, 1])
def test_a_hundred_and_twenty_eight_people_hear_no_gap(seed: int) -> None:
    seen = VirtualGpu(128, share=0.6, seed=seed).run(40)
    assert seen.turns > 300
    assert not seen.unanswered
    assert not seen.gaps_s


def test_more_than_it_carries_are_late() -> None:
    """So that the test above can fail."""
    assert VirtualGpu(128, share=0.4).run(40).gaps_s


def test_one_alone_waits_for_nothing_but_the_work() -> None:
    seen = VirtualGpu(1, share=0.6).run(20)
    work_s = ASKED_S + (PROMPTS_MS + 5 * FRAME_MS[1] + FIRST_MS[1]) / 1000 + 7 * HOST_S
    assert seen.first_s == pytest.approx([work_s] * 2, abs=0.005)
