"""Who may call, over a real socket."""

import asyncio
import hmac

import pytest
from aiohttp import WSServerHandshakeError

from tests.web_demo.server.common.tiny_service import serving
from web_demo.server.common import access

KEY = "schlüssel-1234"


async def error_of(response) -> tuple[int, str, str]:
    body = await response.json()
    assert body["success"] is False
    return response.status, body["error"]["code"], body["error"]["message"]


# --- the key ---


@pytest.mark.parametrize("headers", [{"Authorization": f"Bearer {KEY}"}, {"authorization": f"bearer  {KEY}"}])
async def test_the_key_goes_in_the_authorization_header(headers):
    async with serving(api_key=KEY) as client:
        assert (await client.get("/api/open", headers=headers)).status == 200


async def test_the_key_goes_in_its_own_header():
    async with serving(api_key=KEY) as client:
        assert (await client.get("/api/open", headers={"X-API-Key": KEY})).status == 200


async def test_a_websocket_may_give_the_key_in_its_query():
    async with serving(api_key=KEY) as client, client.ws_connect("/api/socket", params={"api_key": KEY}) as socket:
        assert await socket.receive_str() == "welcome"


async def test_the_key_may_come_as_azures_clients_send_it():
    async with serving(api_key=KEY) as client:
        assert (await client.get("/api/open", headers={"api-key": KEY})).status == 200


@pytest.mark.parametrize("offered", [("realtime", "openai-insecure-api-key.abc-1"), ("openai-insecure-api-key.abc-1",)])
async def test_a_websocket_may_give_the_key_as_a_subprotocol(offered):
    async with serving(api_key="abc-1") as client, client.ws_connect("/api/socket", protocols=offered) as socket:
        assert await socket.receive_str() == "welcome"


async def test_a_wrong_key_in_the_subprotocol_is_refused_and_opens_nothing_else():
    async with serving(api_key="abc-1") as client:
        with pytest.raises(WSServerHandshakeError) as refused:
            await client.ws_connect("/api/socket", protocols=("realtime", "openai-insecure-api-key.abc-2"))
        plain = {"Sec-WebSocket-Protocol": "openai-insecure-api-key.abc-1"}
        assert (await client.get("/api/open", headers=plain)).status == 401
    assert refused.value.status == 401


async def test_the_key_in_the_query_opens_nothing_but_websockets():
    async with serving(api_key=KEY) as client:
        status, code, _ = await error_of(await client.get("/api/open", params={"api_key": KEY}))
    assert (status, code) == (401, "unauthorized")


async def test_without_a_key_the_answer_says_how_to_send_it():
    async with serving(api_key=KEY) as client:
        status, code, message = await error_of(await client.get("/api/open"))
    assert (status, code) == (401, "unauthorized")
    assert "Authorization: Bearer" in message


@pytest.mark.parametrize("wrong", ["x", KEY[:-1], KEY + "5", KEY.upper(), "ключ"])
async def test_a_wrong_key_is_refused_and_neither_key_is_repeated(wrong):
    async with serving(api_key=KEY) as client:
        status, code, message = await error_of(await client.get("/api/open", headers={"X-API-Key": wrong}))
    assert (status, code, message) == (401, "unauthorized", "the API key is wrong")


async def test_a_refusal_comes_in_the_language_of_who_asks():
    async with serving(api_key=KEY) as client:
        headers = {"X-API-Key": "x", "Accept-Language": "zh-CN"}
        assert (await error_of(await client.get("/api/open", headers=headers)))[2] == "API 密钥不正确"


async def test_a_key_that_is_no_text_is_wrong_and_not_an_error_of_ours():
    async with serving(api_key=KEY) as client:
        assert await raw_status(client, b"GET /api/open HTTP/1.1\r\nX-API-Key: \xff\xfe\r\n") == 401


async def test_a_websocket_with_a_wrong_key_is_refused_before_it_opens():
    async with serving(api_key=KEY) as client:
        with pytest.raises(WSServerHandshakeError) as refused:
            await client.ws_connect("/api/socket", params={"api_key": "wrong"})
    assert refused.value.status == 401


