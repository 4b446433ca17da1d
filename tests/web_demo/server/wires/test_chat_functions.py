"""Functions that the model calls and the client answers."""

from tests.talk import s2s, say, serving, talking, tone, until
from web_demo.engines.base import (
    ToolCall,
    TurnRequest,
)
from web_demo.engines.fakes import ScriptedS2s
from web_demo.server.protocal import Metadata

WEATHER = {"name": "get_weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}


def calling(turn: TurnRequest):
    """Calls a function; with its result, says it."""
    if not turn.tool_exchanges:
        return [ToolCall("call1", "get_weather", {"city": "Paris"})]
    return say(turn.tool_exchanges[0].results[0].content)(turn)


async def test_a_called_function_s_result_goes_back_into_the_conversation():
    engine = ScriptedS2s(calling)
    async with serving(s2s(engine)) as server, talking(server) as talker:
        await talker.configure(tools=[WEATHER])
        await talker.ask(tone(0.6))
        event = await talker.event("tool_call")  # though no events were asked for
        assert event == {
            "event": "tool_call",
            "turn": 1,
            "id": "call1",
            "name": "get_weather",
            "arguments": {"city": "Paris"},
        }
        end = await talker.final()
        await talker.send(Metadata({"tool_results": [{"id": "call1", "content": "sunny"}]}))
        await talker.final(end)
        assert talker.texts(end) == ["[Processing...]", "sunny ", "\n[Final: sunny ]"]
        await talker.start()
        await talker.ask()
        await until(lambda: len(engine.turns) == 3)
        first, second, third = engine.turns
        assert second.audio is first.audio
        assert [exchange.assistant_text for exchange in third.history] == ["sunny "]
