"""Methods, probes, and the headers that every answer has, for browsers above all."""

from __future__ import annotations

import asyncio
import re

import httpx
import pytest
import structlog.testing

from tests.support.hand_clock import PATIENCE_S
from tests.support.http_interface import ORIGIN, http_interface, problem
from tests.support.hub import RunningHub, a_workflow, finished, start

ABSENT = "00000000-0000-4000-8000-000000000000"


async def test_a_method_that_an_address_has_not_is_answered_with_those_that_it_has(
    http: httpx.AsyncClient,
) -> None:
    for method, path, allowed in (
        ("DELETE", "/api/workflows", {"GET", "HEAD", "POST", "OPTIONS"}),
        ("PUT", f"/api/workflows/{ABSENT}", {"GET", "HEAD", "PATCH", "OPTIONS"}),
        ("GET", f"/api/workflows/{ABSENT}/refinements", {"POST", "OPTIONS"}),
        ("GET", f"/api/refinements/{ABSENT}/cancel", {"POST", "OPTIONS"}),
        ("POST", f"/api/ws/refinements/{ABSENT}", {"GET", "HEAD", "OPTIONS"}),
        ("POST", "/healthz", {"GET", "HEAD", "OPTIONS"}),
    ):
        answer = await http.request(method, path)
        assert (answer.status_code, problem(answer)["code"]) == (405, "method_not_allowed"), path
        listed = {each.strip() for each in answer.headers["allow"].split(",")}
        assert listed == allowed, path
        # OPTIONS says the same, to everybody.
        options = await http.options(path, headers={"Authorization": ""})
        assert options.status_code == 204, path
        assert {each.strip() for each in options.headers["allow"].split(",")} == allowed, path


async def test_head_answers_as_get_without_a_body(hub: RunningHub, http: httpx.AsyncClient) -> None:
    async with hub.client() as client:
        workflow_id = await a_workflow(client)
        started = await start(client, "[[replay:short_run]]", workflow_id)
        await finished(client, started)
    thread = f"/api/refinements/{started['thread_id']}"
    for path in (
        "/healthz",
        "/api/health",
        "/readyz",
        "/metrics",
        "/openapi.json",
        "/api/workflows",
        f"/api/workflows/{workflow_id}",
        f"/api/proposals/{started['proposal_id']}",
        thread,
        f"{thread}/events",
        # Refusals, too.
        f"/api/workflows/{ABSENT}",
        "/api/workflows?limit=x",
        "/api/nothing",
        f"{thread}/cancel",
        f"/api/ws/refinements/{ABSENT}",
    ):
        got, head = await http.get(path), await http.head(path)
        assert (head.status_code, head.content) == (got.status_code, b""), path
        different = {"date", "content-length"} if path in ("/metrics", "/openapi.json") else {"date"}
        if got.is_error:
            different |= {"content-length"}  # a trace id each
        assert {k: v for k, v in head.headers.items() if k not in different} == {
            k: v for k, v in got.headers.items() if k not in different
        }, path
        # A proposal's JSON is made while it is sent: its size is not known before.
        made_meanwhile = "transfer-encoding" in got.headers
        assert made_meanwhile or int(head.headers["content-length"]) > 0, path
    nobody = await http.head("/api/workflows", headers={"Authorization": ""})
    assert nobody.status_code == 401


@pytest.mark.parametrize("prompt", ["[[replay:short_run]]", "[[replay:short_run silent=10]]"])
async def test_head_of_a_stream_is_its_headers_and_holds_no_place(
    hub: RunningHub, http: httpx.AsyncClient, prompt: str
) -> None:
    async with hub.client() as client:
        started = await start(client, prompt)
    path = f"/api/refinements/{started['thread_id']}/events"
    async with asyncio.timeout(PATIENCE_S):
        head = await http.head(path, headers={"Accept": "text/event-stream"})
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["content-type"] == "text/event-stream; charset=utf-8"
        gone = await http.head(f"{path}?after=999", headers={"Accept": "text/event-stream"})
        assert gone.status_code == 410
        # The connection serves on.
        assert (await http.get("/healthz")).json() == {"status": "ok"}
        while hub.core.broadcaster.readers:
            await asyncio.sleep(0.01)


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

    assert refused.headers["vary"] == "Origin"
    assert (await http.get("/api/workflows")).headers["vary"] == "Origin"


