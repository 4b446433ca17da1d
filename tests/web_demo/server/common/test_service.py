"""What the services share, over a real socket."""

import asyncio

import pytest

from tests.web_demo.server.common.tiny_service import TinyService, serving
from web_demo.errors import SetupError
from web_demo.server.common.service import LIFE


async def error_of(response) -> tuple[int, str, str]:
    assert response.content_type == "application/json"
    body = await response.json()
    assert set(body) == {"success", "error"}
    assert body["success"] is False
    return response.status, body["error"]["code"], body["error"]["message"]


# --- errors ---


async def test_an_unknown_path_is_answered_in_json():
    async with serving() as client:
        status, code, message = await error_of(await client.get("/api/nowhere"))
    assert (status, code) == (404, "not_found")
    assert "GET /api/nowhere" in message


async def test_a_wrong_method_is_answered_in_json_with_those_that_are_right():
    async with serving() as client:
        response = await client.get("/api/echo")
        assert (await error_of(response))[:2] == (405, "method_not_allowed")
        assert "POST" in response.headers["Allow"]


@pytest.mark.parametrize(
    ("version", "expectation", "statuses"),
    [
        (b"1.1", b"100-continue", [100, 200]),
        (b"1.0", b"100-continue", [200]),
        (b"1.1", b"200-ok", [417]),
        (b"1.1", b"\xe9", [417]),
    ],
)
async def test_an_expectation_is_met_or_refused_and_is_no_mistake_of_ours(version, expectation, statuses, caplog):
    async with serving() as client:
        reader, writer = await asyncio.open_connection(client.host, client.port)
        writer.write(
            b"GET /metrics HTTP/%s\r\nHost: localhost\r\nConnection: close\r\nExpect: %s\r\n\r\n"
            % (version, expectation)
        )
        answer = await asyncio.wait_for(reader.read(), 10)
        writer.close()
    assert [int(line.split()[1]) for line in answer.splitlines() if line.startswith(b"HTTP/")] == statuses
    assert "Traceback" not in caplog.text


async def test_a_body_over_the_cap_is_refused():
    async with serving() as client:
        status, code, _ = await error_of(await client.post("/api/echo", data=b'{"a":"' + b"x" * 2000 + b'"}'))
    assert (status, code) == (413, "too_large")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "must be a JSON object in UTF-8"),
        (b"{", "must be a JSON object in UTF-8"),
        (b"\xff\xfe", "must be a JSON object in UTF-8"),
        (b"[1]", "must be a JSON object, got list"),
        (b"null", "must be a JSON object, got NoneType"),
        (b"[" * 990, "must be a JSON object in UTF-8"),
    ],
)
async def test_a_body_that_is_no_json_object_is_refused(body, said):
    async with serving() as client:
        status, code, message = await error_of(await client.post("/api/echo", data=body))
    assert (status, code) == (400, "invalid_request")
    assert said in message


async def test_a_client_that_stops_in_a_json_body_is_told_so():
    async with serving() as client:
        reader, writer = await asyncio.open_connection("127.0.0.1", client.port)
        writer.write(b'POST /api/echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{"text": "he')
        assert b" 408 " in await asyncio.wait_for(reader.readline(), 20)
        writer.close()


async def test_a_json_body_is_read():
    async with serving() as client:
        assert await (await client.post("/api/echo", json={"text": "你好"})).json() == {"text": "你好"}


async def test_a_busy_service_says_when_to_come_back():
    async with serving() as client:
        response = await client.get("/api/busy")
        assert await error_of(response) == (429, "busy", "the queue is full")
        assert response.headers["Retry-After"] == "7"


async def test_an_error_of_the_engine_is_told_in_its_words():
    async with serving() as client:
        assert await error_of(await client.get("/api/failed")) == (500, "engine_failed", "the engine could not finish")


async def test_a_mistake_of_ours_goes_to_the_log_and_not_to_the_client(caplog):
    async with serving() as client:
        status, code, message = await error_of(await client.get("/api/broken"))
    assert (status, code) == (500, "internal_error")
    assert "secret" not in message
    assert "a secret detail" in caplog.text


# --- health ---


async def health(client) -> tuple[int, dict]:
    response = await client.get("/health")
    return response.status, await response.json()


async def test_health_is_loading_then_healthy_then_unhealthy_with_the_reason_and_then_healthy_again():
    service = TinyService()
    async with serving(service) as client:
        status, body = await health(client)
        assert (status, body["status"]) == (503, "loading")
        assert body["reason"]
        await service.started()
        assert await health(client) == (200, {"status": "healthy", "model": "tiny", "device": "cpu"})
        service.fault = "the child died"
        status, body = await health(client)
        assert (status, body["status"], body["reason"]) == (503, "unhealthy", "the child died")
        service.fault = None
        assert (await health(client))[0] == 200


async def test_a_start_that_failed_as_foreseen_says_why_in_health():
    service = TinyService(start_error=SetupError("there are no weights in models/; download them"))
    async with serving(service) as client:
        await service.started()
        status, body = await health(client)
    assert (status, body["status"]) == (503, "unhealthy")
    assert body["reason"] == "there are no weights in models/; download them"


async def test_a_start_that_failed_unforeseen_points_at_the_log(caplog):
    service = TinyService(start_error=RuntimeError("/home/me/secret"))
    async with serving(service) as client:
        await service.started()
        _, body = await health(client)
    assert body["status"] == "unhealthy"
    assert "secret" not in body["reason"]
    assert "/home/me/secret" in caplog.text


async def test_the_engine_is_closed_once_though_it_never_finished_starting():
    service = TinyService()
    async with serving(service):
        assert service.closed == 0
    assert service.closed == 1


# --- metrics ---


async def test_metrics_count_errors_by_code():
    async with serving() as client:
        await client.get("/api/nowhere")
        await client.get("/api/busy")
        await client.get("/api/busy")
        response = await client.get("/metrics")
        text = await response.text()
    assert response.content_type == "text/plain"
    assert 'service_errors_total{code="not_found"} 1.0' in text
    assert 'service_errors_total{code="busy"} 2.0' in text


# --- the end ---


async def test_draining_lets_running_work_finish_and_takes_no_new_work():
    service = TinyService()
    async with serving(service) as client:
        await service.started()
        running = asyncio.create_task(client.get("/api/slow"))
        await service.entered.wait()
        draining = asyncio.create_task(client.app[LIFE].drain(60.0))
        await asyncio.sleep(0)
        assert (await error_of(await client.get("/api/open")))[:2] == (503, "unavailable")
        assert (await client.get("/health")).status == 200
        assert not draining.done()
        service.may_answer.set()
        assert await (await running).text() == "done"
        assert await draining is True


async def test_work_that_does_not_finish_in_time_is_reported():
    service = TinyService()
    async with serving(service) as client:
        running = asyncio.create_task(client.get("/api/slow"))
        await service.entered.wait()
        assert await client.app[LIFE].drain(0.01) is False
        service.may_answer.set()
        await running


async def test_with_nothing_to_do_draining_is_over_at_once():
    async with serving() as client:
        assert await client.app[LIFE].drain(60.0) is True
