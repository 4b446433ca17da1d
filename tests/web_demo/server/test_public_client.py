"""The recorded session of the public browser client, message by message in its own time, against the embedded engine."""

import asyncio

from tests.public_client import session
from tests.talk import s2s, serving, talking
from web_demo.server.protocal import Action, AudioData, Control, Text, decode


async def test_the_public_client_is_answered_in_its_first_two_turns():
    recorded = session()
    starts = []
    app = s2s(allowed_origins=(recorded.origin,))
    async with serving(app) as server, talking(server, params=recorded.query, origin=recorded.origin) as talker:
        await talker.wait_for(lambda m: True)
        for message in recorded.messages:
            await asyncio.sleep(max(message.at_s - talker.now(), 0))
            if decode(message.data) == Control(Action.START):
                starts.append(len(talker.log))
            await talker.send(message.data)
        first, second, third = 0, *starts
        for begin, end in ((first, second), (second, third)):
            answer = talker.messages()[begin:end]
            text = "".join(message.text for message in answer if isinstance(message, Text))
            assert text.startswith("[Processing...]You said: ")
            assert "forward ten meters" in text
            assert sum(isinstance(message, AudioData) for message in answer) > 20
        assert not any(isinstance(message, Text) for message in talker.messages()[third:])  # nobody ended that turn
        assert talker.errors() == []
        assert not talker.closed
