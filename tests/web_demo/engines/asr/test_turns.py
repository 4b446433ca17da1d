"""Whole turns, and recordings, of several clients at one recogniser."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest
from prometheus_client import CollectorRegistry

from tests.talk import until
from tests.web_demo.server.asr.helpers import ScriptedAsr, blocks, speech
from utils.turns import Turn
from web_demo.audio.samples import Audio
from web_demo.engines.asr.cutting import Looks, cut_up
from web_demo.engines.asr.turns import TurnRecogniser
from web_demo.engines.base import Transcript
from web_demo.server.asr.metrics import AsrMetrics
from web_demo.server.asr.transcriber import Transcriber, TranscriptionOptions

Ask = Callable[[Audio, str], "asyncio.Task[object]"]  # the sound, and whose it is


class Workers(ScriptedAsr):
    """Two workers and one in the background, each busy until `done` says so, whoever may have left meanwhile."""

    def __init__(self) -> None:
        super().__init__(max_segment_s=3.0)
        self.capabilities = replace(self.capabilities, workers=True, background=1)
        self.turns: list[Turn] = []
        self.done: list[asyncio.Future[None]] = []
        self.finished = False

    async def transcribe(
        self, audio: Audio, *, turn: Turn | None = None, language: str | None = None, **how: object
    ) -> Transcript:
        assert turn is not None
        self.turns.append(turn)
        self.done.append(asyncio.get_running_loop().create_future())
        turn.lasts_until(self.done[-1])
        if self.finished:
            self.done[-1].set_result(None)
        await asyncio.shield(self.done[-1])
        return Transcript("heard", "en")

    @property
    def asked_for(self) -> list[tuple[str, bool]]:
        return [(turn.client, turn.background) for turn in self.turns]

    def finish(self) -> None:
        """All that is asked for, and will be."""
        self.finished = True
        for each in self.done:
            each.set_result(None)


@pytest.fixture(params=["turns of conversations", "recordings"])
def ask(request: pytest.FixtureRequest) -> tuple[Workers, Ask]:
    engine = Workers()
    if request.param == "recordings":
        transcriber = Transcriber(engine, AsrMetrics(CollectorRegistry()))
        options = TranscriptionOptions("en")
        return engine, lambda audio, who: asyncio.ensure_future(transcriber.transcribe(blocks(audio), options, who))
    recogniser = TurnRecogniser(engine)
    return engine, lambda audio, who: asyncio.ensure_future(recogniser.words(audio, who))


async def asked(engine: Workers, times: int) -> None:
    """So often, and no more often in a moment after that."""
    await until(lambda: len(engine.turns) >= times)
    await asyncio.sleep(0.05)
    assert len(engine.turns) == times


async def test_a_long_turn_takes_one_worker_and_the_background_and_the_next_client_finds_a_worker(
    ask: tuple[Workers, Ask],
) -> None:
    engine, begin = ask
    long = [begin(speech(4, 1.5), "a") for _ in range(2)]
    await asked(engine, 2)
    short = begin(speech(1, 1.0), "b")
    await asked(engine, 3)
    assert engine.asked_for == [("a", False), ("a", True), ("b", False)]
    engine.finish()
    await asyncio.gather(*long, short)
    assert len(engine.turns) == 2 * 4 + 1


async def test_who_leaves_and_comes_again_has_no_further_worker_before_the_first_is_done(
    ask: tuple[Workers, Ask],
) -> None:
    engine, begin = ask
    for number in range(1, 4):
        leaving = begin(speech(1, 1.0), "a")
        await asked(engine, min(number, 2))
        leaving.cancel()
        await asyncio.wait({leaving})
    assert engine.asked_for == [("a", False), ("a", True)]
    other = begin(speech(1, 1.0), "b")
    await asked(engine, 3)
    assert engine.asked_for[2:] == [("b", False)]
    engine.finish()
    await other


async def test_looks_at_recordings_go_round_the_clients() -> None:
    looks, order = Looks(), []

    async def cut(client: str, recording: Audio) -> None:
        async for _ in cut_up(blocks(recording), 3.0, looks.of(client)):
            order.append(client)

    long = speech(12, 1.0)
    await asyncio.gather(*(cut("a", long) for _ in range(4)), cut("b", speech(3, 1.0)))
    mine = [place for place, client in enumerate(order) if client == "b"]
    assert mine[-1] <= 2 * len(mine) + 4
    assert len(order) > 3 * len(mine)
