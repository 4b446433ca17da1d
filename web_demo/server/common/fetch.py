"""What another service answers, read with a cap."""

from __future__ import annotations

import json
from typing import Any

import aiohttp


async def read_json_answer(answer: aiohttp.ClientResponse, most_bytes: int) -> Any:
    """The body as JSON. Raises ValueError for one that is longer or no JSON, aiohttp.ClientError when it breaks off."""
    content = bytearray()
    async for chunk in answer.content.iter_any():
        content += chunk
        if len(content) > most_bytes:
            raise ValueError(f"the answer is over {most_bytes} bytes")
    try:
        return json.loads(content)
    except RecursionError:
        raise ValueError("the answer is nested too deeply") from None