#: What every page may read (Fetch standard, CORS-safelisted response-header names).
ALWAYS_READABLE = {
    "cache-control",
    "content-language",
    "content-length",
    "content-type",
    "expires",
    "last-modified",
    "pragma",
}


async def test_a_page_may_read_every_header_that_the_description_names(http: httpx.AsyncClient) -> None:
    document = (await http.get("/openapi.json")).json()
    named = {
        name.lower()
        for path in document["paths"].values()
        for operation in path.values()
        for answer in operation["responses"].values()
        for name in answer.get("headers", {})
    }
    assert {"etag", "left-out-files", "stream-next-offset"} <= named
    answer = await http.get("/healthz", headers={"Origin": ORIGIN})
    exposed = {each.strip().lower() for each in answer.headers["access-control-expose-headers"].split(",")}
    assert named - ALWAYS_READABLE - exposed == set()


#: What pages ask for, by the library that makes the request.
PREFLIGHTS = {
    "EventSource polyfill": "authorization,cache-control,last-event-id",
    "fetch-event-source": "accept,authorization,last-event-id",
    "axios": "authorization,content-type,x-requested-with,x-xsrf-token",
    "HTMX": "authorization,hx-current-url,hx-request,hx-target",
    "OpenTelemetry": "authorization,baggage,traceparent,tracestate",
    "B3": "b3,x-b3-parentspanid,x-b3-sampled,x-b3-spanid,x-b3-traceid",
    "Sentry": "authorization,baggage,content-type,sentry-trace",
    "Datadog": "authorization,x-datadog-origin,x-datadog-parent-id,x-datadog-trace-id",
    "New Relic": "authorization,newrelic,traceparent,tracestate",
    "Application Insights": "authorization,request-context,request-id,traceparent",
    "Connect": "authorization,connect-protocol-version,connect-timeout-ms,content-type",
    "gRPC-Web": "authorization,content-type,grpc-timeout,x-grpc-web,x-user-agent",
    "openapi-fetch": "authorization,content-type,idempotency-key,if-match,if-none-match",
    "a download in pieces": "authorization,if-range,range",
    "a cautious cache": "authorization,cache-control,expires,if-modified-since,pragma",
    "no header": "",
}


@pytest.mark.parametrize("library", PREFLIGHTS)
async def test_the_headers_that_libraries_send_are_allowed(http: httpx.AsyncClient, library: str) -> None:
    asked = PREFLIGHTS[library]
    for method in ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD"):
        asks = {"Access-Control-Request-Method": method}
        if asked:
            asks["Access-Control-Request-Headers"] = asked
        preflight = await http.options(
            f"/api/refinements/{ABSENT}/events", headers={"Origin": ORIGIN, "Authorization": "", **asks}
        )
        assert (preflight.status_code, preflight.content) == (204, b"")
        allowed = {each.strip() for each in preflight.headers["access-control-allow-headers"].split(",")}
        assert allowed >= {each for each in asked.split(",") if each}
        assert method in preflight.headers["access-control-allow-methods"].split(", ")
        assert preflight.headers["vary"] == (
            "Origin, Access-Control-Request-Method, Access-Control-Request-Headers"
        )


