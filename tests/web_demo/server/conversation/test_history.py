"""The items of a conversation, and what the model is asked of them."""

import numpy as np
import pytest

from web_demo.audio.samples import Audio
from web_demo.engines.base import Exchange, ToolCall, ToolExchange, ToolResult
from web_demo.server.conversation.history import (
    FIRST,
    HISTORY_PAIRS,
    MAX_ITEMS,
    SLACK,
    AssistantSaid,
    FunctionCalled,
    FunctionReturned,
    History,
    NoSuchItem,
    SystemSaid,
    UserSaid,
    WrongCall,
)
from web_demo.server.conversation.reply import SpokenReply

SOUND = Audio(np.ones(1600, np.float32), 16_000)
CALL, OTHER = ToolCall("1", "weather", {}), ToolCall("2", "weather", {})
SUNNY, RAIN = ToolResult("1", "sunny"), ToolResult("2", "rain")


def history(*items, keep_sound=False) -> History:
    made = History(lambda: keep_sound)
    for item in items:
        made.add(item)
    return made


def ids(made: History) -> list[str]:
    return [item.id for item in made]


def test_an_item_stands_at_the_end_at_the_beginning_or_after_another_one():
    made = history(UserSaid("a"), UserSaid("b"))
    assert made.add(UserSaid("c")) == "b"
    assert made.add(UserSaid("first"), FIRST) is None
    assert made.add(UserSaid("between"), "a") == "a"
    assert ids(made) == ["first", "a", "between", "b", "c"]


def test_an_item_after_nothing_or_there_already_is_refused_and_changes_nothing():
    made = history(UserSaid("a"))
    with pytest.raises(NoSuchItem, match="'x'"):
        made.add(UserSaid("b"), "x")
    with pytest.raises(ValueError, match="already"):
        made.add(UserSaid("a", "again"))
    for look in (made.find, made.delete):
        with pytest.raises(NoSuchItem):
            look("x")
    assert list(made) == [UserSaid("a")]


def test_a_result_needs_its_call():
    with pytest.raises(WrongCall, match="'1'"):
        history(UserSaid("a", "hi"), FunctionReturned("b", SUNNY))


def test_the_last_turn_is_asked_and_those_before_are_pairs():
    made = history(UserSaid("a", "hi"), AssistantSaid("b", "Hello."), UserSaid("c", audio=SOUND))
    asked = made.asked()
    assert (asked.history, asked.audio, asked.text, asked.user_item) == ((Exchange("hi", "Hello."),), SOUND, "", "c")


def test_what_is_answered_already_is_no_turn_any_more():
    asked = history(UserSaid("a", "hi"), AssistantSaid("b", "Hello.")).asked()
    assert (asked.history, asked.audio, asked.text) == ((Exchange("hi", "Hello."),), None, "")
    assert history().asked().history == ()


def test_an_answer_of_which_nothing_was_heard_leaves_the_turn_open():
    asked = history(UserSaid("a", "hi"), AssistantSaid("b", "")).asked()
    assert (asked.history, asked.text) == ((), "hi")


def test_who_speaks_twice_is_heard_twice():
    made = history(
        UserSaid("a", audio=SOUND), UserSaid("b", "and this"), AssistantSaid("c", "Yes."), AssistantSaid("d", "No.")
    )
    assert made.asked().history == (Exchange("", "", SOUND), Exchange("and this", "Yes. No."))


def test_the_sound_of_a_past_turn_is_there_where_it_is_wanted_or_its_words_are_not_known():
    items = UserSaid("a", audio=SOUND, transcript="hi"), AssistantSaid("b", "x"), UserSaid("c", audio=SOUND)
    for keep_sound in (False, True):
        made = history(*items, AssistantSaid("d", "y"), UserSaid("e", "z"), keep_sound=keep_sound)
        first, second = made.asked().history
        assert first.user_audio is (SOUND if keep_sound else None)
        assert second.user_audio is SOUND


def test_what_was_spoken_and_written_in_one_item_are_both_there():
    item = UserSaid("a", "look at this", SOUND)
    asked = history(item).asked()
    assert (asked.audio, asked.text) == (SOUND, "look at this")
    later = history(item, AssistantSaid("b", "Yes."), UserSaid("c", "x")).asked()
    assert later.history == (Exchange("", "", SOUND), Exchange("look at this", "Yes."))


def test_calls_with_their_results_go_on_with_the_turn_and_stay_in_its_pair():
    made = history(
        UserSaid("a", "hi"), AssistantSaid("b", "Let me look."), FunctionCalled("c", CALL), FunctionReturned("d", SUNNY)
    )
    tools = (ToolExchange((CALL,), (SUNNY,)),)
    asked = made.asked()
    assert (asked.history, asked.text, asked.tool_exchanges) == ((), "hi", tools)
    made.add(AssistantSaid("e", "Sunny."))
    assert made.asked().history == (Exchange("hi", "Let me look. Sunny.", None, tools),)


