"""What the services say of themselves is what they do: every address is told, every parameter that is told is read and no other."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from openapi_spec_validator import validate

from tests.talk import until
from tests.web_demo.server.asr.helpers import GO, ScriptedAsr
from tests.web_demo.server.tts.fakes import ToneTts
from web_demo.engines.base import TextDelta
from web_demo.engines.fakes import ScriptedS2s
from web_demo.server.asr.routes import ROUTES as ASR_ROUTES
from web_demo.server.asr.settings import AsrSettings
from web_demo.server.asr_server import create_app as create_asr
from web_demo.server.common import forms
from web_demo.server.common.api.routes import FORM, JSON, TABLE, Route
from web_demo.server.common.service import HEALTH
from web_demo.server.s2s.routes import ROUTES as S2S_ROUTES
from web_demo.server.s2s.settings import S2sSettings
from web_demo.server.server import create_app as create_s2s
from web_demo.server.tts.routes import ROUTES as TTS_ROUTES
from web_demo.server.tts.settings import TtsSettings
from web_demo.server.tts_server import create_app as create_tts

CREATE: dict[str, Callable[..., web.Application]] = {
    "asr": lambda **more: create_asr(AsrSettings(port=0, **more), ScriptedAsr(timestamps="word", translation=True)),
    "tts": lambda **more: create_tts(TtsSettings(port=0, **more), ToneTts()),
    "s2s": lambda **more: create_s2s(S2sSettings(port=0, **more), ScriptedS2s(lambda _: [TextDelta("ok")])),
}
every = pytest.mark.parametrize("kind", CREATE)


@asynccontextmanager
async def serving(kind: str, **settings: Any) -> AsyncIterator[TestClient[Any, Any]]:
    app = CREATE[kind](**settings)
    async with TestClient(TestServer(app, host="127.0.0.1")) as client:
        await until(lambda: app[HEALTH].state()[0] == "healthy")
        yield client


async def told(client: TestClient[Any, Any]) -> dict[str, Any]:
    return dict(await (await client.get("/openapi.json")).json())


@every
@pytest.mark.parametrize("key", ["", "secret"])
async def test_the_document_is_valid_and_open(kind: str, key: str) -> None:
    async with serving(kind, api_key=key) as client:
        document = await told(client)
        page = await client.get("/docs")
        html = await page.text()
    validate(document)
    assert document["openapi"].startswith("3.1")
    secured = [path for path, methods in document["paths"].items() for each in methods.values() if each.get("security")]
    assert ("/v1/models" in secured) == bool(key)
    assert "/health" not in secured
    assert "<script" not in html
    assert page.headers["Content-Security-Policy"].startswith("default-src 'none'; style-src 'sha256-")
    for path, methods in document["paths"].items():
        for method in methods:
            assert f"<code>{method.upper()} {path}</code>" in html


@every
async def test_every_address_is_in_the_document_and_nothing_else_is(kind: str) -> None:
    async with serving(kind) as client:
        document = await told(client)
        assert client.app is not None
        served = {
            (route.method.lower(), "/" + route.resource.canonical.strip("/"))
            for route in client.app.router.routes()
            if route.method != "HEAD" and route.resource is not None
        }
    assert {(method, path) for path, methods in document["paths"].items() for method in methods} == served


async def test_the_document_of_the_one_address_has_what_the_others_answer() -> None:
    async with serving("s2s") as client:
        paths = (await told(client))["paths"]
    assert {route.address for route in (*ASR_ROUTES, *TTS_ROUTES)} <= set(paths)


async def test_what_is_open_needs_no_key_and_everything_else_does() -> None:
    async with serving("s2s", api_key="secret") as client:
        assert client.app is not None
        for route in client.app[TABLE]:
            path = route.address.replace("{version}/{name}", "x/main.js").replace("{", "").replace("}", "")
            response = await client.request(route.method, path)
            assert (response.status != 401) != route.needs_key, route.address


# --- parameters ---


class Reads(set[str]):
    """Names of the parameters that were looked at."""

    def of(self, values: Any) -> dict[str, Any]:
        reads = self

        class Recorded(dict[str, Any]):
            def get(self, key: str, default: Any = None) -> Any:
                reads.add(key)
                return super().get(key, default)

            def __getitem__(self, key: str) -> Any:
                reads.add(key)
                return super().__getitem__(key)

            def __contains__(self, key: object) -> bool:
                reads.add(str(key))
                return super().__contains__(key)

        return Recorded(values)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Reads:
    """What is read of bodies and queries while a test runs."""
    recorded = Reads()
    json_object, read_parts = forms._json_object, forms._read_parts

    class RecordedForm(forms.Form):
        @property
        def fields(self) -> dict[str, str]:
            return recorded.of(super().fields)

    async def recorded_parts(request: web.Request, body: Any, file: Any, file_field: str, limits: Any) -> forms.Form:
        form = await read_parts(request, body, file, file_field, limits)
        recorded.add(file_field)
        return RecordedForm(recorded.of(form.values), form.file)

    as_form = forms._as_form
    monkeypatch.setattr(forms, "_json_object", lambda content: recorded.of(json_object(content)))
    monkeypatch.setattr(forms, "_as_form", lambda asked: recorded.of(as_form(asked)))
    monkeypatch.setattr(forms, "_read_parts", recorded_parts)
    monkeypatch.setattr(web.Request, "query", property(lambda self: recorded.of(self.rel_url.query)), raising=False)
    return recorded


SPOKEN = "data:audio/wav;base64," + base64.b64encode(GO.read_bytes()).decode()
HEARD = "go forward ten meters"
# (method, path, how it is sent) -> a request that has a use for every parameter
REQUESTS: dict[tuple[str, str, str], dict[str, Any]] = {
    ("POST", "/api/transcribe", FORM): {"audio": GO},
    ("GET", "/api/transcribe/stream", ""): {},
    ("POST", "/v1/audio/transcriptions", FORM): {"file": GO, "response_format": "verbose_json"},
    ("POST", "/v1/audio/transcriptions", JSON): {"input_audio": {"data": SPOKEN, "format": "wav"}},
    ("POST", "/v1/audio/translations", FORM): {"file": GO},
    ("POST", "/v1/audio/translations", JSON): {"input_audio": SPOKEN},
    ("POST", "/api/synthesize", JSON): {"text": "Hi.", "prompt_wav": SPOKEN, "prompt_text": HEARD},
    ("POST", "/api/synthesize", FORM): {"text": "Hi.", "prompt_wav": GO, "prompt_text": HEARD},
    ("POST", "/v1/audio/speech", JSON): {"input": "Hi.", "response_format": "wav"},
    ("POST", "/api/speakers", FORM): {"name": "me", "audio": GO, "transcript": HEARD},
    ("GET", "/api/chat", ""): {},
    ("GET", "/v1/realtime", ""): {},
}


def ways(route: Route) -> list[str]:
    return [body.media for body in route.bodies] or [""] * bool(route.query)  # a socket has a page for its messages


TOLD = {
    (route.method, route.path, media): (kind, route)
    for kind, routes in (("asr", ASR_ROUTES), ("tts", TTS_ROUTES), ("s2s", S2S_ROUTES))
    for route in routes
    for media in ways(route)
}


def test_every_request_that_has_parameters_is_tried() -> None:
    assert set(REQUESTS) == set(TOLD)


@pytest.mark.parametrize("case", TOLD, ids=str)
async def test_every_parameter_that_is_told_is_read_and_no_other(
    case: tuple[str, str, str], reads: Reads, tmp_path: Any
) -> None:
    method, path, media = case
    kind, route = TOLD[case]
    documented = {
        field.name for body in route.bodies if body.media == media for field in body.fields if not field.unused
    }
    documented |= {field.name for field in route.query}
    async with serving(kind, **({"speakers_dir": tmp_path} if kind == "tts" else {})) as client:
        reads.clear()
        if route.socket:
            async with client.ws_connect(path):
                pass
        else:
            response = await client.request(method, path, **sent(media, REQUESTS[case]))
            assert response.status < 300, await response.text()
    names = {name.removesuffix("[]") for name in reads}  # of a list, both ways to send it
    assert names - {"api_key"} == {name.removesuffix("[]") for name in documented}


def sent(media: str, fields: dict[str, Any]) -> dict[str, Any]:
    if media == JSON:
        return {"data": json.dumps(fields), "headers": {"Content-Type": JSON}}
    form = aiohttp.FormData(default_to_multipart=True)
    for name, value in fields.items():
        form.add_field(name, value.read_bytes() if value is GO else value, filename="a.wav" if value is GO else None)
    return {"data": form}
