"""Fuzzed messages and requests: right ones, damaged in many ways, by a seeded chance."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import suppress

import aiohttp

from scripts.benchmarks.load.scene import FROM, read_status
from scripts.benchmarks.load.users import RECORDING, User
from web_demo.server.protocal import Action, Control, Ping, encode

WRONG = ("500", "502", "no answer", "crashed")  # what no input may bring begins with one of these
GROWS_MB = 64.0  # of a service, afterwards
AT_ONCE = 6
A_CONNECTION = 40  # messages on one WebSocket
PATIENCE_S = 30.0
_STRINGS = (
    "",
    "\0",
    "é\u0301",
    "\ud83d\ude00",
    "a" * 5000,
    "../../etc/passwd",
    "%00%2f",
    "1e999",
    "-1",
    "NaN",
    "٣",
    "{{7*7}}",
    "<script>",
)
_VALUES = (*_STRINGS[1:], "1", "en")
_NUMBERS = (0, -1, 1, 2**31, 2**63, 10**30, 0.1, -0.0, 1e308, float("nan"), float("inf"), True, False, None)
_PATHS = {
    "s2s": (
        "/",
        "/api/chat",
        "/api/services",
        "/client/x/main.js",
        "/api/transcribe",
        "/api/synthesize",
        "/api/speakers/x",
    ),
    "asr": ("/api/transcribe", "/v1/audio/transcriptions", "/api/transcribe/stream", "/v1/models", "/v1/models/x"),
    "tts": ("/api/synthesize", "/v1/audio/speech", "/api/speakers", "/api/speakers/x", "/v1/models", "/metrics"),
}
_OPTIONS = {
    "text": "Good morning.",
    "input": "Good morning.",
    "speaker_id": "英文女",
    "voice": "alloy",
    "model": "tts-1",
    "speed": 1.0,
    "stream": False,
    "response_format": "wav",
    "language": "en",
    "markdown": True,
    "prompt_text": "x",
    "prompt_wav": "data:audio/wav;base64,UklGRg==",
}
_SETTINGS = {
    "system_prompt": "Be brief.",
    "events": True,
    "turn_detection": {"type": "server_vad", "threshold": 0.5, "silence_duration_ms": 300},
    "temperature": 0.8,
    "tools": [{"name": "f", "parameters": {"type": "object"}}],
    "tool_results": [{"id": "x", "content": "y"}],
    "voice": "x",
    "language": "en",
}


async def fuzz(urls: Mapping[str, str], number: int, seed: int) -> Counter[str]:
    """Sends so many; what came back, by its name. A WebSocket's messages count one by one."""
    connector = aiohttp.TCPConnector(limit=0, local_addr=FROM)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=PATIENCE_S)) as http:
        saw: Counter[str] = Counter()
        left = iter(range(number))
        async with asyncio.TaskGroup() as running:
            for worker in range(AT_ONCE):
                running.create_task(_Fuzzer(http, urls, random.Random(f"{seed}/{worker}"), saw, left).work())
    return saw


