"""Methods, probes, and the headers that every answer has, for browsers above all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest

from tests.support.http_face import ORIGIN, problem
from tests.support.hub import RunningHub, a_workflow, finished, running_hub, start

ABSENT = "00000000-0000-4000-8000-000000000000"


@pytest.fixture
async def hub(database: str) -> AsyncIterator[RunningHub]:
    async with running_hub(database) as running:
        yield running


@pytest.fixture
async def http(hub: RunningHub) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"Authorization": f"Bearer {hub.token()}"}
    async with httpx.AsyncClient(base_url=hub.http, headers=headers, timeout=30, trust_env=False) as client:
        yield client


async def test_a_method_that_an_address_has_not_is_answered_with_those_that_it_has(
    http: httpx.AsyncClient,
) -> None:
    for method, path, allowed in (
        ("DELETE", "/api/workflows", {"GET", "HEAD", "POST", "OPTIONS"}),
        ("PUT", f"/api/workflows/{ABSENT}", {"GET", "HEAD", "OPTIONS"}),
        ("GET", f"/api/workflows/{ABSENT}/refinements", {"POST", "OPTIONS"}),
        ("GET", f"/api/refinements/{ABSENT}/cancel", {"POST", "OPTIONS"}),
        ("POST", f"/api/ws/refinements/{ABSENT}", {"GET", "HEAD", "OPTIONS"}),
        ("POST", "/healthz", {"GET", "HEAD", "OPTIONS"}),
    ):
        answer = await http.request(method, path)
        assert (answer.status_code, problem(answer)["code"]) == (405, "method_not_allowed"), path
        listed = {each.strip() for each in answer.headers["allow"].split(",")}
        assert listed <= allowed, path
        assert allowed - {"HEAD", "OPTIONS"} <= listed, path
    options = await http.options(f"/api/workflows/{ABSENT}")
    assert options.status_code == 204
    assert "GET" in options.headers["allow"]


async def test_head_answers_as_get_without_a_body(hub: RunningHub, http: httpx.AsyncClient) -> None:
    async with hub.client() as client:
        workflow_id = await a_workflow(client)
    for path in ("/healthz", "/readyz", "/openapi.json", "/api/workflows", f"/api/workflows/{workflow_id}"):
        got, head = await http.get(path), await http.head(path)
        assert got.status_code == 200
        if head.status_code == 405:
            assert "HEAD" not in head.headers["allow"]
            continue
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["content-type"] == got.headers["content-type"]


async def test_a_websockets_address_asks_for_the_upgrade(http: httpx.AsyncClient) -> None:
    answer = await http.get(f"/api/ws/refinements/{ABSENT}")
    assert (answer.status_code, problem(answer)["code"]) == (426, "upgrade_required")
    assert answer.headers["upgrade"] == "websocket"


async def test_pages_of_the_ide_may_call_and_no_others(hub: RunningHub, http: httpx.AsyncClient) -> None:
    asks = {
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,content-type,idempotency-key",
    }
    path = f"/api/workflows/{ABSENT}/refinements"
    preflight = await http.options(path, headers={"Origin": ORIGIN, **asks})
    assert preflight.status_code in (200, 204)
    told = preflight.headers
    assert told["access-control-allow-origin"] == ORIGIN
    assert told["access-control-allow-credentials"] == "true"
    allowed = {each.strip().lower() for each in told["access-control-allow-headers"].split(",")}
    assert allowed >= {"origin", "content-type", "authorization", "idempotency-key", "last-event-id"}
    methods = {each.strip() for each in told["access-control-allow-methods"].split(",")}
    assert methods >= {"GET", "POST", "PUT", "DELETE", "OPTIONS"}
    assert told["access-control-max-age"] == str(12 * 3600)

    # A refusal can be read by the page too, and so can the headers that it needs.
    refused = await http.post(path, json={"user_prompt": "x"}, headers={"Origin": ORIGIN})
    assert refused.status_code == 404
    assert refused.headers["access-control-allow-origin"] == ORIGIN
    exposed = {each.strip().lower() for each in refused.headers["access-control-expose-headers"].split(",")}
    assert exposed >= {"location", "link", "retry-after", "etag"}

    for origin in (
        "null",
        "*",
        "https://evil.example",
        f"{ORIGIN}.evil.example",
        f"{ORIGIN}:8443",
        "http://ide.bizmatters.com",
        "https://evil-ide.bizmatters.com",
    ):
        for answer in (
            await http.options(path, headers={"Origin": origin, **asks}),
            await http.get("/api/workflows", headers={"Origin": origin}),
        ):
            assert answer.headers.get("access-control-allow-origin") in (None, ORIGIN), origin


async def test_every_answer_is_data_for_its_caller_alone(hub: RunningHub, http: httpx.AsyncClient) -> None:
    async with hub.client() as client:
        started = await start(client, "[[replay:short_run]]")
        await finished(client, started)
    answers = await asyncio.gather(
        http.get("/api/workflows"),
        http.get("/api/nothing"),
        http.delete("/api/workflows"),
        http.post("/api/workflows", content=b"{"),
        http.get("/healthz"),
        http.get("/openapi.json"),
        http.get(f"/api/ws/refinements/{ABSENT}"),
        http.get(f"/api/refinements/{started['thread_id']}/events", headers={"Accept": "text/event-stream"}),
    )
    for answer in answers:
        told = answer.headers
        assert told["x-content-type-options"] == "nosniff"
        assert "no-store" in told["cache-control"]
        assert told["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
        assert told["referrer-policy"] == "no-referrer"
        assert told["cross-origin-resource-policy"] == "same-site"
        assert "server" not in told
        assert "set-cookie" not in told


async def test_a_problem_carries_the_callers_trace(http: httpx.AsyncClient) -> None:
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    headers = {"traceparent": f"00-{trace}-00f067aa0ba902b7-01"}
    assert problem(await http.get("/api/nothing", headers=headers))["trace_id"] == trace


async def test_probes_need_no_token_and_a_draining_replica_is_not_ready(hub: RunningHub) -> None:
    async with httpx.AsyncClient(base_url=hub.http) as nobody:
        for path in ("/healthz", "/api/health"):
            assert (await nobody.get(path)).json() == {"status": "ok"}
        assert (await nobody.get("/readyz")).json() == {"status": "ok", "failing": []}
        hub.core.refinements.accepting = False
        answer = await nobody.get("/readyz")
        told = problem(answer)
        assert (answer.status_code, told["code"], told["failing"]) == (503, "not_ready", ["draining"])
        assert answer.headers["retry-after"] == "1"
        assert (await nobody.get("/healthz")).status_code == 200
