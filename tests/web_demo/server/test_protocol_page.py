"""PROTOCOL.md says what the code does."""

from pathlib import Path
from typing import get_args

import pytest
from aiohttp import WSCloseCode

from web_demo.audio.patience import DEADLINE_S, EAGERNESS, PAUSE_S
from web_demo.audio.vad import VadRules
from web_demo.server import protocal
from web_demo.server.conversation.events import (
    Committed,
    Discarded,
    ItemAdded,
    ItemDeleted,
    ItemFound,
    ItemTruncated,
    ReplyAudio,
    ReplyText,
    ServerEvent,
)
from web_demo.server.conversation.options import SessionOptions
from web_demo.server.conversation.session import SessionLimits
from web_demo.server.wires import chat, chat_settings, connection

PAGE = Path(protocal.__file__).with_name("PROTOCOL.md").read_text()


def row(first_cell: str) -> str:
    """The line of a table that begins so."""
    (line,) = [line for line in PAGE.splitlines() if line.startswith(f"| {first_cell} |")]
    return line


@pytest.mark.parametrize("kind", protocal.MessageType)
def test_every_message_type_has_its_row(kind):
    name = {"COLORED_TEXT": "coloured text"}.get(kind.name, kind.name.lower())
    assert f"| {name} |" in row(f"`{kind:02x}`")


@pytest.mark.parametrize(("name", "action"), protocal.ACTION_NAMES.items())
def test_every_action_has_its_byte(name, action):
    assert f"`{action:02x}` {name}" in row("`03`")


@pytest.mark.parametrize("key", chat_settings.SETTINGS)
def test_every_setting_has_its_row(key):
    assert row(f"`{key}`")


@pytest.mark.parametrize("event", get_args(ServerEvent), ids=lambda event: event.__name__)
def test_every_event_is_listed(event):
    if event in (ReplyText, ReplyAudio):
        assert event not in chat.EVENT_NAMES  # they are messages of their own
    elif event in (Committed, Discarded, ItemAdded, ItemDeleted, ItemTruncated, ItemFound):
        assert event not in chat.EVENT_NAMES  # of items, which this protocol does not have
    else:
        assert f"`{chat.EVENT_NAMES[event]}`" in PAGE.split("**Events**")[1]


def test_the_numbers_are_those_of_the_code():
    rules, limits = VadRules(), SessionLimits()
    assert f"{protocal.MAX_AUDIO_BYTES >> 10} KiB of audio, {protocal.MAX_JSON_BYTES >> 10} KiB" in PAGE
    assert f"a message over {connection.MAX_MESSAGE_BYTES >> 20} MiB" in row(f"{WSCloseCode.MESSAGE_TOO_BIG.value}")
    assert f"a ping after {connection.KEEPALIVE_S:g} s" in PAGE
    assert f"takes nothing for {connection.SEND_TIMEOUT_S:g} s" in PAGE
    assert f"At {limits.max_turn_s:g} s of audio" in PAGE
    assert f"about {limits.prebuffer_s:g} s ahead" in PAGE
    assert f"at most {chat_settings.MAX_SYSTEM_PROMPT} characters" in row("`system_prompt`")
    assert f"a whole turn of at most {protocal.MAX_TURN_CHARACTERS} characters" in PAGE
    assert f"at most {chat_settings.MAX_TOOLS} objects" in row("`tools`")
    assert f"default {rules.threshold:g})" in PAGE
    assert f"default {rules.min_silence_s * 1000:g})" in PAGE
    assert f"default {rules.min_speech_s * 1000:g})" in PAGE
    assert f"default {SessionOptions().prefix_s * 1000:g})" in PAGE


@pytest.mark.parametrize("eagerness", ["low", "medium", "high"])
def test_the_table_of_eagerness_is_that_of_the_code(eagerness):
    patience = EAGERNESS[eagerness]
    assert f"| {PAUSE_S * 1000:g} ms | up to {patience.longest_s:g} s | {patience.heard_s:g} s" in row(f"`{eagerness}`")
    assert f"takes more than {DEADLINE_S * 1000:g} ms" in PAGE
