"""The wire of ADDING.md, run."""

import re
from pathlib import Path

import aiohttp
import numpy as np

from tests.talk import LONG, s2s, say, serving
from web_demo.audio.samples import WIRE_RATE
from web_demo.engines.fakes import ScriptedS2s
from web_demo.server.common.api.routes import Route, add_routes
from web_demo.server.s2s.routes import conversation
from web_demo.server.wires import connection

PAGE = Path(connection.__file__).with_name("ADDING.md").read_text("utf-8")


def tutorial():
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    names = {}
    exec(compile(code, "ADDING.md", "exec"), names)
    return names["WordWire"]


async def test_the_wire_of_the_tutorial_holds_a_conversation():
    engine = ScriptedS2s(lambda turn: say("Hello." if len(engine.turns) == 1 else LONG)(turn))
    app = s2s(engine)
    (told,) = re.findall(r"^    (Route\(.*\))$", PAGE, re.MULTILINE)
    add_routes(app, [eval(told, {"Route": Route, "conversation": conversation, "WordWire": tutorial()})])
    async with (
        serving(app) as server,
        aiohttp.ClientSession() as http,
        http.ws_connect(server.url("/api/words")) as socket,
    ):
        assert await socket.receive_str() == "ready"
        await socket.send_str("dance")
        await socket.send_bytes(b"odd")
        await socket.send_bytes(np.full(8000, 9000, "<i2").tobytes())
        await socket.send_str("answer")
        sound = b""
        while (message := await socket.receive()).type is aiohttp.WSMsgType.BINARY:
            sound += message.data
        assert message.data == "said: Hello. "
        assert len(sound) // 2 == len("Hello.") * WIRE_RATE // 20
        (turn,) = engine.turns
        assert (turn.audio.seconds, turn.system_prompt) == (0.5, "Be brief.")
        await socket.send_str("speak")
        await socket.send_bytes(bytes(8000))
        await socket.send_str("answer")
        assert (await socket.receive()).type is aiohttp.WSMsgType.BINARY
        await socket.send_str("speak")
        while (message := await socket.receive()).type is aiohttp.WSMsgType.BINARY:
            pass
        assert message.data == "silence"
    assert engine.live == 0