@pytest.mark.parametrize("path", ["/api/open", "/api/nowhere", "/v1/models", "/metrics", "/%61pi/open"])
async def test_everything_but_the_page_and_the_health_needs_the_key(path):
    async with serving(api_key=KEY) as client:
        assert (await client.get(path)).status == 401


async def test_the_page_and_the_health_need_no_key():
    async with serving(api_key=KEY) as client:
        assert (await client.get("/")).status == 200
        assert (await client.get("/health")).status == 503  # loading, not refused


async def test_keys_are_compared_in_constant_time(monkeypatch):
    compared = []
    real = hmac.compare_digest

    def compare(left: bytes, right: bytes) -> bool:
        compared.append((left, right))
        return real(left, right)

    monkeypatch.setattr(access.hmac, "compare_digest", compare)
    async with serving(api_key=KEY) as client:
        await client.get("/api/open", headers={"X-API-Key": "wrong"})
    assert compared == [(b"wrong", KEY.encode())]


# --- the origin ---


async def status_from(client, origin: str, host: str | None = None) -> int:
    headers = {"Origin": origin} | ({"Host": host} if host else {})
    return (await client.get("/api/open", headers=headers)).status


async def test_a_program_sends_no_origin_and_is_let_in():
    async with serving() as client:
        assert (await client.get("/api/open")).status == 200


async def test_the_own_page_is_let_in():
    async with serving() as client:
        assert await status_from(client, f"http://127.0.0.1:{client.port}") == 200
        assert await status_from(client, "http://localhost:8002", host="localhost:8002") == 200
        assert await status_from(client, "http://[::1]:8002", host="[::1]:8002") == 200


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "", "http://127.0.0.1:1", "http://localhost", "file://", "http://["]
)
async def test_a_page_of_another_origin_is_refused(origin):
    async with serving() as client:
        assert await status_from(client, origin) == 403


async def test_the_refusal_names_the_origin_and_the_option():
    async with serving() as client:
        response = await client.get("/api/open", headers={"Origin": "https://evil.example"})
        status, code, message = await error_of(response)
    assert (status, code) == (403, "forbidden")
    assert "--allowed-origin https://evil.example" in message


async def test_a_websocket_of_another_origin_is_refused():
    async with serving() as client:
        with pytest.raises(WSServerHandshakeError) as refused:
            await client.ws_connect("/api/socket", origin="https://evil.example")
    assert refused.value.status == 403


async def test_an_allowed_origin_is_let_in_and_no_other():
    async with serving(allowed_origins=("https://app.example",)) as client:
        assert await status_from(client, "https://app.example") == 200
        assert await status_from(client, "https://app.example.evil") == 403
        assert await status_from(client, "http://app.example") == 403


async def test_a_star_lets_every_origin_in():
    async with serving(allowed_origins=("*",)) as client:
        assert await status_from(client, "https://anyone.example") == 200


# --- the name ---


async def status_as(client, host: str, path: str = "/api/open") -> int:
    return (await client.get(path, headers={"Host": host})).status


@pytest.mark.parametrize("path", ["/", "/health", "/metrics", "/api/open", "/api/nowhere"])
@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
async def test_a_foreign_name_that_resolves_to_this_machine_is_refused_on_every_path(host, path):
    async with serving(host=host) as client:
        assert await status_as(client, "evil.example:8002", path) == 403
        assert await status_as(client, "127.0.0.1.evil.example", path) == 403
        assert await status_from(client, "http://evil.example:8002", host="evil.example:8002") == 403


async def test_a_websocket_under_a_foreign_name_is_refused():
    async with serving() as client:
        with pytest.raises(WSServerHandshakeError) as refused:
            await client.ws_connect("/api/socket", headers={"Host": "evil.example"})
    assert refused.value.status == 403


@pytest.mark.parametrize(
    "host",
    [
        "localhost:8002",
        "LOCALHOST",
        "app.localhost",
        "[::1]:8002",
        "192.168.1.7:8002",
        "box",
        "s2s-embedded:8002",
        "box.lan:8002",
        "box.local",
        "tts.default.svc.cluster.local.",
        "box.home.arpa",
    ],
)
async def test_addresses_and_local_names_are_let_in(host):
    async with serving(host="0.0.0.0") as client:
        assert await status_as(client, host) == 200
        assert await status_from(client, f"http://{host.lower()}", host=host) == 200


