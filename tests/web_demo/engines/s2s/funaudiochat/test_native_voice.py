"""Both native models behind the S2S service: the tiny Fun-Audio-Chat thinks, the tiny CosyVoice3 speaks in the child.

The weights are random, so what is said means nothing; that codes become sound of their own length does.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="requirements-models.txt")

from tests.talk import serving, talking, tone, until
from tests.web_demo.engines.s2s.funaudiochat.test_engine import CHECKPOINT
from tests.web_demo.models.cosyvoice3.golden import expanded
from web_demo.server.protocal import Text
from web_demo.server.s2s.settings import S2sSettings
from web_demo.server.server import create_app

pytestmark = [pytest.mark.long, pytest.mark.models]


@pytest.fixture(scope="module")
def voice(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return expanded(tmp_path_factory.mktemp("voice") / "golden") / "model"


async def test_the_service_speaks_with_both_models_and_survives_the_death_of_its_voice(voice: Path) -> None:
    settings = S2sSettings(
        port=0, engine="funaudiochat", model_path=CHECKPOINT, tts_model_path=voice, device="cpu", max_sessions=4
    )
    async with serving(create_app(settings), patience_s=120.0) as server, talking(server, "?text_seed=3") as talker:
        assert server.service.describe()["max_sessions"] == 4
        await talker.ask(tone(1.0))
        position = await talker.audio()
        os.kill(server.service.detokenizer.pid, signal.SIGKILL)
        assert "being restarted" in await talker.error(position)
        position = len(talker.log)
        await talker.start()
        await talker.ask(tone(1.0))
        await talker.wait_for(lambda m: isinstance(m, Text), position)
        await until(lambda: server.service.health.state() == ("healthy", ""))
        # what random weights say next depends on what was heard before; to somebody new they say the same again
        async with talking(server, "?text_seed=3") as another:
            await another.ask(tone(1.0))
            await another.final()
            assert another.sound().seconds > 0.2
        assert (await server.metrics())["s2s_detokenizer_restarts_total"] == 1
