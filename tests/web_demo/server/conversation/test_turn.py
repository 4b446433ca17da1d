"""Whose turn it is: every rule as a sentence, then what must hold on any walk through the table."""

import random

import pytest

from web_demo.server.conversation.turn import RULES, Command, Conversation, Event, Keep, Refusal, State, Transition

ALL = [(state, event) for state in State for event in Event]


def conversation(state: State = State.READY, *, hands_free: bool = False) -> Conversation:
    made = Conversation()
    made.state, made.hands_free = state, hands_free
    return made


def outcome(state: State, event: Event) -> tuple[State, Command]:
    result = conversation(state).on(event)
    return result.state, result.command


def test_a_session_begins_listening_before_any_start():
    assert Conversation().keep is Keep.ALL


def test_audio_sent_before_any_start_is_answered_at_the_end_of_the_turn():
    assert outcome(State.READY, Event.END_TURN) == (State.ANSWERING, Command.ANSWER)


def test_the_first_start_keeps_what_was_said_before_it():
    assert outcome(State.READY, Event.START) == (State.LISTENING, Command.NOTHING)


def test_a_second_start_is_refused_and_the_turn_stays_open():
    assert outcome(State.LISTENING, Event.START) == (State.LISTENING, Command.REFUSE)


def test_the_end_of_the_turn_brings_the_answer():
    assert outcome(State.LISTENING, Event.END_TURN) == (State.ANSWERING, Command.ANSWER)


@pytest.mark.parametrize("state", [State.READY, State.LISTENING])
def test_a_turn_without_audio_is_refused_and_may_be_begun_again(state):
    talk = conversation(state)
    refused = talk.on(Event.EMPTY_TURN)
    assert refused.command is Command.REFUSE
    assert refused.refusal is Refusal.NOTHING_SAID
    assert talk.keep is Keep.ALL
    assert talk.on(Event.START).command is Command.NOTHING
    assert talk.on(Event.END_TURN).command is Command.ANSWER


@pytest.mark.parametrize("state", [State.READY, State.LISTENING])
def test_a_turn_that_is_full_is_answered(state):
    assert outcome(state, Event.TURN_FULL) == (State.ANSWERING, Command.ANSWER)


def test_start_while_speaking_interrupts():
    assert outcome(State.ANSWERING, Event.START) == (State.LISTENING, Command.INTERRUPT)


@pytest.mark.parametrize("event", [Event.END_TURN, Event.EMPTY_TURN])
def test_ending_a_turn_that_is_being_answered_is_refused(event):
    assert outcome(State.ANSWERING, event) == (State.ANSWERING, Command.REFUSE)


def test_after_the_answer_audio_waits_for_start():
    talk = conversation(State.ANSWERING)
    assert talk.on(Event.ANSWER_OVER) == Transition(State.WAITING, Command.NOTHING)
    assert talk.keep is Keep.NOTHING
    assert talk.on(Event.START) == Transition(State.LISTENING, Command.OPEN_TURN)
    assert talk.keep is Keep.ALL


@pytest.mark.parametrize("event", [Event.END_TURN, Event.EMPTY_TURN])
def test_ending_a_turn_that_was_never_begun_is_refused(event):
    assert outcome(State.WAITING, event) == (State.WAITING, Command.REFUSE)


@pytest.mark.parametrize("state", State)
def test_restart_forgets_and_listens_whatever_is_going_on(state):
    assert outcome(state, Event.RESTART) == (State.READY, Command.FORGET)


def test_a_voice_opens_the_turn_and_its_silence_ends_it():
    talk = conversation(hands_free=True)
    assert talk.on(Event.SPEECH_BEGAN) == Transition(State.LISTENING, Command.NOTHING)
    assert talk.on(Event.SPEECH_ENDED) == Transition(State.ANSWERING, Command.ANSWER)


def test_a_voice_interrupts_the_answer():
    assert outcome(State.ANSWERING, Event.SPEECH_BEGAN) == (State.LISTENING, Command.BARGE_IN)


@pytest.mark.parametrize("state", [State.ANSWERING, State.READY])
def test_a_voice_that_comes_back_before_the_answer_was_heard_goes_on_with_the_turn(state):
    assert outcome(state, Event.SPEECH_WENT_ON) == (State.LISTENING, Command.GO_ON)


@pytest.mark.parametrize(
    ("state", "by_hand", "hands_free"),
    [
        (State.READY, Keep.ALL, Keep.PRE_ROLL),
        (State.LISTENING, Keep.ALL, Keep.ALL),
        (State.ANSWERING, Keep.NOTHING, Keep.PRE_ROLL),
        (State.TALKING_OVER, Keep.ALL, Keep.ALL),
        (State.WAITING, Keep.NOTHING, Keep.PRE_ROLL),
    ],
)
def test_what_is_kept_of_the_user_s_sound(state, by_hand, hands_free):
    assert conversation(state).keep is by_hand
    assert conversation(state, hands_free=True).keep is hands_free


