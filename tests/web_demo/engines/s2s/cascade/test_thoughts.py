"""What of a reply is the answer, wherever the stream is cut."""

from __future__ import annotations

import itertools
import random

import pytest

from web_demo.engines.s2s.cascade.thoughts import AnswerFilter, may_begin_a_thought


def read(text: str, *, cuts: tuple[int, ...] = (), holds: bool = False) -> tuple[str, AnswerFilter]:
    answer = AnswerFilter(holds=holds)
    edges = [0, *cuts, len(text)]
    out = "".join(answer.push(text[start:end]) for start, end in itertools.pairwise(edges))
    return out + answer.flush(), answer


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("Hello.", "Hello."),
        ("<think>The user greets.</think>\n\nHello.", "Hello."),
        ("<think>\n\n</think>\n\nHello.", "Hello."),
        ("Hello. <think>More?</think> Good day.", "Hello.  Good day."),
        ("Hello.<think>More?</think>Good day.", "Hello. Good day."),
        ("<THINKING>a < b</Thinking>Yes.", "Yes."),
        ("<think>one</think><think>two</think>三。", "三。"),
        ("<think>never closed, 1 < 2", ""),
        ("[THINK]Mistral[/THINK]Yes.", "Yes."),
        ("◁think▷Kimi◁/think▷Yes.", "Yes."),
        ("<seed:think>x</seed:think>Yes.", "Yes."),
        ("<|channel|>analysis<|message|>x<|end|><|start|>assistant<|channel|>final<|message|>Yes.", "Yes."),
        ("1 < 2 [and] <b>so</b> on, <thin", "1 < 2 [and] <b>so</b> on, <thin"),
        ('Sure.<tool_call>{"name": "f"}</tool_call>', "Sure."),
        ('<think>call <tool_call>?</think><tool_call>\n{"name": "f"}', ""),
    ],
)
def test_thoughts_and_calls_are_no_answer_however_the_text_is_cut(text: str, answer: str) -> None:
    whole, _ = read(text)
    assert whole == answer
    chance = random.Random(1)
    for _ in range(50):
        cuts = tuple(sorted(chance.randrange(len(text) + 1) for _ in range(chance.randrange(8))))
        assert read(text, cuts=cuts)[0] == answer, cuts
    assert read(text, cuts=tuple(range(len(text))))[0] == answer


@pytest.mark.parametrize(
    ("text", "may_be"),
    [
        ("", True),
        ("O", True),
        ("Okay, so", True),
        ("\n嗯，用户", True),
        ("Let’s", True),
        ("Ahoy", False),
        ("你好", False),
    ],
)
def test_how_models_begin_to_think_is_known(text: str, may_be: bool) -> None:
    assert may_begin_a_thought(text) == may_be


def test_text_is_not_held_back_unless_it_may_be_a_tag() -> None:
    answer = AnswerFilter()
    assert [answer.push(delta) for delta in ("Hello", ". I", " <", "3 you", " <thi", "nk>no</th", "ink> a")] == [
        "Hello",
        ". I",
        " ",
        "<3 you",
        " ",
        "",
        " a",
    ]


def test_a_model_whose_thoughts_open_in_its_prompt_is_held_until_it_closes_them() -> None:
    answer = AnswerFilter(holds=True)
    assert answer.push("Okay, the user wants. Let me") == ""
    assert answer.push("…</think>\n\nHel") == "Hel"
    assert (answer.unopened, answer.thought, answer.holds) == (True, True, False)


def test_what_was_held_is_the_answer_if_no_thought_was_closed() -> None:
    assert read("Hello there.", holds=True)[0] == "Hello there."
    answer = AnswerFilter(holds=True)
    assert answer.push("Hello") + answer.release() + answer.push(" there.") == "Hello there."


def test_a_lone_closing_tag_is_noticed_and_never_read() -> None:
    text, answer = read("Let me think.</think>Hello.")
    assert "think>" not in text
    assert text.endswith(" Hello.")
    assert answer.unopened
    assert not read("<think>x</think>y")[1].unopened


def test_the_bodies_of_written_calls_are_kept() -> None:
    _, answer = read('<think>x</think><tool_call>{"name": "f"}</tool_call><tool_call>{"name": "g"}', cuts=(30, 50))
    assert [body.strip() for body in answer.calls] == ['{"name": "f"}', '{"name": "g"}']


def test_halves_of_a_character_are_put_together_and_a_lone_one_is_replaced() -> None:
    answer = AnswerFilter()
    assert [answer.push(delta) for delta in ("Hi \ud83d", "\udc4d!", "\ud83d")] == ["Hi ", "👍!", ""]
    assert answer.flush() == "\ufffd"
    assert read("a \udc4d b")[0] == "a \ufffd b"