async def test_the_operator_allows_names():
    async with serving(allowed_hosts=("Voice.Example.org", ".proxy.example")) as client:
        assert await status_as(client, "voice.example.org:8002") == 200
        assert await status_as(client, "pod-8002.proxy.example") == 200
        assert await status_as(client, "a.voice.example.org") == 403
        assert await status_as(client, "evilproxy.example") == 403
    async with serving(allowed_hosts=("*",)) as client:
        assert await status_as(client, "anything.example") == 200


async def test_the_refusal_of_a_name_says_what_the_operator_can_do():
    async with serving() as client:
        status, code, message = await error_of(await client.get("/api/open", headers={"Host": "voice.example:1"}))
    assert (status, code, "--allowed-host voice.example" in message) == (403, "forbidden", True)


async def test_a_program_that_sends_no_name_is_let_in():
    async with serving() as client:
        reader, writer = await asyncio.open_connection(client.host, client.port)
        writer.write(b"GET /api/open HTTP/1.0\r\n\r\n")
        assert b" 200 " in await reader.readline()
        writer.close()


async def test_a_host_that_is_no_address_is_refused_and_not_an_error_of_ours():
    async with serving() as client:
        head = b"GET /api/open HTTP/1.1\r\nOrigin: http://[\r\nHost: [\r\n"
        assert await raw_status(client, head) == 403


async def raw_status(client, head: bytes) -> int:
    """The status of a request that no HTTP library would send."""
    reader, writer = await asyncio.open_connection(client.host, client.port)
    host = b"" if b"Host:" in head else b"Host: localhost\r\n"
    writer.write(head + host + b"Connection: close\r\n\r\n")
    status = int((await reader.readline()).split()[1])
    writer.close()
    await writer.wait_closed()
    return status


async def test_a_page_of_an_allowed_origin_may_read_the_answers_and_send_its_key():
    origin = {"Origin": "https://my.site"}
    async with serving(api_key=KEY, allowed_origins=("https://my.site",)) as client:
        asked = {**origin, "Access-Control-Request-Method": "POST"}
        preflight = await client.options("/api/echo", headers=asked)
        assert preflight.status == 204
        assert "x-api-key" in preflight.headers["Access-Control-Allow-Headers"]
        answer = await client.get("/api/open", headers={**origin, "X-API-Key": KEY})
        refused = await client.get("/api/open", headers=origin)
    for response in (preflight, answer, refused):
        assert response.headers["Access-Control-Allow-Origin"] == "https://my.site"


OPENAI_JS = (
    "accept,authorization,content-type,openai-organization,x-stainless-arch,x-stainless-lang,x-stainless-os,"
    "x-stainless-package-version,x-stainless-retry-count,x-stainless-runtime,x-stainless-runtime-version,x-stainless-timeout"
)


async def test_a_page_of_an_allowed_origin_may_send_what_openai_s_javascript_sends_and_nothing_else():
    asked = {
        "Origin": "https://my.site",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": f"{OPENAI_JS},cookie,x-forwarded-for",
    }
    async with serving(api_key=KEY, allowed_origins=("https://my.site",)) as client:
        preflight = await client.options("/v1/audio/speech", headers=asked)
        answer = await client.get("/api/open", headers={"Origin": "https://my.site", "X-API-Key": KEY})
    assert preflight.status == 204
    assert preflight.headers["Access-Control-Allow-Headers"].split(", ") == OPENAI_JS.split(",")
    assert "X-Ignored-Parameters" in answer.headers["Access-Control-Expose-Headers"]


async def test_a_foreign_page_is_refused_at_its_preflight_and_told_nothing():
    async with serving() as client:
        asked = {"Origin": "https://evil.site", "Access-Control-Request-Method": "POST"}
        preflight = await client.options("/api/echo", headers=asked)
    assert preflight.status == 403
    assert "Access-Control-Allow-Origin" not in preflight.headers
