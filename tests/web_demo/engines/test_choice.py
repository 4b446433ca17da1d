"""Which engine runs, and why."""

from pathlib import Path

import pytest

from web_demo.engines import registry
from web_demo.engines.choice import PREFERENCE, Choice, choose
from web_demo.server.common.settings import ServiceSettings


@pytest.fixture
def real_engine(monkeypatch, tmp_path):
    """A service of kind "asr" that prefers an engine which runs where `tmp_path/weights` is."""
    module = tmp_path / "choosy_engine.py"
    module.write_text(
        "def unavailable(settings):\n"
        "    return None if settings.model_path.is_dir() else f'no weights in {settings.model_path}'\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(registry.ENGINES, "asr", {"embedded": "nowhere:create", "real": "choosy_engine:create"})
    monkeypatch.setitem(PREFERENCE, "asr", ("real", "embedded"))
    return tmp_path / "weights"


def settings(model_path: Path, engine: str = "auto") -> ServiceSettings:
    return ServiceSettings(port=0, engine=engine, model_path=model_path)


def test_auto_takes_the_real_engine_where_it_can_run(real_engine):
    real_engine.mkdir()
    assert choose("asr", settings(real_engine)) == Choice("real", "its weights, packages and device are there")


def test_auto_takes_the_embedded_engine_otherwise_and_says_why(real_engine):
    assert choose("asr", settings(real_engine)) == Choice("embedded", f"real: no weights in {real_engine}")


def test_a_named_engine_is_never_replaced(real_engine):
    assert choose("asr", settings(real_engine, "real")) == Choice("real", "chosen by --engine")


@pytest.mark.parametrize("kind", ["s2s", "asr", "tts"])
def test_every_preferred_engine_is_registered_and_the_last_is_embedded(kind):
    assert set(PREFERENCE[kind]) <= set(registry.names(kind))
    assert PREFERENCE[kind][-1] == "embedded"
