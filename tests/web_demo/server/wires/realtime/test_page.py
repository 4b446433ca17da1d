"""REALTIME.md says what the code does, and its program talks."""

import re
from pathlib import Path

import pytest

from tests.talk import s2s, say, serving
from web_demo.engines.fakes import ScriptedS2s
from web_demo.server.common.realtime import events
from web_demo.server.conversation import history
from web_demo.server.conversation.answers import MAX_BESIDE
from web_demo.server.conversation.session import LEAST_COMMIT_S
from web_demo.server.conversation.turn import Refusal
from web_demo.server.conversation.user_audio import AHEAD_S
from web_demo.server.wires.realtime import items, responses, telling, wire
from web_demo.server.wires.realtime.asking import TYPES

PAGE = Path(wire.__file__).parents[1].joinpath("REALTIME.md").read_text("utf-8")
CODE = Path(wire.__file__).parent.parent.parent


def sent() -> set[str]:
    """Names of server events that stand in the source."""
    sources = [*Path(wire.__file__).parent.glob("*.py"), CODE / "common" / "realtime" / "user_events.py"]
    text = "\n".join(path.read_text("utf-8") for path in sources).replace(
        "{_TRANSCRIPTION}", "conversation.item.input_audio_transcription"
    )
    names = set(re.findall(r'"((?:session|response|conversation\.item|input_audio_buffer)\.[a-z_.]+)"', text))
    return names - set(TYPES) - {"conversation.item.input_audio_transcription"}  # whose events end on more


def test_every_client_event_has_its_row_and_no_other():
    table = PAGE.split("## What a client may send")[1].split("\n\n")[1]
    assert tuple(re.findall(r"^\| `([a-z_.]+)` \|", table, re.MULTILINE)) == TYPES


def test_every_server_event_has_its_row_and_no_other():
    table = PAGE.split("## What the server sends")[1].split("\n\n")[1]
    rows = [line.split(" | ")[0] for line in table.splitlines()[2:]]
    assert len(sent()) > 20
    assert set(re.findall(r"`([a-z_.]+)`", "\n".join(rows))) == sent() | {"error"}


def test_the_code_that_is_named_exists():
    assert telling.REFUSALS[Refusal.NOTHING_SAID][0] in PAGE


def test_the_numbers_are_those_of_the_code():
    assert f"at most {events.MAX_EVENT_BYTES >> 20} MiB and {events.MAX_PARTS} commas" in PAGE
    assert f"may come {AHEAD_S:g} s ahead" in PAGE
    assert f"more than {wire.EVENTS_PER_S:g} events a second" in PAGE
    assert f"{items.MAX_TEXT} characters" in PAGE
    assert f"last {history.HISTORY_PAIRS} pairs" in PAGE
    assert f"{history.MAX_ITEMS} items are kept" in PAGE
    assert f"up to {MAX_BESIDE} run beside" in PAGE
    assert f"Less than {LEAST_COMMIT_S * 1000:g} ms" in PAGE
    assert f"{responses.BYTES_PER_TOKEN} bytes of text a token, {responses.USER_TOKENS_PER_S} tokens" in PAGE


async def test_the_program_of_the_page_talks():
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    names = {"__name__": "page"}
    exec(compile(code, "REALTIME.md", "exec"), names)
    async with serving(s2s(ScriptedS2s(say("Hello there.")))) as server:
        sound = await names["talk"](server.url("/v1"))
    assert len(sound) / 48_000 == pytest.approx(12 * 0.05, abs=0.05)
