"""The wire protocol, without a wire."""

import json

import pytest

from tests.public_client import session
from web_demo.audio.opus import OpusReader
from web_demo.server.protocal import (
    MAX_AUDIO_BYTES,
    MAX_JSON_BYTES,
    Action,
    AudioData,
    ColoredText,
    Control,
    Error,
    Handshake,
    Message,
    Metadata,
    Ping,
    ProtocolError,
    Text,
    UserText,
    decode,
    decode_client,
    encode,
    encode_json,
)

BYTES: list[tuple[Message, bytes]] = [
    (Handshake(), b"\x00\x00\x00"),
    (Handshake(1, 2), b"\x00\x01\x02"),
    (AudioData(b"OggS\x00"), b"\x01OggS\x00"),
    (Text("你好"), b"\x02" + "你好".encode()),
    (Text(""), b"\x02"),
    (Control(Action.START), b"\x03\x00"),
    (Control(Action.END_TURN), b"\x03\x01"),
    (Control(Action.PAUSE), b"\x03\x02"),
    (Control(Action.RESTART), b"\x03\x03"),
    (Control(Action.CANCEL), b"\x03\x04"),
    (Metadata({"system_prompt": "好"}), b"\x04" + '{"system_prompt":"好"}'.encode()),
    (Metadata({}), b"\x04{}"),
    (Error("no room"), b"\x05no room"),
    (Ping(), b"\x06"),
    (ColoredText(3, "red"), b"\x07\x03red"),
]
IDS = [f"{type(message).__name__}-{number}" for number, (message, _) in enumerate(BYTES)]


@pytest.mark.parametrize(("message", "frame"), BYTES, ids=IDS)
def test_a_message_has_these_bytes(message, frame):
    assert encode(message) == frame


@pytest.mark.parametrize(("message", "frame"), BYTES, ids=IDS)
def test_these_bytes_are_that_message(message, frame):
    assert decode(frame) == message


@pytest.mark.parametrize(
    ("name", "action"),
    [
        ("start", Action.START),
        ("endTurn", Action.END_TURN),
        ("pause", Action.PAUSE),
        ("restart", Action.RESTART),
        ("cancel", Action.CANCEL),
    ],
)
def test_a_control_message_may_be_json(name, action):
    assert decode_client(f'{{"type": "control", "action": "{name}"}}') == Control(action)
    assert json.loads(encode_json(Control(action))) == {"type": "control", "action": name}


def test_metadata_may_be_json():
    data = {"system_prompt": "你是谁", "turn_detection": {"type": "server_vad"}}
    assert decode_client(json.dumps({"type": "metadata", "data": data})) == Metadata(data)
    assert decode(encode_json(Metadata(data))) == Metadata(data)


def test_a_turn_in_writing_is_json_alone():
    assert decode_client('{"type": "text", "text": " 你好 "}') == UserText("你好")
    assert decode_client(encode_json(UserText("hi"))) == UserText("hi")
    with pytest.raises(ValueError, match="encode_json"):
        encode(UserText("hi"))


def test_a_ping_may_be_json():
    assert decode_client('{"type": "ping"}') == Ping()


def test_a_ping_may_carry_anything():
    assert decode_client(b"\x06hello") == Ping()


def test_unknown_keys_of_a_json_message_are_ignored():
    assert decode_client('{"type": "control", "action": "start", "id": 7}') == Control(Action.START)