async def test_a_refused_preflight_is_a_problem_that_no_page_can_read_and_is_logged(
    http: httpx.AsyncClient,
) -> None:
    path = f"/api/workflows/{ABSENT}/refinements"
    asks = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    for origin in (
        "null",
        "*",
        "https://evil.example",
        f"{ORIGIN}.evil.example",
        f"{ORIGIN}:8443",
        "http://ide.bizmatters.com",
        "https://evil-ide.bizmatters.com",
    ):
        with structlog.testing.capture_logs() as entries:
            preflight = await http.options(path + "?token=hunter2", headers={"Origin": origin, **asks})
        told = problem(preflight)
        assert (preflight.status_code, told["code"]) == (403, "permission_denied"), origin
        assert "IDEO_ALLOWED_ORIGINS" in told["detail"]
        assert "access-control-allow-origin" not in preflight.headers
        assert preflight.headers["x-content-type-options"] == "nosniff"
        (entry,) = [entry for entry in entries if entry["event"] == "origin_refused"]
        assert entry["trace_id"] == told["trace_id"]
        assert origin == "*" or origin not in str(entries)
        assert "hunter2" not in str(entries)
        called = await http.get("/api/workflows", headers={"Origin": origin})
        assert "access-control-allow-origin" not in called.headers
        assert called.headers["vary"] == "Origin"
    for wrong, status in (
        ({"Access-Control-Request-Method": "TRACE"}, 405),
        ({"Access-Control-Request-Method": "post"}, 405),
        ({"Access-Control-Request-Headers": "authorization, bad name"}, 403),
        ({"Access-Control-Request-Headers": ",".join(f"x-{each}" for each in range(101))}, 403),
    ):
        refused = await http.options(path, headers={"Origin": ORIGIN, **asks, **wrong})
        assert refused.status_code == status, wrong
        assert problem(refused)["instance"] == path


async def test_pages_of_this_machine_may_call_in_development_alone(
    hub: RunningHub, http: httpx.AsyncClient
) -> None:
    asks = {"Access-Control-Request-Method": "GET"}
    async with http_interface(hub.core) as production:
        for origin in ("http://localhost:5173", "http://127.0.0.1:3000", "http://[::1]:8000"):
            preflight = await http.options("/api/workflows", headers={"Origin": origin, **asks})
            assert preflight.headers["access-control-allow-origin"] == origin
            answer = await http.get("/api/workflows", headers={"Origin": origin})
            assert answer.headers["access-control-allow-origin"] == origin
            async with httpx.AsyncClient(base_url=production.http, trust_env=False, timeout=60) as other:
                refused = await other.options("/api/workflows", headers={"Origin": origin, **asks})
                assert refused.status_code == 403


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


async def test_headers_of_proxies_change_no_answer(http: httpx.AsyncClient) -> None:
    pretended = {
        "X-Forwarded-For": "127.0.0.1",
        "X-Forwarded-Host": "evil.example",
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Prefix": "/evil",
        "Forwarded": "for=127.0.0.1;host=evil.example;proto=https",
        "X-Real-IP": "127.0.0.1",
        "X-Original-URL": "/metrics",
        "X-Rewrite-URL": "/metrics",
        "X-HTTP-Method-Override": "DELETE",
    }
    for _ in range(2):
        await http.post("/api/workflows", json={"name": "w"})
    for method, path in (
        ("GET", "/"),
        ("GET", "/api/workflows?limit=1"),
        ("GET", f"/api/proposals/{ABSENT}"),
        ("DELETE", "/api/workflows"),
    ):
        answers = [await http.request(method, path, headers=headers) for headers in ({}, pretended)]
        told = [
            (
                answer.status_code,
                {
                    name: value
                    for name, value in answer.headers.items()
                    if name not in ("date", "traceparent")
                },
                re.sub(r'"trace_id":"[^"]*"', "", answer.text),
            )
            for answer in answers
        ]
        assert told[0] == told[1], path
    created = await http.post("/api/workflows", json={"name": "w"}, headers=pretended)
    assert created.headers["location"].startswith("/api/workflows/")


async def test_a_problem_carries_the_callers_trace(http: httpx.AsyncClient) -> None:
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    headers = {"traceparent": f"00-{trace}-00f067aa0ba902b7-01"}
    assert problem(await http.get("/api/nothing", headers=headers))["trace_id"] == trace


async def test_probes_need_no_token_and_a_draining_replica_is_not_ready(hub: RunningHub) -> None:
    async with httpx.AsyncClient(base_url=hub.http, timeout=60) as nobody:
        for path in ("/healthz", "/api/health"):
            assert (await nobody.get(path)).json() == {"status": "ok"}
        assert (await nobody.get("/readyz")).json() == {"status": "ok", "failing": [], "degraded": []}
        hub.core.refinements.accepting = False
        answer = await nobody.get("/readyz")
        told = problem(answer)
        assert (answer.status_code, told["code"], told["failing"]) == (503, "not_ready", ["draining"])
        assert answer.headers["retry-after"] == "1"
        assert (await nobody.get("/healthz")).status_code == 200
