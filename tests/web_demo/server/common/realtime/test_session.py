import pytest

from web_demo.audio.pcm import Coding
from web_demo.server.common.realtime.audio import PCM, AudioFormat
from web_demo.server.common.realtime.fields import EventError, Fields
from web_demo.server.common.realtime.session import (
    SEMANTIC_VAD,
    SERVER_VAD,
    Answering,
    Transcription,
    TurnDetection,
    answering,
    audio_input,
    audio_output,
    merged,
    updated,
)

SESSION = {"id": "sess_1", "type": "realtime", "audio": {"input": {"turn_detection": SERVER_VAD}}}


def update(changes: dict, session: dict = SESSION) -> dict:
    return updated(session, Fields(changes, "session"))


def heard(changes: dict):
    return audio_input(Fields(update(changes), "session"))


def test_parts_are_merged_and_the_rest_stays():
    first = update({"instructions": "Be brief.", "audio": {"output": {"voice": "marin"}}})
    second = update({"audio": {"output": {"speed": 1.2}, "input": {"transcription": {"language": "en"}}}}, first)
    assert second["instructions"] == "Be brief."
    assert second["audio"]["output"] == {"voice": "marin", "speed": 1.2}
    assert second["audio"]["input"] == {"turn_detection": SERVER_VAD, "transcription": {"language": "en"}}
    assert SESSION["audio"] == {"input": {"turn_detection": SERVER_VAD}}


def test_lists_are_replaced_and_unknown_fields_kept():
    session = update({"tools": [{"name": "a"}], "tracing": "auto", "new": {"thing": 1}})
    assert update({"tools": []}, session)["tools"] == []
    assert update({"tools": []}, session)["new"] == {"thing": 1}


def test_null_turns_off_and_an_object_on_again_with_its_defaults():
    off = update({"audio": {"input": {"turn_detection": None}}})
    assert audio_input(Fields(off)).turn_detection is None
    on = update({"audio": {"input": {"turn_detection": {"type": "server_vad", "threshold": 0.7}}}}, off)
    assert on["audio"]["input"]["turn_detection"] == {**SERVER_VAD, "threshold": 0.7}


def test_what_becomes_another_type_keeps_nothing_of_the_old():
    session = update({"audio": {"input": {"turn_detection": {"type": "semantic_vad"}}}})
    assert session["audio"]["input"]["turn_detection"] == SEMANTIC_VAD
    assert merged({"format": {"type": "audio/pcm", "rate": 24_000}}, {"format": {"type": "audio/pcmu"}}) == {
        "format": {"type": "audio/pcmu"}
    }


def test_a_part_of_turn_detection_changes_that_part():
    session = update({"audio": {"input": {"turn_detection": {"silence_duration_ms": 900}}}})
    assert session["audio"]["input"]["turn_detection"] == {**SERVER_VAD, "silence_duration_ms": 900}


def test_a_session_keeps_its_type_and_its_id():
    assert update({"id": "sess_2", "object": 7})["id"] == "sess_1"
    with pytest.raises(EventError) as refused:
        update({"type": "transcription"})
    assert refused.value.param == "session.type"


def test_a_session_that_grows_too_large_is_refused():
    with pytest.raises(EventError) as refused:
        update({"more": "x" * 300_000})
    assert refused.value.code == "session_too_large"


def test_the_input_is_read():
    found = heard(
        {
            "audio": {
                "input": {
                    "format": {"type": "audio/pcma"},
                    "noise_reduction": {"type": "near_field"},
                    "transcription": {
                        "model": "whisper-1",
                        "language": "en",
                        "prompt": "Talk of ships.",
                        "keywords": ["knot"],
                    },
                    "turn_detection": {"threshold": 0.8, "prefix_padding_ms": 200, "silence_duration_ms": 700},
                }
            }
        }
    )
    assert found.format == AudioFormat(Coding.A_LAW, 8_000)
    assert found.transcription == Transcription("en", "Talk of ships.", ("knot",))
    assert found.turn_detection is not None
    assert (found.turn_detection.rules.threshold, found.turn_detection.rules.min_silence_s) == (0.8, 0.7)
    assert found.turn_detection.prefix_s == 0.2


def test_without_fields_the_input_is_openais_own():
    found = audio_input(Fields({"type": "realtime"}))
    assert (found.format, found.transcription) == (PCM, None)
    assert found.turn_detection == TurnDetection()
    assert found.turn_detection.rules.min_silence_s == 0.5


