"""What the embedded engine answers: built in, and through an OpenAI-compatible server on a real socket."""

import datetime
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from tests.talk import tone
from web_demo.engines.base import Exchange, TurnRequest
from web_demo.engines.s2s.cascade.responder import BuiltInResponder, LlmResponder, messages
from web_demo.errors import EngineFailed, SetupError

NOON = datetime.datetime(2026, 3, 1, 12, 5, tzinfo=datetime.UTC)


def turn(**fields) -> TurnRequest:
    return TurnRequest(turn_id="t", conversation_id="c", audio=tone(0.1, 16_000), **fields)


async def said(responder, heard: str, request: TurnRequest | None = None) -> str:
    return "".join([delta async for delta in responder.reply(heard, request or turn())])


@pytest.mark.parametrize(
    ("heard", "answer"),
    [
        ("go forward ten meters", "You said: go forward ten meters."),
        ("hello", "Hello!"),
        ("hi there", "Hello!"),
        ("who are you", "embedded stand-in"),
        ("what is your name", "embedded stand-in"),
        ("what time is it", "12:05 PM"),
        ("tell me the date", "Sunday, March 1, 2026"),
        ("help", "I repeat what I hear"),
        ("thank you", "welcome"),
        ("good bye", "Goodbye"),
        ("this is something he said", "You said: this is something he said."),
    ],
)
async def test_it_answers_what_a_newcomer_tries(heard, answer):
    assert answer in await said(BuiltInResponder(lambda: NOON), heard)


async def test_it_says_what_it_is_once():
    request = turn(history=(Exchange("go forward", "You said: go forward."),))
    assert "stand-in" in await said(BuiltInResponder(), "go forward")
    assert "stand-in" not in await said(BuiltInResponder(), "go forward", request)


async def test_it_speaks_chinese_to_those_who_asked_for_it():
    assert "你说的是：go forward。" in await said(BuiltInResponder(), "go forward", turn(language="zh"))
    assert "12点05分" in await said(BuiltInResponder(lambda: NOON), "what time is it", turn(language="zh"))


def test_a_chat_has_the_system_prompt_the_history_and_what_was_heard():
    history = (Exchange("one", "first"), Exchange("two", ""))
    chat = messages("three", turn(system_prompt="Be brief.", history=history))
    assert [(part["role"], part["content"]) for part in chat] == [
        ("system", "Be brief."),
        ("user", "one"),
        ("assistant", "first"),
        ("user", "two"),
        ("user", "three"),
    ]
    assert "spoken aloud" in str(messages("x", turn())[0]["content"])


@asynccontextmanager
async def chat_server(
    deltas: list[str], status: int = 200, models: tuple[str, ...] = ("tiny",)
) -> AsyncIterator[tuple]:
    asked: list[dict] = []

    async def complete(request: web.Request) -> web.StreamResponse:
        asked.append({**await request.json(), "authorization": request.headers["Authorization"]})
        if status != 200:
            return web.json_response({"error": {"message": "out of order"}}, status=status)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for delta in deltas:
            chunk = {"id": "1", "object": "chat.completion.chunk", "created": 0, "model": "tiny"}
            chunk["choices"] = [{"index": 0, "delta": {"content": delta}, "finish_reason": None}]
            await response.write(f"data: {json.dumps(chunk)}\n\n".encode())
        await response.write(b"data: [DONE]\n\n")
        return response

    async def offered(request: web.Request) -> web.Response:
        data = [{"id": name, "object": "model", "created": 0, "owned_by": "us"} for name in models]
        return web.json_response({"object": "list", "data": data})

    app = web.Application()
    app.router.add_post("/v1/chat/completions", complete)
    app.router.add_get("/v1/models", offered)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/v1", asked
    finally:
        await runner.cleanup()


@asynccontextmanager
async def responder(*arguments: str):
    made = LlmResponder(*arguments)
    await made.start()
    try:
        yield made
    finally:
        await made.close()


async def test_a_language_model_s_words_come_as_it_streams_them():
    async with chat_server(["Ahoy", ", ", "sailor."]) as (url, asked), responder(url, "", "k3y") as llm:
        assert llm.name == "tiny"
        assert [delta async for delta in llm.reply("hello", turn(system_prompt="Be a pirate."))] == [
            "Ahoy",
            ", ",
            "sailor.",
        ]
        assert asked[0]["model"] == "tiny"
        assert asked[0]["authorization"] == "Bearer k3y"
        assert asked[0]["messages"][0]["content"] == "Be a pirate."


async def test_a_language_model_that_fails_ends_the_turn_with_a_safe_message():
    async with chat_server([], status=400) as (url, _), responder(url, "tiny", "k3y") as llm:
        with pytest.raises(EngineFailed, match="status 400") as failed:
            await said(llm, "hello")
        assert "k3y" not in str(failed.value)


async def test_an_endpoint_without_models_cannot_be_started_with():
    async with chat_server([], models=()) as (url, _):
        with pytest.raises(SetupError, match="--llm-model"):
            await LlmResponder(url, "", "").start()
    with pytest.raises(SetupError, match="--llm-base-url"):
        await LlmResponder("http://127.0.0.1:9/v1", "", "").start()
