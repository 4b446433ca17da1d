import json

import pytest
from pydantic import ValidationError

from tests.web_demo.server.common.realtime.checked import checked
from web_demo.errors import Busy, EngineFailed, InvalidRequest
from web_demo.server.common.realtime import user_events
from web_demo.server.common.realtime.events import error_event, event, new_id, read, text_of, unknown_event
from web_demo.server.common.realtime.fields import EventError, Fields


def test_an_event_has_its_type_its_id_and_its_fields():
    asked = read('{"type": "response.create", "event_id": "e1", "response": {"metadata": {"a": "ü"}}}')
    assert (asked.type, asked.event_id) == ("response.create", "e1")
    response = asked.fields.object("response")
    assert response is not None
    assert response.data == {"metadata": {"a": "ü"}}


def test_an_event_needs_no_id_and_may_be_bytes():
    assert read(b'{"type": "input_audio_buffer.clear"}').event_id is None


@pytest.mark.parametrize(
    ("message", "code", "event_id"),
    [
        ("", "invalid_json", None),
        ("{", "invalid_json", None),
        (b"\xff{}", "invalid_json", None),
        ("[]", "invalid_json", None),
        ("null", "invalid_json", None),
        ('{"type": "x", "a": NaN}', "invalid_json", None),
        ('{"type": "x", "a": "\\ud83d"}', "invalid_json", None),
        ('{"type": "x", "a": ' + "[" * 15_000 + "]" * 15_000 + "}", "invalid_json", None),
        ('{"type": "x", "a": ' + "[" * 50_000 + "]" * 50_000 + "}", "event_too_large", None),
        ('{"type": "x", "a": [' + "0," * 50_000 + "0]}", "event_too_large", None),
        ('{"type": "x", "a": "' + "x" * (9 << 20) + '"}', "event_too_large", None),
        ('{"type": "x", "a": ' + "[" * 40 + "]" * 40 + "}", "invalid_json", None),
        ('{"type": "x", "a": ' + "9" * 5_000 + "}", "invalid_json", None),
        ('{"event_id": "e2"}', "missing_required_parameter", "e2"),
        ('{"event_id": "e2", "type": 5}', "invalid_value", "e2"),
        ('{"event_id": 5, "type": "x"}', "invalid_value", None),
        ('{"event_id": "' + "e" * 600 + '", "type": "x"}', "invalid_value", None),
    ],
)
def test_what_is_no_event_is_refused_in_words(message: str | bytes, code: str, event_id: str | None):
    with pytest.raises(EventError) as refused:
        read(message)
    assert (refused.value.code, refused.value.event_id) == (code, event_id)
    answer = checked(error_event(refused.value))
    assert answer["error"]["event_id"] == event_id
    assert len(answer["error"]["message"]) < 400


def test_an_emoji_that_is_written_as_a_whole_pair_is_text():
    assert read('{"type": "x", "a": "\\ud83d\\ude00"}').fields.text("a") == "😀"


def test_an_error_names_the_field_and_the_event():
    answer = checked(error_event(EventError("no", param="session.voice"), "e3"))
    assert answer["error"] == {
        "type": "invalid_request_error",
        "code": "invalid_value",
        "message": "no",
        "param": "session.voice",
        "event_id": "e3",
    }


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (InvalidRequest("x"), "invalid_request_error"),
        (Busy("x"), "invalid_request_error"),
        (EngineFailed("x"), "server_error"),
    ],
)
def test_an_error_tells_whose_fault_it_is(error, kind):
    assert error_event(error)["error"]["type"] == kind


def test_an_unknown_type_is_answered_with_those_there_are():
    error = unknown_event(read('{"type": "dance"}'), ("a", "b"))
    assert "'dance'" in error.message
    assert "a, b" in error.message


def test_ids_are_never_the_same():
    assert len({new_id("item") for _ in range(1000)} | {event("x")["event_id"] for _ in range(1000)}) == 2000


def test_events_go_out_as_they_are_read():
    assert json.loads(text_of({"a": "中 ü"})) == {"a": "中 ü"}
    assert "中" in text_of({"a": "中"})


def test_what_the_user_says_is_told_as_openais_client_reads_it():
    item = user_events.spoken_item("item_1")
    for sent in (
        user_events.speech_started("item_1", 0.5),
        user_events.speech_stopped("item_1", 2.25),
        user_events.committed("item_1", None),
        user_events.committed("item_2", "item_1"),
        user_events.cleared(),
        user_events.item_added(item, None),
        user_events.item_done(item, "item_0"),
        user_events.transcript_delta("item_1", "go "),
        user_events.transcript_completed("item_1", "go on", 1.75),
        user_events.transcript_failed("item_1", EngineFailed("the engine is gone")),
    ):
        checked(sent)
    assert user_events.speech_stopped("item_1", 2.25)["audio_end_ms"] == 2250


def test_the_check_itself_can_fail():
    with pytest.raises(ValidationError):
        checked(event("input_audio_buffer.speech_started", item_id="item_1"))


@pytest.mark.parametrize(
    ("read_it", "message"),
    [
        (lambda fields: fields.text("number"), "a.number must be a string, got 7"),
        (lambda fields: fields.text("long", most=3), "a.long must be a string of at most 3 characters, got 5"),
        (lambda fields: fields.text("none"), "a.none is missing"),
        (lambda fields: fields.number("long", 0, 1), "a.long must be a number from 0 to 1, got 'abcde'"),
        (lambda fields: fields.number("number", 0, 1), "a.number must be a number from 0 to 1, got 7"),
        (lambda fields: fields.number("true", 0, 1), "a.true must be a number from 0 to 1, got True"),
        (lambda fields: fields.flag("number", True), "a.number must be true or false, got 7"),
        (lambda fields: fields.choice("long", ("x", "y")), "a.long must be x or y, got 'abcde'"),
        (lambda fields: fields.choice("none", ("x", "y")), "a.none is missing"),
        (lambda fields: fields.object("list"), "a.list must be an object or null, got [1]"),
        (lambda fields: fields.objects("list", 9), "a.list must be a list of at most 9 objects, got [1]"),
        (lambda fields: fields.texts("texts", 9, 1), "a.texts must be a list of strings of at most 1 characters"),
        (lambda fields: fields.texts("texts", 1, 9), "a.texts must be a list of at most 1 strings"),
    ],
)
def test_a_field_that_is_wrong_is_told_by_its_full_name(read_it, message: str):
    fields = Fields({"number": 7, "long": "abcde", "none": None, "true": True, "list": [1], "texts": ["xx", "y"]}, "a")
    with pytest.raises(EventError) as refused:
        read_it(fields)
    assert refused.value.message.startswith(message)
    assert refused.value.param is not None
    assert message.startswith(refused.value.param)


def test_missing_and_null_fields_have_their_defaults():
    fields = Fields({"a": None, "list": [{"b": 1}]})
    assert fields.text("a", "x") == "x"
    assert fields.number("c", 0, 1, 0.5) == 0.5
    assert fields.flag("a", True) is True
    assert fields.choice("a", ("x", "y"), "y") == "y"
    assert fields.object("a") is None
    assert fields.texts("a", 1, 1) == []
    assert [item.full("b") for item in fields.objects("list", 3)] == ["list[0].b"]
