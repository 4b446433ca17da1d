"""Settings that a client sends, good and bad."""

import pytest

from web_demo.audio.patience import EAGERNESS
from web_demo.audio.vad import VadRules
from web_demo.engines.base import Sampling, ToolResult
from web_demo.errors import InvalidRequest
from web_demo.server.conversation.options import SessionOptions
from web_demo.server.wires.chat_settings import (
    MAX_SYSTEM_PROMPT,
    ChatSettings,
    language_of,
    sampling_of,
    tool_results,
    update,
)


def test_a_system_prompt_is_taken_and_everything_else_stays():
    before = ChatSettings(SessionOptions(language="zh"), events=True)
    after = update(before, {"system_prompt": "Be brief."})
    assert after == ChatSettings(SessionOptions(language="zh", system_prompt="Be brief."), events=True)


def test_unknown_keys_are_ignored():
    assert update(ChatSettings(), {"colour": "x", "nonsense": [1]}) == ChatSettings()


@pytest.mark.parametrize(
    ("tag", "code"), [("zh-CN", "zh"), ("en", "en"), ("日语", "ja"), ("yue", "yue"), ("xx", "xx"), ("", "")]
)
def test_what_the_user_speaks_is_any_language(tag, code):
    assert update(ChatSettings(), {"spoken_language": tag}).session.spoken_language == code


@pytest.mark.parametrize(
    "wrong", [{"spoken_language": "!"}, {"spoken_language": 5}, {"voice": 5}, {"voice": "x" * 201}]
)
def test_a_language_or_a_voice_that_is_none_refuses_the_message(wrong):
    with pytest.raises(InvalidRequest, match=next(iter(wrong))):
        update(ChatSettings(), wrong)


def test_hands_free_without_numbers_has_the_default_rules():
    options = update(ChatSettings(), {"turn_detection": {"type": "server_vad"}})
    assert options.session.turn_detection == VadRules()
    assert options.session.prefix_s == 0.3


def test_hands_free_rules_are_settable():
    wanted = {
        "type": "server_vad",
        "threshold": 0.7,
        "silence_duration_ms": 250,
        "min_speech_ms": 64,
        "prefix_padding_ms": 100,
    }
    options = update(ChatSettings(), {"turn_detection": wanted})
    assert options.session.turn_detection == VadRules(threshold=0.7, min_silence_s=0.25, min_speech_s=0.064)
    assert options.session.prefix_s == 0.1


@pytest.mark.parametrize(
    ("wanted", "eagerness"),
    [({}, "auto"), ({"type": "semantic_vad"}, "auto"), ({"type": "semantic_vad", "eagerness": "low"}, "low")],
)
def test_the_end_of_a_turn_goes_by_its_meaning_unless_something_else_is_asked_for(wanted, eagerness):
    by_meaning = update(ChatSettings(), {"turn_detection": {"threshold": 0.7} | wanted})
    assert by_meaning.session.turn_detection == VadRules(threshold=0.7)
    assert by_meaning.session.patience == EAGERNESS[eagerness]
    assert update(by_meaning, {"turn_detection": {"type": "server_vad"}}).session.patience is None


@pytest.mark.parametrize("off", [None, {"type": "none"}])
def test_hands_free_can_be_turned_off_again(off):
    hands_free = update(ChatSettings(), {"turn_detection": {"type": "server_vad"}})
    assert update(hands_free, {"turn_detection": off}).session.turn_detection is None


