"""What a session's fields mean for the conversation."""

import pytest

from web_demo.audio.patience import EAGERNESS
from web_demo.server.common.realtime.fields import EventError, Fields
from web_demo.server.conversation.options import AnswerOptions
from web_demo.server.wires.realtime.settings import Settings, begun

TOOL = {"type": "function", "name": "f"}


def session(**changes) -> Settings:
    return begun("any", "en", paced=True).updated(Fields(changes, "session"))


def detecting(detection: object):
    return session(audio={"input": {"turn_detection": detection}}).options


def test_a_session_begins_hands_free_and_keeps_all_sound():
    options = begun("any", "zh", paced=False).options
    assert options.turn_detection is not None
    assert (options.buffered, options.answers_itself, options.interrupts_itself) == (True, True, True)
    assert (options.language, options.paced, options.transcription) == ("zh", False, False)


@pytest.mark.parametrize("eagerness", ["low", "medium", "high", "auto"])
def test_semantic_detection_has_the_patience_of_its_eagerness(eagerness):
    options = detecting({"type": "semantic_vad", "eagerness": eagerness})
    assert options.patience == EAGERNESS[eagerness]
    assert options.turn_detection is not None
    assert detecting({"type": "server_vad"}).patience is None


def test_without_detection_the_client_commits_and_asks():
    options = detecting(None)
    assert (options.turn_detection, options.answers_itself) == (None, False)


@pytest.mark.parametrize("flag", ["create_response", "interrupt_response"])
def test_each_flag_is_one_thing(flag):
    options = detecting({"type": "server_vad", flag: False})
    assert options.answers_itself is (flag != "create_response")
    assert options.interrupts_itself is (flag != "interrupt_response")


@pytest.mark.parametrize(
    ("choice", "tools", "asked"),
    [("auto", 1, ""), ("none", 0, ""), ("required", 1, "required"), ({"type": "function", "name": "f"}, 1, "f")],
)
def test_which_functions_are_offered_and_which_must_be_called(choice, tools, asked):
    options = session(tools=[TOOL], tool_choice=choice).options
    assert (len(options.tools), options.tool_choice) == (tools, asked)


def test_an_answer_has_what_it_says_and_else_nothing_of_its_own():
    settings = session(instructions="Be brief.", tools=[TOOL])
    bare, whole = settings.answer(Fields({}, "response"), AnswerOptions())
    assert (bare.system_prompt, bare.tools, bare.tool_choice, bare.max_tokens) == (None, None, None, None)
    assert (bare.speech, whole.speech) == (True, True)
    own = {"instructions": "", "output_modalities": ["text"], "tool_choice": "none", "max_output_tokens": "inf"}
    options, whole = settings.answer(Fields(own, "response"), AnswerOptions())
    assert (options.system_prompt, options.tools, options.speech, options.max_tokens) == ("", (), False, 0)
    assert whole.speech is False


@pytest.mark.parametrize(("given", "tokens"), [("inf", 0), (None, 0), (1, 1), (4096, 4096)])
def test_the_length_of_answers_is_bounded_or_not(given, tokens):
    assert session(max_output_tokens=given).options.max_tokens == tokens


def test_a_wrong_update_changes_nothing():
    settings = session(instructions="Be brief.")
    with pytest.raises(EventError):
        settings.updated(Fields({"instructions": 7}, "session"))
    assert settings.options.system_prompt == "Be brief."


def test_the_language_of_a_transcription_is_that_of_our_own_words():
    assert session(audio={"input": {"transcription": {"language": "zh-CN"}}}).options.language == "zh"
