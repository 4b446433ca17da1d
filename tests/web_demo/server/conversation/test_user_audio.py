"""How much sound may come when, and what becomes of more."""

import pytest

from tests.web_demo.server.conversation.talk import HANDS_FREE, say, sound, talking
from tests.web_demo.server.conversation.virtual_time import run
from web_demo.server.conversation.events import AudioIn, EndTurn, Start, TurnFull
from web_demo.server.conversation.session import SessionLimits


@pytest.mark.parametrize("options", [None, HANDS_FREE], ids=["by hand", "hands-free"])
def test_two_minutes_may_come_at_once_and_then_twice_real_time(options):
    async def conversation():
        async with talking(say("ok"), options=options) as talk:
            await talk.send(AudioIn(sound(90.0, 0.0)))
            await talk.send(AudioIn(sound(29.0, 0.0)))
            assert talk.problems() == []
            await talk.send(AudioIn(sound(2.0, 0.0)))
            (problem,) = talk.problems()
            assert "120 s ahead of its time and then at 2 times real time" in problem.reason
            await talk.pause(10.0)
            await talk.send(AudioIn(sound(20.5, 0.0)))
            await talk.send(AudioIn(sound(1.0, 0.0)))
            assert len([one for one in talk.problems() if one != TurnFull(120.0)]) == 2

    run(conversation())


def test_the_longest_turn_may_be_sent_at_once_where_it_is_longer():
    async def conversation():
        async with talking(say("ok"), limits=SessionLimits(max_turn_s=500.0)) as talk:
            await talk.send(AudioIn(sound(499.0)))
            await talk.send(EndTurn())
            await talk.answered()
            assert talk.problems() == []
            assert talk.engine.turns[0].audio.seconds == pytest.approx(499.0)

    run(conversation())


def test_the_rest_of_a_message_that_filled_the_turn_is_not_decoded():
    async def conversation():
        async with talking(say("ok"), limits=SessionLimits(max_turn_s=2.0)) as talk:
            await talk.send(AudioIn(sound(100.0)))
            assert talk.session.received_s < 4.0
            await talk.answered()
            assert talk.engine.turns[0].audio.seconds == 2.0
            await talk.send(Start())
            await talk.works()

    run(conversation())
