import pytest

from web_demo.server.asr.realtime.growing import GrowingText, whole_words


@pytest.mark.parametrize(
    ("one", "other", "agreed"),
    [
        ("go for", "go forward ten", "go"),
        ("go forward", "go forward ten", "go forward"),
        ("go forward ten", "go forward", "go forward"),
        ("so for", "go forward", ""),
        ("", "go", ""),
        ("go", "go", "go"),
        ("gone", "go", ""),
        ("我们明天去", "我们明天早上去", "我们明天"),
        ("我们用 wifi", "我们用 wiki", "我们用"),
        ("我们去OK", "我们去", "我们去"),
    ],
)
def test_two_results_agree_on_whole_words(one: str, other: str, agreed: str):
    assert whole_words(one, other) == agreed


def test_deltas_append_to_the_final_text():
    text = GrowingText()
    deltas = [text.partial(heard) for heard in ("go", "go for", "go forward ten", "go forward ten met")]
    deltas.append(text.final("go forward ten meters"))
    assert deltas == ["", "go", "", " forward ten", " meters"]


def test_what_is_taken_back_is_left_to_the_final_text():
    text = GrowingText()
    assert [text.partial(heard) for heard in ("so far", "so far away", "go forward")] == ["", "so far", ""]
    assert text.partial("so far away we") == ""
    assert text.partial("so far away we go") == " away we"
    assert text.final("go forward") == ""


def test_a_short_utterance_is_one_delta():
    assert GrowingText().final("yes") == "yes"


def test_nothing_heard_is_no_delta():
    assert GrowingText().final("") == ""