def test_calls_at_once_are_one_exchange_and_those_one_after_the_other_several():
    user, first, second = UserSaid("a", "hi"), FunctionCalled("b", CALL), FunctionCalled("c", OTHER)
    sunny, rain = FunctionReturned("d", SUNNY), FunctionReturned("e", RAIN)
    at_once = history(user, first, second, rain, sunny)
    assert at_once.asked().tool_exchanges == (ToolExchange((CALL, OTHER), (SUNNY, RAIN)),)
    in_turn = history(user, first, sunny, second, rain)
    assert in_turn.asked().tool_exchanges == (ToolExchange((CALL,), (SUNNY,)), ToolExchange((OTHER,), (RAIN,)))


def test_a_call_without_its_result_is_open_until_the_user_goes_on_and_never_told_to_the_model():
    made = history(
        UserSaid("a", "hi"), FunctionCalled("b", CALL), FunctionCalled("c", OTHER), FunctionReturned("d", SUNNY)
    )
    assert made.open_calls == [OTHER]
    assert made.asked().tool_exchanges == (ToolExchange((CALL,), (SUNNY,)),)
    made.add(UserSaid("e", "never mind"))
    assert made.open_calls == []


def test_a_result_that_comes_late_belongs_to_the_turn_that_called():
    made = history(UserSaid("a", "hi"), FunctionCalled("b", CALL), UserSaid("c", "and?"), FunctionReturned("d", SUNNY))
    asked = made.asked()
    assert (asked.text, asked.tool_exchanges) == ("and?", ())
    assert asked.history == (Exchange("hi", "", None, (ToolExchange((CALL,), (SUNNY,)),)),)


def test_system_messages_are_told_apart_from_what_was_said():
    asked = history(SystemSaid("a", "Be brief."), UserSaid("b", "hi"), SystemSaid("c", "Be kind.")).asked()
    assert (asked.system, asked.text) == (("Be brief.", "Be kind."), "hi")


def test_other_items_can_be_asked_instead():
    made = history(UserSaid("a", "hi"))
    asked = made.asked((SystemSaid("x", "Judge."), UserSaid("y", "is that polite?")))
    assert (asked.history, asked.text, asked.system) == ((), "is that polite?", ("Judge.",))
    assert made.asked(()).text == ""


def spoken(*utterances: str) -> SpokenReply:
    reply = SpokenReply()
    for text in utterances:
        reply.begin_utterance(text)
        reply.add_sound(len(text) * 100)
        reply.end_utterance()
    return reply


def test_an_answer_is_truncated_to_what_was_heard_also_after_its_end():
    reply = spoken("First sentence.", "Second sentence.")
    made = history(AssistantSaid("a", "First sentence. Second sentence.", reply))
    assert made.truncate("a", 2200) == "First sentence. Second"
    assert made.truncate("a", 1500) == "First sentence."
    assert made.truncate("a", 0) == ""
    assert made.find("a").text == ""


@pytest.mark.parametrize(
    "item", [UserSaid("a", "hi"), AssistantSaid("a", "read"), AssistantSaid("a", "x", spoken("x" * 5))]
)
def test_what_was_not_spoken_so_long_cannot_be_truncated(item):
    made = history(item)
    with pytest.raises(ValueError):
        made.truncate("a", 501 + SLACK)
    assert list(made) == [item]


def test_an_answer_truncated_while_it_is_under_way_keeps_that_at_its_end():
    made = history(AssistantSaid("a", reply=spoken("First sentence."), under_way=True))
    made.truncate("a", 600)
    made.said("a", "First sentence.")
    assert made.find("a").text == "First"


def test_words_are_understood_once():
    made = history(UserSaid("a", audio=SOUND))
    assert made.understood("a", "hi")
    assert not made.understood("a", "ho")
    assert not made.understood("deleted", "ho")
    assert made.find("a").transcript == "hi"


def test_a_long_conversation_forgets_its_oldest_items_and_the_sound_that_nobody_needs():
    made = history()
    for number in range(3 * MAX_ITEMS):
        made.add(UserSaid(f"u{number}", audio=SOUND))
        made.add(AssistantSaid(f"a{number}", "yes"))
        made.prune()
    assert len(list(made)) == MAX_ITEMS
    assert sum(item.audio is not None for item in made if isinstance(item, UserSaid)) == HISTORY_PAIRS + 1
    assert len(made.asked().history) == HISTORY_PAIRS
    made.understood(next(item.id for item in made if isinstance(item, UserSaid) and item.audio), "hi")
    made.prune()
    assert sum(item.audio is not None for item in made if isinstance(item, UserSaid)) == HISTORY_PAIRS


def test_a_turn_is_forgotten_with_all_that_came_of_it():
    made = history(UserSaid("a", "hi"), AssistantSaid("b", "x"), UserSaid("c", "again"), FunctionCalled("d", CALL))
    made.forget_turn()
    assert ids(made) == ["a", "b"]
