"""The tiny checkpoint with random weights, loaded once; tests that need torch are left out where it is not installed."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from web_demo.models.funaudiochat.model import FunAudioChat
    from web_demo.models.funaudiochat.processor import Processor

GOLDEN = Path(__file__).parent / "golden"
TORCH_FREE = {"test_pages.py", "test_scheduler.py", "test_tools.py"}


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    if importlib.util.find_spec("torch") is None and collection_path.suffix == ".py":
        return True if collection_path.name.startswith("test_") and collection_path.name not in TORCH_FREE else None
    return None


@pytest.fixture(scope="session")
def golden() -> Path:
    return GOLDEN


@pytest.fixture(scope="session")
def model() -> FunAudioChat:
    import torch

    from web_demo.models.funaudiochat.loader import load_model

    torch.set_num_threads(1)
    return load_model(GOLDEN / "checkpoint")[0]


@pytest.fixture(scope="session")
def processor(model: FunAudioChat) -> Processor:
    from web_demo.models.funaudiochat.processor import Processor

    return Processor(GOLDEN / "checkpoint", model.config)
