"""The OpenAI-compatible faces of the recogniser and of the voice are alike, for the unmodified openai package and over raw HTTP."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import openai
import pytest

from tests.web_demo.server.asr.helpers import GO, ScriptedAsr, form
from tests.web_demo.server.asr.helpers import serving as serving_asr
from tests.web_demo.server.tts.fakes import ToneTts
from tests.web_demo.server.tts.fakes import serving as serving_tts
from web_demo.errors import EngineFailed, InvalidRequest
from web_demo.server.common import answers
from web_demo.server.common.answers import json_bytes
from web_demo.server.common.forms import boolean


@asynccontextmanager
async def serving(kind: str, engine: Any = None) -> AsyncIterator[tuple[str, str]]:
    """The base URL of a service, and the model that it serves."""
    if kind == "asr":
        async with serving_asr(engine) as client:
            yield str(client.make_url("/")), "script"
    else:
        async with serving_tts(engine=engine or ToneTts()) as http:
            yield str(http._base_url), "sine"


both = pytest.mark.parametrize("kind", ["asr", "tts"])


@both
async def test_the_openai_package_finds_the_model_that_is_served_and_no_other(kind: str) -> None:
    async with serving(kind) as (url, model), openai.AsyncOpenAI(base_url=f"{url}v1", api_key="none") as remote:
        assert [card.id async for card in remote.models.list()] == [model]
        assert (await remote.models.retrieve(model)).id == model
        with pytest.raises(openai.NotFoundError, match=f"there is '{model}'") as refusal:
            await remote.models.retrieve("gpt-4o")
    assert (refusal.value.code, refusal.value.type, refusal.value.param) == (
        "not_found",
        "invalid_request_error",
        "model",
    )


async def test_a_model_with_slashes_in_its_name_is_found() -> None:
    engine = ToneTts()
    engine.model = "FunAudioLLM/Fun-CosyVoice3-0.5B-2512"
    async with serving("tts", engine) as (url, _), openai.AsyncOpenAI(base_url=f"{url}v1", api_key="none") as remote:
        assert (await remote.models.retrieve(engine.model)).id == engine.model


@both
async def test_the_models_are_listed_as_open_webui_asks_for_them(kind: str) -> None:
    async with serving(kind) as (url, model), aiohttp.ClientSession() as http:
        async with http.get(f"{url}v1/audio/models") as response:
            assert await response.json() == {"models": [{"id": model, "name": model}]}
        async with http.get(f"{url}v1/audio/voices") as response:
            voices = (await response.json())["voices"]
    assert voices == ([{"id": name, "name": name} for name in ("中文女", "中文男")] if kind == "tts" else [])


@both
@pytest.mark.parametrize("path", ["v1/models", "v1/models/MODEL", "v1/audio/voices", "health"])
async def test_a_slash_at_the_end_changes_nothing(kind: str, path: str) -> None:
    async with serving(kind) as (url, model), aiohttp.ClientSession() as http:
        path = path.replace("MODEL", model)
        async with http.get(f"{url}{path}") as plain, http.get(f"{url}{path}/") as slashed:
            assert (slashed.status, await slashed.text()) == (200, await plain.text())


async def test_a_post_with_a_slash_at_its_end_is_answered_and_not_sent_elsewhere() -> None:
    async with serving("tts") as (url, _), aiohttp.ClientSession() as http:
        body = {"input": "hi", "voice": "alloy"}
        async with http.post(f"{url}v1/audio/speech/", json=body, allow_redirects=False) as response:
            assert response.status == 200


async def test_json_is_written_in_utf_8_and_half_a_character_stays_an_escape() -> None:
    async with serving("tts") as (url, _), aiohttp.ClientSession() as http:
        async with http.get(f"{url}api/speakers") as response:
            assert response.charset == "utf-8"
            assert "中文女".encode() in await response.read()
        async with http.post(f"{url}v1/audio/speech", json={"input": "hi", "voice": "没有"}) as response:
            assert "没有".encode() in await response.read()
    assert json.loads(json_bytes({"a": "\ud800中"})) == {"a": "\ud800中"}
    assert json_bytes({"a": "\ud800中"}) == '{"a": "\\ud800中"}'.encode()


def test_every_service_writes_its_json_in_the_one_place() -> None:
    """aiohttp's own writes "中" as an escape."""
    folder = Path(answers.__file__).parents[1]
    sources = {path: path.read_text("utf-8") for path in folder.rglob("*.py") if path != Path(answers.__file__)}
    assert len(sources) > 40
    assert [path.name for path, source in sources.items() if "web.json_response" in source] == []


@both
async def test_an_unknown_path_of_openai_s_is_told_in_openai_s_shape(kind: str) -> None:
    async with serving(kind) as (url, _), aiohttp.ClientSession() as http, http.get(f"{url}v1/chat") as response:
        body = await response.json()
    assert response.status == 404
    assert body["success"] is False
    assert set(body["error"]) == {"code", "message", "type", "param"}