@pytest.mark.parametrize("flag", ["create_response", "interrupt_response"])
@pytest.mark.parametrize("kind", ["server_vad", "semantic_vad"])
def test_flags_are_read_with_either_detection(kind: str, flag: str):
    found = heard({"audio": {"input": {"turn_detection": {"type": kind, flag: False}}}}).turn_detection
    assert found is not None
    assert found.type == kind
    assert not getattr(found, flag)
    assert found.create_response or found.interrupt_response


def test_who_is_less_eager_waits_longer():
    waits = []
    for eagerness in ("high", "medium", "low"):
        found = heard({"audio": {"input": {"turn_detection": {"type": "semantic_vad", "eagerness": eagerness}}}})
        assert found.turn_detection is not None
        waits.append(found.turn_detection.rules.min_silence_s)
    assert waits == sorted(waits)
    assert len(set(waits)) == 3


@pytest.mark.parametrize(
    ("input", "param"),
    [
        ({"turn_detection": {"type": "none"}}, "turn_detection.type"),
        ({"turn_detection": "server_vad"}, "turn_detection"),
        ({"turn_detection": {"threshold": 2}}, "turn_detection.threshold"),
        ({"turn_detection": {"silence_duration_ms": "500"}}, "turn_detection.silence_duration_ms"),
        ({"turn_detection": {"prefix_padding_ms": -1}}, "turn_detection.prefix_padding_ms"),
        ({"turn_detection": {"create_response": 1}}, "turn_detection.create_response"),
        ({"turn_detection": {"type": "semantic_vad", "eagerness": "never"}}, "turn_detection.eagerness"),
        ({"transcription": "whisper-1"}, "transcription"),
        ({"transcription": {"language": 5}}, "transcription.language"),
        ({"transcription": {"prompt": "x" * 9_000}}, "transcription.prompt"),
        ({"transcription": {"keywords": "knot"}}, "transcription.keywords"),
        ({"format": {"type": "audio/mp3"}}, "format.type"),
    ],
)
def test_what_is_wrong_in_the_input_is_told_by_name(input: dict, param: str):
    with pytest.raises(EventError) as refused:
        heard({"audio": {"input": input}})
    assert refused.value.param == f"session.audio.input.{param}"


def test_wrong_shapes_around_the_input_are_told_by_name():
    for changes, param in (({"audio": 5}, "session.audio"), ({"audio": {"input": []}}, "session.audio.input")):
        with pytest.raises(EventError) as refused:
            heard(changes)
        assert refused.value.param == param


def test_the_output_is_read_and_a_voice_may_be_an_object():
    found = audio_output(
        Fields({"audio": {"output": {"voice": {"id": "v1"}, "speed": 1.5, "format": {"type": "audio/pcmu"}}}})
    )
    assert (found.voice, found.speed, found.format.coding) == ("v1", 1.5, Coding.MU_LAW)
    assert audio_output(Fields({"audio": {"output": {"voice": "marin"}}})).voice == "marin"
    with pytest.raises(EventError):
        audio_output(Fields({"audio": {"output": {"speed": 9}}}))


def test_one_answer_has_what_its_session_has_and_it_does_not_say():
    session = answering(Fields({"instructions": "Be brief.", "tools": [{"name": "a"}], "tool_choice": "required"}))
    assert session == Answering("Be brief.", True, ({"name": "a"},), "required")
    one = answering(Fields({"output_modalities": ["text"], "tool_choice": {"type": "function", "name": "a"}}), session)
    assert one == Answering("Be brief.", False, ({"name": "a"},), {"type": "function", "name": "a"})
    assert answering(Fields({"tools": [], "instructions": ""}), session).tools == ()
    short = answering(Fields({"max_output_tokens": 100}))
    assert answering(Fields({}), short).max_output_tokens == 100
    assert answering(Fields({"max_output_tokens": "inf"}), short).max_output_tokens == 0


@pytest.mark.parametrize(
    "fields",
    [
        {"output_modalities": ["video"]},
        {"output_modalities": "audio"},
        {"tools": {"name": "a"}},
        {"tools": ["a"]},
        {"tool_choice": "perhaps"},
        {"tool_choice": 7},
        {"max_output_tokens": 0},
        {"max_output_tokens": True},
        {"max_output_tokens": "many"},
        {"instructions": 7},
        {"instructions": "x" * 40_000},
    ],
)
def test_what_is_wrong_about_answers_is_told_by_name(fields: dict):
    with pytest.raises(EventError) as refused:
        answering(Fields(fields, "response"))
    assert refused.value.param == f"response.{next(iter(fields))}"