def test_a_buffer_takes_sound_at_any_time_and_its_session_never_waits_for_a_start():
    talk = conversation(State.ANSWERING)
    talk.buffered = True
    assert talk.keep is Keep.ALL
    assert talk.on(Event.COMMIT) == Transition(State.ANSWERING, Command.COMMIT)
    assert talk.on(Event.ANSWER_OVER) == Transition(State.READY, Command.NOTHING)
    assert talk.keep is Keep.ALL


@pytest.mark.parametrize(("hands_free", "after"), [(False, State.WAITING), (True, State.READY)])
def test_cancel_ends_the_answer_and_opens_no_turn(hands_free, after):
    talk = conversation(State.ANSWERING, hands_free=hands_free)
    assert talk.on(Event.CANCEL) == Transition(after, Command.CANCEL)
    assert talk.on(Event.CANCEL).refusal is Refusal.NOTHING_TO_CANCEL


def test_who_speaks_while_nothing_may_interrupt_has_a_turn_beside_the_answer():
    talk = conversation(State.ANSWERING, hands_free=True)
    assert talk.on(Event.SPEECH_BESIDE) == Transition(State.TALKING_OVER, Command.NOTHING)
    assert talk.keep is Keep.ALL
    assert talk.on(Event.SPEECH_ENDED) == Transition(State.ANSWERING, Command.COMMIT)
    talk.on(Event.SPEECH_BESIDE)
    assert talk.on(Event.ANSWER_OVER) == Transition(State.LISTENING, Command.NOTHING)
    assert talk.on(Event.SPEECH_ENDED) == Transition(State.ANSWERING, Command.ANSWER)


def test_what_is_written_is_answered_at_once_and_together_with_an_open_turn():
    assert outcome(State.READY, Event.WRITTEN) == outcome(State.WAITING, Event.WRITTEN)
    assert outcome(State.READY, Event.WRITTEN) == (State.ANSWERING, Command.REPLY)
    assert outcome(State.LISTENING, Event.WRITTEN) == (State.ANSWERING, Command.ANSWER)
    assert outcome(State.ANSWERING, Event.WRITTEN) == (State.ANSWERING, Command.REPLACE)


def test_a_hands_free_session_listens_again_by_itself():
    talk = conversation(State.ANSWERING, hands_free=True)
    assert talk.on(Event.ANSWER_OVER) == Transition(State.READY, Command.NOTHING)
    assert talk.keep is Keep.PRE_ROLL


def test_hands_free_start_silences_the_answer_and_waits_for_a_voice():
    talk = conversation(State.ANSWERING, hands_free=True)
    assert talk.on(Event.START).command is Command.INTERRUPT
    assert talk.state is State.READY  # not an open turn: silence must not fill it and be answered


def test_hands_free_asked_for_after_an_answer_opens_a_turn():
    assert outcome(State.WAITING, Event.HANDS_FREE_ON) == (State.READY, Command.OPEN_TURN)


@pytest.mark.parametrize(("state", "event"), ALL, ids=lambda value: value.name)
def test_a_refusal_has_a_reason_and_nothing_else_has(state, event):
    result = conversation(state).on(event)
    assert bool(result.refusal) == (result.command is Command.REFUSE)


@pytest.mark.parametrize(("state", "event"), ALL, ids=lambda value: value.name)
def test_what_no_rule_names_changes_nothing(state, event):
    if (state, event) not in RULES:
        assert outcome(state, event) == (state, Command.NOTHING)


@pytest.mark.parametrize(("state", "event"), ALL, ids=lambda value: value.name)
def test_a_refusal_never_opens_ends_or_answers_a_turn(state, event):
    talk = conversation(state)
    kept = talk.keep
    if talk.on(event).command is Command.REFUSE:
        assert talk.keep is kept
        speaking = State.ANSWERING, State.TALKING_OVER
        assert (talk.state in speaking) == (state in speaking)


@pytest.mark.parametrize("hands_free", [False, True])
@pytest.mark.parametrize("buffered", [False, True])
@pytest.mark.parametrize("seed", range(20))
def test_on_any_walk_there_is_never_a_second_answer_and_never_a_deaf_end(seed, hands_free, buffered):
    choice = random.Random(seed)
    talk = conversation(hands_free=hands_free)
    talk.buffered = buffered
    answers = 0  # under way, as a session that obeys the commands would have them
    for _ in range(500):
        event = choice.choice(list(Event))
        if event is Event.ANSWER_OVER and not answers:
            continue  # comes from an answer only
        result = talk.on(event)
        match result.command:
            case Command.ANSWER | Command.REPLY:
                answers += 1
            case Command.REPLACE:
                assert answers == 1, "nothing to replace"
            case Command.INTERRUPT | Command.BARGE_IN | Command.CANCEL:
                assert answers == 1, "an interruption of nothing"
                answers -= 1
            case Command.GO_ON | Command.FORGET:
                answers = 0
        if event is Event.ANSWER_OVER:
            answers -= 1
        assert answers == (talk.state in (State.ANSWERING, State.TALKING_OVER))
        assert result.state is talk.state
        if hands_free or buffered:
            assert talk.state is not State.WAITING, "a hands-free session would never hear again"
    talk.on(Event.RESTART)
    assert talk.keep is (Keep.PRE_ROLL if hands_free else Keep.ALL)
