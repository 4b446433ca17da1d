from __future__ import annotations

from collections.abc import Sequence

from web_demo.engines.base import SpeechCodes, TextDelta
from web_demo.engines.s2s.funaudiochat.frames import Reply, TextStream


def decode_bytes(ids: Sequence[int]) -> str:
    """A tokenizer with a token a byte; 256 is a control token, which decodes to nothing."""
    return bytes(one for one in ids if one < 256).decode("utf-8", errors="replace")


def test_a_character_split_over_tokens_comes_out_once_and_whole() -> None:
    stream = TextStream(decode_bytes)
    assert [stream.push(byte) for byte in "é你!".encode()] == ["", "é", "", "", "你", "!"]


def test_bytes_that_are_no_character_are_left_out_and_do_not_hold_up_the_text_for_ever() -> None:
    stream = TextStream(decode_bytes)
    out = [stream.push(0xE4) for _ in range(40)]
    out.append(stream.push(ord("x")))
    assert "".join(out) == "x"


def test_a_control_token_that_decodes_as_text_is_not_shown() -> None:
    stream = TextStream(lambda ids: "".join({1: "a", 2: "<|file_sep|>", 3: "<b"}[one] for one in ids))
    assert [stream.push(text_id) for text_id in (1, 2, 3)] == ["a", "", "<b"]


def test_only_sound_codes_are_passed_on() -> None:
    reply = Reply(decode_bytes, codes_end=6561)
    assert list(reply.push(256, ())) == []
    assert list(reply.push(ord("a"), (1, 2, 6561, 6563, 6560))) == [TextDelta("a"), SpeechCodes((1, 2, 6560))]
    assert list(reply.push(ord("b"), (6562,) * 5)) == [TextDelta("b")]