class _Fuzzer:
    def __init__(
        self,
        http: aiohttp.ClientSession,
        urls: Mapping[str, str],
        chance: random.Random,
        saw: Counter[str],
        left: Iterator[int],
    ) -> None:
        self._http = http
        self._urls = urls
        self._chance = chance
        self._saw = saw
        self._left = left
        self._recording = RECORDING.read_bytes()
        self._messages = User(http, "").messages

    def _next(self) -> bool:
        return next(self._left, None) is not None

    async def work(self) -> None:
        kinds: tuple[tuple[Callable[[], Awaitable[None]], int], ...] = (
            (self._conversation, 6),
            (self._captions, 3),
            (self._json_body, 30),
            (self._form, 15),
            (self._raw_request, 30),
        )
        while self._next():
            (act,) = self._chance.choices([kind for kind, _ in kinds], [weight for _, weight in kinds])
            try:
                await act()
            except aiohttp.WSServerHandshakeError as error:
                self._saw[str(error.status)] += 1
            except TimeoutError:
                self._saw[f"no answer to {act.__name__.strip('_')}"] += 1
            except (aiohttp.ClientError, ConnectionError, asyncio.IncompleteReadError):
                self._saw["closed"] += 1

    # --- WebSockets ---

    async def _conversation(self) -> None:
        url = f"{self._urls['s2s']}/api/chat?{self._query()}"
        await self._socket(url, self._chat_message)

    async def _captions(self) -> None:
        query = f"format={self._chance.choice(('opus', 'pcm16'))}&{self._query()}"
        await self._socket(f"{self._urls['asr']}/api/transcribe/stream?{query}", self._captions_message)

    async def _socket(self, url: str, message: Callable[[], bytes | str]) -> None:
        async with self._http.ws_connect(url, max_msg_size=0) as socket:
            reading = asyncio.create_task(_read_all(socket, self._saw))
            try:
                for _ in range(A_CONNECTION):
                    if not self._next():
                        break
                    content = message()
                    with suppress(ConnectionError, aiohttp.ClientError):
                        await (socket.send_str(content) if isinstance(content, str) else socket.send_bytes(content))
                await asyncio.sleep(0.05)
            finally:
                reading.cancel()
        if socket.close_code == aiohttp.WSCloseCode.INTERNAL_ERROR:
            self._saw["crashed"] += 1

    def _chat_message(self) -> bytes | str:
        chance = self._chance
        match chance.randrange(6):
            case 0:
                return chance.randbytes(chance.randrange(300))
            case 1:
                return self._damaged(chance.choice(self._messages))
            case 2:
                return self._damaged(b"\x04" + json.dumps(self._changed(_SETTINGS)).encode())
            case 3:
                return json.dumps(
                    {
                        "type": chance.choice(("control", "metadata", "x")),
                        "action": "start",
                        "data": self._changed(_SETTINGS),
                    }
                )
            case 4:
                return chance.choice([*(encode(Control(action)) for action in Action), encode(Ping())])
            case _:
                return chance.choice(self._messages)

    def _captions_message(self) -> bytes | str:
        chance = self._chance
        if chance.random() < 0.1:
            return json.dumps(self._changed({"type": "end"}))
        return self._damaged(chance.choice((self._messages[0][1:], chance.randbytes(600))))

    # --- HTTP ---

    async def _json_body(self) -> None:
        service, path = self._chance.choice(
            (("tts", "/api/synthesize"), ("tts", "/v1/audio/speech"), ("s2s", "/api/synthesize"))
        )
        body = json.dumps(self._changed(_OPTIONS)).encode()
        if self._chance.random() < 0.3:
            body = self._damaged(body)
        await self._ask("POST", service, path, data=body, headers={"Content-Type": "application/json"})

    async def _form(self) -> None:
        chance = self._chance
        service, path, file = chance.choice(
            (
                ("asr", "/api/transcribe", "audio"),
                ("asr", "/v1/audio/transcriptions", "file"),
                ("s2s", "/api/transcribe", "audio"),
                ("tts", "/api/synthesize", "prompt_wav"),
                ("tts", "/api/speakers", "audio"),
            )
        )
        head = f'--x\r\nContent-Disposition: form-data; name="{file}"; filename="a"\r\n\r\n'.encode()
        fields = b"".join(
            f'--x\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode(errors="replace")
            for name, value in self._changed(_OPTIONS).items()
        )
        sound = self._damaged(self._recording[: chance.randrange(3000)])
        body = fields + head + sound + b"\r\n--x--\r\n"
        if chance.random() < 0.3:
            body = self._damaged(body)
        await self._ask("POST", service, path, data=body, headers={"Content-Type": "multipart/form-data; boundary=x"})

    async def _ask(self, method: str, service: str, path: str, *, data: bytes, headers: Mapping[str, str]) -> None:
        url = f"{self._urls[service]}{path}"
        async with self._http.request(method, url, data=data, headers=headers) as response:
            await response.read()
        self._saw[str(response.status)] += 1

    async def _raw_request(self) -> None:
        """Bytes that are nearly a request."""
        chance = self._chance
        service = chance.choice(list(_PATHS))
        host, _, port = self._urls[service].removeprefix("http://").partition(":")
        method = chance.choice(("GET", "POST", "DELETE", "HEAD", "OPTIONS", "PUT", "get", "X" * 40))
        heads = [
            f"{method} {chance.choice(_PATHS[service])}?{self._query()} HTTP/1.{chance.choice('01')}",
            f"Host: {chance.choice((host, 'localhost', 'evil.example', '', '[::1', 'a:b:c'))}",
            chance.choice(
                (
                    "Content-Length: 5",
                    "Content-Length: -5",
                    "Transfer-Encoding: chunked",
                    "Expect: 100-continue",
                    "X: y",
                )
            ),
            chance.choice(
                (
                    "Connection: Upgrade\r\nUpgrade: websocket",
                    "Origin: null",
                    "Content-Encoding: gzip",
                    "Range: bytes=0-",
                )
            ),
        ]
        request = "\r\n".join(heads).encode(errors="replace") + b"\r\n\r\n" + chance.randbytes(5)
        if chance.random() < 0.7:
            request = self._damaged(request)
        reader, writer = await asyncio.open_connection(host, int(port), local_addr=FROM)
        try:
            writer.write(request)
            if chance.random() < 0.9:
                writer.write_eof()
            async with asyncio.timeout(PATIENCE_S):
                with suppress(ValueError):  # a line without end is the body of something
                    self._saw[await read_status(reader)] += 1
        except TimeoutError:
            self._saw["waits"] += 1  # for the rest of a request: its deadline is longer
        finally:
            writer.transport.abort()

    # --- damage ---

    def _query(self) -> str:
        names = ("temperature", "text_topk", "rate", "language", "hotwords", "explain", "api_key", "format")
        return "&".join(
            f"{self._chance.choice(names)}={self._chance.choice(_VALUES)}".replace("\0", "%00") for _ in range(2)
        )

    def _damaged(self, content: bytes) -> bytes:
        chance, damaged = self._chance, bytearray(content)
        for _ in range(chance.randrange(4)):
            at = chance.randrange(len(damaged) + 1)
            match chance.randrange(4):
                case 0:
                    damaged[at : at + 1] = chance.randbytes(1)
                case 1:
                    del damaged[at : at + chance.randrange(20)]
                case 2:
                    damaged[at:at] = chance.randbytes(chance.randrange(20))
                case _:
                    damaged[at:at] = damaged[at : at + chance.randrange(200)]
        return bytes(damaged)

    def _changed(self, options: Mapping[str, object]) -> dict[str, object]:
        """Some of the fields, some with values that they do not have."""
        chance = self._chance
        chosen = {name: value for name, value in options.items() if chance.random() < 0.5}
        for name in list(chosen):
            if chance.random() < 0.3:
                values: tuple[object, ...] = (
                    *_STRINGS,
                    *_NUMBERS,
                    [],
                    {},
                    [[]] * 3,
                    {"a": {"b": []}},
                    deep(chance.randrange(200)),
                )
                chosen[name] = chance.choice(values)
        return chosen


def deep(levels: int) -> object:
    value: object = 1
    for _ in range(levels):
        value = [value]
    return value


async def _read_all(socket: aiohttp.ClientWebSocketResponse, saw: Counter[str]) -> None:
    async for _ in socket:
        saw["messages back"] += 1