@pytest.mark.parametrize(
    ("frame", "said"),
    [
        (b"", "empty"),
        (b"\x00", r"2 byte\(s\)"),
        (b"\x00\x00\x00\x00", "got 3"),
        (b"\x01", "audio message is empty"),
        (b"\x02\xff", "text is not valid UTF-8: invalid start byte at byte 0"),
        (b"\x03", r"1 byte\(s\) after its type, got 0"),
        (b"\x03\x00\x00", "got 2"),
        (
            b"\x03\x05",
            r"unknown control action 5; there are start \(0\), endTurn \(1\), pause \(2\), restart \(3\), cancel",
        ),
        (b"\x04", "metadata is not JSON"),
        (b"\x04{", "metadata is not JSON"),
        (b"\x04[1]", r"must be a JSON object, got \[1\]"),
        (b"\x04null", "must be a JSON object, got null"),
        (b'\x04{"a":"\xc3\x28"}', "metadata is not valid UTF-8"),
        (b"\x05\x80", "error is not valid UTF-8"),
        (b"\x07", "no colour byte"),
        (b"\x07\x01\xff", "coloured text is not valid UTF-8"),
        (b"\x08", "unknown message type 0x08"),
        (b"\xff\x00", "unknown message type 0xff"),
        ("", "not JSON"),
        ("hello", "not JSON"),
        ("[" * 50_000, "not JSON"),
        ("3", "must be a JSON object, got 3"),
        ("{}", "unknown 'type' null"),
        ('{"type": "audio"}', "unknown 'type' \"audio\""),
        ('{"type": ["control"]}', "unknown 'type'"),
        ('{"type": "control"}', "unknown control action null; there are start"),
        ('{"type": "control", "action": "stop"}', 'unknown control action "stop"'),
        ('{"type": "control", "action": 0}', "unknown control action 0"),
        ('{"type": "control", "action": {}}', "unknown control action {}"),
        ('{"type": "text"}', "needs words as 'text', got null"),
        ('{"type": "text", "text": " "}', "needs words as 'text'"),
        ('{"type": "text", "text": ["hi"]}', "needs words as 'text'"),
        (f'{{"type": "text", "text": "{"x" * 8001}"}}', "8001 characters; at most 8000"),
        ('{"type": "metadata"}', "needs an object as 'data', got null"),
        ('{"type": "metadata", "data": "x"}', "needs an object as 'data', got \"x\""),
    ],
)
def test_what_is_malformed_is_refused_with_what_came_and_what_was_expected(frame, said):
    with pytest.raises(ProtocolError, match=said):
        decode(frame)


@pytest.mark.parametrize("frame", [r'{"type": "\ud800"}', r'{"type": "metadata", "data": {"system_prompt": "\udfff"}}'])
def test_half_a_character_is_refused_in_words_that_can_be_sent(frame):
    with pytest.raises(ProtocolError, match="half a character") as refused:
        decode_client(frame)
    assert decode(encode(Error(str(refused.value)))) == Error(str(refused.value))


def test_a_long_value_is_not_repeated_whole_in_the_complaint():
    with pytest.raises(ProtocolError) as refused:
        decode(json.dumps({"type": "x" * 10_000}))
    assert len(str(refused.value)) < 200


@pytest.mark.parametrize("frame", [b"\x00\x00\x00", b"\x02hi", b"\x05hi", b"\x07\x01hi"])
def test_a_server_does_not_take_what_only_servers_say(frame):
    with pytest.raises(ProtocolError, match="from the server to the client"):
        decode_client(frame)


@pytest.mark.parametrize(
    ("largest", "limit"),
    [
        (b"\x01" + bytes(MAX_AUDIO_BYTES - 1), MAX_AUDIO_BYTES),
        (b'\x04{"a":"' + b"a" * (MAX_JSON_BYTES - 9) + b'"}', MAX_JSON_BYTES),
        ('{"type":"ping","a":"' + "a" * (MAX_JSON_BYTES - 22) + '"}', MAX_JSON_BYTES),
    ],
    ids=["audio", "metadata", "json"],
)
def test_a_message_over_its_cap_is_refused_and_one_at_the_cap_is_not(largest, limit):
    assert len(largest) == limit
    decode_client(largest)
    larger = largest + largest[-1:]
    with pytest.raises(ProtocolError, match=f"{limit + 1} bytes; at most {limit}"):
        decode_client(larger)


def test_the_cap_on_json_counts_bytes_not_characters():
    frame = json.dumps({"type": "ping", "a": "好" * (MAX_JSON_BYTES // 2)}, ensure_ascii=False)
    assert len(frame) < MAX_JSON_BYTES
    with pytest.raises(ProtocolError, match="at most"):
        decode_client(frame)


def test_every_message_of_the_public_client_is_understood():
    messages = [decode_client(sent.data) for sent in session().messages]
    assert isinstance(messages[0], Metadata)
    assert set(messages[0].data) == {"system_prompt"}
    controls = [message.action for message in messages if isinstance(message, Control)]
    assert controls == [Action.PAUSE, Action.START, Action.PAUSE, Action.START]
    reader = OpusReader()
    for message in messages:
        if isinstance(message, AudioData):
            reader.push(message.payload)
    assert reader.pending_ms == pytest.approx(15_000, rel=0.02)  # all that the microphone heard


def test_every_message_of_the_public_client_is_encoded_back_to_its_bytes():
    for sent in session().messages:
        assert encode(decode_client(sent.data)) == sent.data
