"""A language model for the client tests, behind `/v1/chat/completions`: scripted, so that every answer is known.

Where functions are offered and the user has just spoken, it calls the first of them; after the result it repeats that; else it
counts to twenty, a sentence a number, which is long enough to be interrupted.
"""

from __future__ import annotations

import json
from typing import Any

from aiohttp import web

COUNTING = " ".join(f"This is sentence number {number}." for number in range(1, 21))


def answer(messages: list[dict[str, Any]], tools: list[dict[str, Any]]) -> dict[str, Any]:
    """The delta of the one message."""
    last = messages[-1] if messages else {}
    if last.get("role") == "tool":
        return {"content": f"The function says {last.get('content')}."}
    if tools:
        function = {"name": tools[0]["function"]["name"], "arguments": json.dumps({"city": "Berlin"})}
        return {"tool_calls": [{"index": 0, "id": "call_1", "type": "function", "function": function}]}
    return {"content": COUNTING if "short" not in str(messages[0].get("content")) else "A short answer."}


async def complete(request: web.Request) -> web.StreamResponse:
    asked = await request.json()
    delta = answer(asked["messages"], asked.get("tools") or [])
    reason = "tool_calls" if "tool_calls" in delta else "stop"
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    for part, ended in ((delta, None), ({}, reason)):
        choice = {"index": 0, "delta": {"role": "assistant", **part}, "finish_reason": ended}
        chunk = {"id": "c1", "object": "chat.completion.chunk", "created": 0, "model": "scripted", "choices": [choice]}
        await response.write(f"data: {json.dumps(chunk)}\n\n".encode())
    await response.write(b"data: [DONE]\n\n")
    return response


def app() -> web.Application:
    application = web.Application()
    application.router.add_post("/v1/chat/completions", complete)
    return application