def test_events_language_and_tools_are_taken():
    tool = {"type": "function", "function": {"name": "lights"}}
    options = update(ChatSettings(), {"events": True, "language": "zh-CN", "tools": [tool], "speech": False})
    assert options == ChatSettings(SessionOptions(language="zh", tools=(tool,), speech=False), events=True)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"system_prompt": 3}, "system_prompt must be a string, got 3"),
        ({"system_prompt": None}, "system_prompt must be a string"),
        ({"system_prompt": "x" * (MAX_SYSTEM_PROMPT + 1)}, "8001 characters; at most 8000"),
        ({"language": "tlh"}, "language must be en or zh, got 'tlh'"),
        ({"language": 1}, "language must be a string"),
        ({"events": 1}, "events must be true or false, got 1"),
        ({"speech": None}, "speech must be true or false, got None"),
        ({"turn_detection": "server_vad"}, "turn_detection must be an object or null"),
        ({"turn_detection": {"type": None}}, "turn_detection.type must be semantic_vad, server_vad or none, got None"),
        ({"turn_detection": {"type": "semantic"}}, "server_vad or none, got 'semantic'"),
        ({"turn_detection": {"type": "semantic_vad", "eagerness": "hasty"}}, "low, medium, high or auto, got 'hasty'"),
        ({"turn_detection": {"type": "semantic_vad", "eagerness": []}}, "low, medium, high or auto"),
        ({"turn_detection": {"type": "semantic_vad", "silence_duration_ms": 1}}, "from 100 to 5000"),
        ({"turn_detection": {"type": "server_vad", "threshold": 0}}, "a number from 0.05 to 0.95, got 0"),
        ({"turn_detection": {"type": "server_vad", "prefix_padding_ms": True}}, "from 0 to 2000, got True"),
        ({"turn_detection": {"type": "server_vad", "threshold": float("nan")}}, "a number from 0.05"),
        ({"turn_detection": {"type": "server_vad", "silence_duration_ms": "600"}}, "from 100 to 5000, got '600'"),
        ({"turn_detection": {"type": "server_vad", "silence_duration_ms": 10**9}}, "from 100 to 5000"),
        ({"turn_detection": {"type": "server_vad", "prefix_padding_ms": -1}}, "from 0 to 2000"),
        ({"tools": {}}, "tools must be a list of at most 64 objects"),
        ({"tools": ["x"]}, "tools must be a list"),
        ({"tools": [{}] * 65}, "tools must be a list"),
    ],
)
def test_a_wrong_value_is_refused_with_what_came_and_what_was_expected(data, said):
    with pytest.raises(InvalidRequest, match=said) as refused:
        update(ChatSettings(), data)
    assert len(refused.value.message) < 250


def test_tool_results_are_read_in_their_order():
    data = {"tool_results": [{"id": "b", "content": "rain"}, {"id": "a", "content": "", "more": 1}]}
    assert tool_results(data) == (ToolResult("b", "rain"), ToolResult("a", ""))


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, "a list of objects"),
        ([], "a list of objects"),
        (["x"], "a list of objects"),
        ([{"id": "call1"}], "a list of objects"),
        ([{"id": 1, "content": "x"}], "a list of objects"),
        ([{"id": "call1", "content": "x"}] * 65, "a list of objects"),
        ([{"id": "call1", "content": "x" * 9000}], "at most 8000"),
    ],
)
def test_wrong_tool_results_are_refused(value, said):
    with pytest.raises(InvalidRequest, match=said):
        tool_results({"tool_results": value})


def test_one_wrong_value_refuses_the_whole_message():
    options = ChatSettings()
    with pytest.raises(InvalidRequest):
        update(options, {"system_prompt": "new", "events": "yes"})
    assert options == ChatSettings()


@pytest.mark.parametrize(
    ("tag", "language"),
    [
        ("en", "en"),
        ("zh-CN", "zh"),
        ("ZH_hans", "zh"),
        ("fr-FR", None),
        ("en;q=0.5", None),
        ("", None),
        ("*", None),
    ],
)
def test_the_language_of_a_tag_is_one_that_we_speak(tag, language):
    assert language_of(tag) == language


def test_the_sampling_of_the_public_client_is_understood():
    query = {"text_temperature": "0.7", "text_topk": "25", "text_seed": "662804", "repetition_penalty": "1", "pad": "0"}
    assert sampling_of(query) == Sampling(temperature=0.7, top_k=25, repetition_penalty=1.0, seed=662804)


@pytest.mark.parametrize(
    "query",
    [
        {},
        {"text_temperature": "hot", "text_topk": "2.5", "text_seed": "-1", "repetition_penalty": ""},
        {"text_temperature": "nan", "text_topk": "²", "text_seed": "9" * 5000, "repetition_penalty": "inf"},
        {"text_temperature": "-0.1", "text_topk": "99999", "text_seed": str(2**63), "repetition_penalty": "0.5"},
    ],
)
def test_sampling_that_makes_no_sense_is_left_to_the_engine(query):
    assert sampling_of(query) == Sampling()
