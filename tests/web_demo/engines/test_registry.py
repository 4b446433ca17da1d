"""Engines by name."""

import sys

import pytest

from web_demo.engines import registry
from web_demo.errors import SetupError


@pytest.fixture
def engines(monkeypatch):
    """A registry of our own for "asr"."""
    table: dict[str, str] = {}
    monkeypatch.setitem(registry.ENGINES, "asr", table)
    return table


@pytest.mark.parametrize("kind", ["s2s", "asr", "tts"])
def test_every_kind_has_an_embedded_engine(kind):
    assert "embedded" in registry.names(kind)


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(SetupError, match=r"unknown asr engine 'whisper'; there are: auto, embedded, funasr, openai"):
        registry.factory("asr", "whisper")


def test_a_factory_is_found_by_its_reference(engines):
    engines["fake"] = "web_demo.engines.fakes:ToneBackend"
    assert registry.factory("asr", "fake").__name__ == "ToneBackend"


def test_an_engine_is_imported_only_when_chosen(engines, tmp_path, monkeypatch):
    (tmp_path / "lazy_engine.py").write_text("def create(settings):\n    return settings\n")
    monkeypatch.syspath_prepend(tmp_path)
    engines["lazy"] = "lazy_engine:create"
    assert registry.names("asr") == ("lazy",)
    assert "lazy_engine" not in sys.modules
    assert registry.factory("asr", "lazy")(7) == 7
    monkeypatch.delitem(sys.modules, "lazy_engine")


def test_a_missing_package_is_named_with_what_to_do(engines, tmp_path, monkeypatch):
    (tmp_path / "needy_engine.py").write_text("import no_such_package_at_all\n")
    monkeypatch.syspath_prepend(tmp_path)
    engines["needy"] = "needy_engine:create"
    with pytest.raises(SetupError, match=r"'needy' needs the Python package 'no_such_package_at_all'.*pip install"):
        registry.factory("asr", "needy")


def test_a_mistake_in_an_engine_is_not_taken_for_a_missing_package(engines, tmp_path, monkeypatch):
    (tmp_path / "broken_engine.py").write_text("raise RuntimeError('a mistake')\n")
    monkeypatch.syspath_prepend(tmp_path)
    engines["broken"] = "broken_engine:create"
    with pytest.raises(RuntimeError, match="a mistake"):
        registry.factory("asr", "broken")
