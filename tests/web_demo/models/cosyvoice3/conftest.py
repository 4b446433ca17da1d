"""The golden model, written out once a session, and what the tests load from it."""

from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
torch.set_num_threads(1)

from web_demo.models.cosyvoice3.flow.flow import Flow  # noqa: E402
from web_demo.models.cosyvoice3.lm.lm import SpeechLm, load_lm  # noqa: E402
from web_demo.models.cosyvoice3.load import load_flow, load_vocoder  # noqa: E402
from web_demo.models.cosyvoice3.vocoder.vocoder import Vocoder  # noqa: E402

from .golden import expanded  # noqa: E402


@pytest.fixture(scope="session")
def golden(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return expanded(tmp_path_factory.mktemp("cosyvoice3") / "golden")


@pytest.fixture(scope="session")
def model_dir(golden: Path) -> Path:
    return golden / "model"


@pytest.fixture(scope="session")
def flow(model_dir: Path) -> Flow:
    return load_flow(model_dir)


@pytest.fixture(scope="session")
def vocoder(model_dir: Path) -> Vocoder:
    return load_vocoder(model_dir, max_frames=3000)


@pytest.fixture(scope="session")
def lm(model_dir: Path) -> SpeechLm:
    return load_lm(model_dir)
