"""The tutorial of web_demo/engines/ADDING.md, done word for word."""

import ast
import importlib.util
import re
import shlex
import sys
from collections import defaultdict
from pathlib import Path

import pytest

from tests.speech import recording
from tests.talk import loud_s, serving, talking
from tests.web_demo.engines import test_contract as contract
from tests.web_demo.server.asr import helpers as asr
from web_demo.audio.samples import to_wav
from web_demo.engines import registry
from web_demo.engines.choice import PREFERENCE, choose
from web_demo.server import server
from web_demo.server.asr.settings import AsrSettings
from web_demo.server.common.settings import ServiceSettings, parse
from web_demo.server.s2s.settings import S2sSettings
from web_demo.server.tts.settings import TtsSettings

PAGE = (Path(registry.__file__).parent / "ADDING.md").read_text("utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
SETTINGS: dict[str, type[ServiceSettings]] = {
    "web_demo.server.asr_server": AsrSettings,
    "web_demo.server.tts_server": TtsSettings,
    "web_demo.server.server": S2sSettings,
}


def files() -> dict[str, str]:
    """What the page puts into which file; later blocks go behind earlier ones."""
    found: dict[str, str] = defaultdict(str)
    for language, code in BLOCKS:
        if language == "python":
            first, _, rest = code.partition("\n")
            found[first.removeprefix("# ")] += rest
    return dict(found)


def commands() -> list[str]:
    return [line for language, code in BLOCKS if language == "sh" for line in code.splitlines()]


@pytest.fixture
def added(tmp_path, monkeypatch):
    """The modules at their names, and their lines in the registry."""
    lines = files()
    entries = ast.literal_eval("{" + lines.pop("web_demo/engines/registry.py") + "}")
    for path, source in lines.items():
        name = path.removesuffix(".py").replace("/", ".")
        (tmp_path / f"{name}.py").write_text(source, "utf-8")
        spec = importlib.util.spec_from_file_location(name, tmp_path / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, name, module)
        spec.loader.exec_module(module)
    for name, reference in entries.items():
        monkeypatch.setitem(registry.ENGINES[reference.split(".")[2]], name, reference)


def test_the_page_has_what_is_tested():
    assert set(files()) == {
        "web_demo/engines/asr/stopwatch.py",
        "web_demo/engines/tts/beeps.py",
        "web_demo/engines/registry.py",
    }
    assert len(commands()) == 4


@pytest.mark.parametrize("path", sorted(re.findall(r"\]\(([^)]+)\)", PAGE)))
def test_its_links_lead_somewhere(path):
    assert (Path(registry.__file__).parent / path).is_file()


@pytest.mark.parametrize("command", commands())
def test_its_commands_are_understood(added, command):
    python, dash_m, module, *arguments = shlex.split(command)
    assert (python, dash_m) == ("python3", "-m")
    parse(SETTINGS[module], arguments)


async def test_its_recogniser_serves_and_keeps_the_contract(added):
    engine = registry.factory("asr", "stopwatch")(AsrSettings())
    await contract.test_it_says_what_it_is_and_serves_without_fault(engine)
    await contract.test_speech_of_any_rate_gives_a_transcript(engine, 48_000)
    await contract.test_silence_gives_an_empty_text(engine, 2.0)
    await contract.test_a_language_that_it_does_not_know_is_refused(engine)
    await contract.test_hotwords_and_itn_are_taken_or_named_as_ignored(engine)
    async with asr.serving(engine) as client:
        status, body = await asr.post(client, to_wav(recording("cards_001")))
    assert status == 200
    assert re.fullmatch(r"\d\.\d seconds", body["text"])


async def test_its_voice_keeps_the_contract(added):
    engine = registry.factory("tts", "beeps")(None)
    await contract.test_text_becomes_sound_at_its_rate(engine)
    await contract.test_a_text_without_words_is_no_sound(engine, "😀 …")
    await contract.test_every_voice_that_it_lists_speaks_and_another_is_refused(engine)
    await contract.test_the_speeds_that_it_declares_work(engine)
    await contract.test_what_it_does_not_declare_is_refused(engine)
    await contract.test_pieces_as_long_as_it_declares_are_spoken(engine)
    await contract.test_closing_the_iterator_ends_the_work(engine)


async def test_both_hold_a_conversation_as_its_last_command_says(added):
    settings = parse(S2sSettings, [*shlex.split(commands()[-1])[3:], "--port", "0"])
    async with serving(server.create_app(settings)) as service, talking(service) as talker:
        await talker.ask(recording("cards_001"))
        await talker.final()
        assert re.search(r"You said: \d\.\d seconds\.", talker.texts()[-1])
        words = talker.texts()[-1].removeprefix("\n[Final: ").split()
        assert loud_s(talker.sound()) > 0.1 * len(words)


def test_auto_prefers_it_where_it_can_run(added, monkeypatch):
    monkeypatch.setitem(PREFERENCE, "asr", ("stopwatch", "embedded"))
    assert choose("asr", AsrSettings()).name == "stopwatch"
    assert choose("asr", AsrSettings(model_path=None)).reason == "stopwatch: no --model-path"