@both
async def test_a_failure_after_the_first_event_is_the_last_event_and_is_counted(kind: str) -> None:
    async with aiohttp.ClientSession() as http:
        if kind == "asr":
            engine = ScriptedAsr()
            engine.error = EngineFailed("told to fail")
            data = {"data": form(GO.read_bytes(), field="file", stream="true")}
            path = "v1/audio/transcriptions"
        else:
            engine = ToneTts()
            text = "All is well with this sentence. [fail] in the second."
            data = {"json": {"input": text, "voice": "alloy", "response_format": "pcm", "stream_format": "sse"}}
            path = "v1/audio/speech"
        async with serving(kind, engine) as (url, _):
            async with http.post(f"{url}{path}", **data) as response:
                *_, last = (await response.text()).strip().split("\n\n")
            async with http.get(f"{url}metrics") as response:
                metrics = await response.text()
    assert json.loads(last.removeprefix("data: ")) == {
        "type": "error",
        "success": False,
        "error": {"code": "engine_failed", "message": "told to fail", "type": "server_error", "param": None},
    }
    assert 'service_errors_total{code="engine_failed"} 1.0' in metrics
    if kind == "tts":
        assert 'tts_requests_total{outcome="engine_failed"} 1.0' in metrics


# --- what is told and what is wrong ---


@pytest.mark.parametrize("framing", ["audio", "sse"])
@pytest.mark.parametrize(
    ("able", "said", "ignored"), [(True, "slowly", False), (False, "slowly", True), (True, "x" * 501, True)]
)
async def test_instructions_are_followed_or_told_to_be_without_effect_and_never_refused(
    framing: str, able: bool, said: str, ignored: bool
) -> None:
    engine = ToneTts()
    engine.capabilities = replace(engine.capabilities, instructions=able)
    body = {"input": "hi", "voice": "alloy", "instructions": said, "stream_format": framing}
    async with serving("tts", engine) as (url, _), aiohttp.ClientSession() as http:
        response = await http.post(f"{url}v1/audio/speech", json=body)
        assert response.status == 200, await response.text()
        assert response.headers.get("X-Ignored-Parameters") == ("instructions" if ignored else None)
        await response.read()
    assert engine.requests[0].instruction == ("" if ignored else said)


@pytest.mark.parametrize(
    ("wrong", "param"),
    [
        ({"input": ""}, "input"),
        ({"input": None}, "input"),
        ({"input": "x" * 6000}, "input"),
        ({"voice": 3}, "voice"),
        ({"voice": "nobody"}, "voice"),
        ({"speed": 99}, "speed"),
        ({"response_format": "midi"}, "response_format"),
        ({"stream_format": "carrier pigeon"}, "stream_format"),
        ({"language": "?"}, "language"),
        ({"markdown": "maybe"}, "markdown"),
        ({"instructions": 1}, "instructions"),
    ],
)
async def test_an_error_names_its_parameter(wrong: dict[str, Any], param: str) -> None:
    body = {"input": "hi", "voice": "alloy", "model": "tts-1", **wrong}
    async with serving("tts") as (url, _), openai.AsyncOpenAI(base_url=f"{url}v1", api_key="none") as remote:
        asking = remote.post("/audio/speech", body=body, cast_to=object)
        with pytest.raises(openai.APIStatusError) as refusal:
            await asking
    assert (refusal.value.param, refusal.value.type) == (param, "invalid_request_error")


# --- booleans ---


@pytest.mark.parametrize("sent", ["1", "True", "yes", "ON"])
async def test_a_stream_is_streamed_however_yes_is_said(sent: str) -> None:
    async with aiohttp.ClientSession() as http:
        async with serving("asr") as (url, _):
            data = form(GO.read_bytes(), field="file", stream=sent)
            async with http.post(f"{url}v1/audio/transcriptions", data=data) as response:
                assert response.content_type == "text/event-stream"
        async with serving("tts") as (url, _):
            async with http.post(f"{url}api/synthesize", json={"text": "hi", "stream": sent}) as response:
                assert response.content_type == "audio/wav"
            fields = aiohttp.FormData({"text": "hi", "stream": sent}, default_to_multipart=True)
            async with http.post(f"{url}api/synthesize", data=fields) as response:
                assert response.content_type == "audio/wav"


async def test_what_is_neither_yes_nor_no_is_refused_by_the_recogniser_too() -> None:
    async with serving("asr") as (url, _), aiohttp.ClientSession() as http:
        data = form(GO.read_bytes(), field="file", stream="2")
        async with http.post(f"{url}v1/audio/transcriptions", data=data) as response:
            assert response.status == 400
            assert "stream must be true or false, got '2'" in (await response.json())["error"]["message"]


@pytest.mark.parametrize("value", [True, 1, "1", "true", "TRUE", "yes", "On", " true "])
def test_yes(value: object) -> None:
    assert boolean("it", value) is True


@pytest.mark.parametrize("value", [False, 0, "0", "false", "False", "no", "OFF"])
def test_no(value: object) -> None:
    assert boolean("it", value, default=True) is False


@pytest.mark.parametrize("default", [True, False])
def test_nothing_sent_is_the_default(default: bool) -> None:
    assert boolean("it", None, default=default) is default
    assert boolean("it", "", default=default) is default


@pytest.mark.parametrize("value", [2, -1, 1.0, "2", "ja", "truely", [], {}, [True]])
def test_anything_else_is_a_mistake_that_says_what_came(value: object) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        boolean("it", value)
    assert refusal.value.message == f"it must be true or false, got {value!r}"
