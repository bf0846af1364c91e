"""REST: answers, refusals, access, and lists in pages."""

from __future__ import annotations

import asyncio
import html
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any
from uuid import UUID

import httpx
import pytest
import structlog.testing
from litestar.routes import HTTPRoute

from server.http.app import create_http_app
from server.http.authentication import PUBLIC
from server.http.errors import HTTP_ONLY
from server.http.json_io import MAX_BODY_BYTES, MAX_WORKFLOW_BYTES
from server.http.options import HttpOptions
from server.http.origins import Origins
from server.http.probes import Probes
from server.wire.problems import PROBLEMS
from tests.support.hand_clock import until
from tests.support.http_interface import http_interface, problem
from tests.support.hub import RunningHub, a_workflow, finished, running_hub, start
from tests.support.paced_runtime import PacedRuntime
from tests.support.runtime import ScriptedRuntime, serve_runtime
from tests.support.tokens import bearer

ABSENT = "00000000-0000-4000-8000-000000000000"
SECRET = "hunter2"


@asynccontextmanager
async def paced_hub(database: str) -> AsyncIterator[tuple[PacedRuntime, RunningHub]]:
    """A hub, and its runtime, which sends as far as the test lets it."""
    runtime = PacedRuntime("short_run")
    async with serve_runtime(runtime) as url, running_hub(database, runtime_url=url) as hub:
        yield runtime, hub


@asynccontextmanager
async def caller_of(hub: RunningHub) -> AsyncIterator[httpx.AsyncClient]:
    """A caller with a token."""
    headers = bearer(hub.token())
    async with httpx.AsyncClient(base_url=hub.http, headers=headers, timeout=60, trust_env=False) as client:
        yield client


async def test_a_start_that_the_runtime_refuses_names_its_failed_proposal(database: str) -> None:
    async with (
        serve_runtime(ScriptedRuntime(invokes=[422])) as url,
        running_hub(database, runtime_url=url) as hub,
        hub.client() as client,
        httpx.AsyncClient(
            base_url=hub.http, headers=bearer(hub.token()), trust_env=False, timeout=60
        ) as http,
    ):
        path = f"/api/workflows/{await a_workflow(client)}/refinements"
        refused = await http.post(path, json={"user_prompt": "x"})
        assert (refused.status_code, problem(refused)["code"]) == (502, "runtime_refused")
        assert "retry-after" not in refused.headers
        proposal = await client.call("GET", f"/api/proposals/{problem(refused)['proposal_id']}")
        assert (proposal["status"], proposal["failure"]["reason"]) == ("failed", "runtime_refused")


async def test_a_start_and_its_proposal_have_the_legacy_form(database: str) -> None:
    async with paced_hub(database) as (runtime, hub), caller_of(hub) as http, hub.client() as client:
        workflow_id = await a_workflow(client)
        started = await http.post(
            f"/api/workflows/{workflow_id}/refinements",
            json={
                "user_prompt": "go on",
                "context_file_path": "/a.md",
                "context_selection": "lines 1-2",
            },
        )
        assert started.status_code == 202
        told = started.json()
        assert list(told) == ["proposal_id", "thread_id", "status", "websocket_url", "created_at"]
        assert started.headers["location"] == f"/api/proposals/{told['proposal_id']}"
        assert told["status"] == "processing"
        assert told["websocket_url"] == f"/api/ws/refinements/{told['thread_id']}"
        assert told["created_at"].endswith("Z")
        assert datetime.fromisoformat(told["created_at"]).utcoffset() is not None
        assert UUID(told["thread_id"]) != UUID(told["proposal_id"])

        running = (await http.get(started.headers["location"])).json()
        assert (running["status"], running["generated_files"], running["completed_at"]) == (
            "processing",
            None,
            None,
        )
        runtime.release(1)
        proposal = await finished(client, told)
    assert proposal["id"] == told["proposal_id"]
    assert proposal["thread_id"] == told["thread_id"]
    assert proposal["status"] == "completed"
    assert proposal["user_prompt"] == "go on"
    assert (proposal["context_file_path"], proposal["context_selection"]) == ("/a.md", "lines 1-2")
    assert proposal["created_at"] == told["created_at"]
    assert proposal["completed_at"] > proposal["created_at"]
    for path, file in proposal["generated_files"].items():
        assert path.startswith("/")
        assert all(isinstance(line, str) for line in file["content"])


NAMED: list[tuple[bytes | dict[str, Any], int, set[str], str]] = [
    ({}, 400, {"user_prompt"}, "is missing"),
    ({"user_prompt": None}, 400, {"user_prompt"}, "is missing"),
    ({"user_prompt": ""}, 400, {"user_prompt"}, "empty"),
    ({"user_prompt": " \n"}, 400, {"user_prompt"}, "empty"),
    ({"user_prompt": ["hunter2"]}, 400, {"user_prompt"}, "a string"),
    ({"user_prompt": 7}, 400, {"user_prompt"}, "a string"),
    ({"user_prompt": "x" * 65_537}, 400, {"user_prompt"}, "at most 65536"),
    ({"user_prompt": "hunter2\0"}, 400, {"user_prompt"}, "U+0000"),
    ({"user_prompt": "hunter2\ud800"}, 400, {"user_prompt"}, "surrogates"),
    ({"user_prompt": "x", "context_file_path": "/" * 1_025}, 400, {"context_file_path"}, "at most 1024"),
    ({"user_prompt": "x", "context_selection": "hunter2"}, 400, {"context_selection"}, "lines A-B"),
    ({"user_prompt": "x", "context_selection": "lines 9-8"}, 422, {"context_selection"}, "not a range"),
    ({"user_prompt": "x", "context_selection": "line 0"}, 422, {"context_selection"}, "not a range"),
    ({"user_prompt": "x", "model": "hunter2"}, 400, {"model"}, "is not a field"),
    (
        {"user_prompt": 1, "context_file_path": 2, "thread_id": 3},
        400,
        {"user_prompt", "context_file_path", "thread_id"},
        "",
    ),
    (b"", 400, {"body"}, "is missing"),
    (b'"hunter2"', 400, {"body"}, "a JSON object"),
    (b"[]", 400, {"body"}, "a JSON object"),
    (b"null", 400, {"body"}, "a JSON object"),
    (b'{"user_prompt": "x",\n  hunter2}', 400, {"body"}, "line 2, column 3"),
    (b'{"user_prompt": "\xff"}', 400, {"body"}, "byte 17"),
    (b'{"user_prompt": NaN}', 400, {"body"}, "finite"),
    (b"[" * 50_000, 400, {"body"}, "nested"),
    (b"user_prompt=hunter2", 400, {"body"}, "not JSON"),
]


async def test_what_is_wrong_with_a_start_is_named_and_starts_nothing(
    hub: RunningHub, http: httpx.AsyncClient
) -> None:
    async with hub.client() as client:
        workflow_id = await a_workflow(client)
    for body, status, fields, says in NAMED:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        answer = await http.post(f"/api/workflows/{workflow_id}/refinements", content=content)
        told = problem(answer)
        case = content[:60]
        assert answer.status_code == status, case
        assert told["code"] == ("unprocessable" if status == 422 else "invalid_argument"), case
        assert told["fields"].keys() == fields, case
        assert all(says in wrong for wrong in told["fields"].values()), (case, told["fields"])
        assert SECRET not in answer.text, case
    assert (await http.get("/api/proposals")).json() == {"items": [], "next_cursor": None}


async def test_a_body_is_json_whatever_its_content_type_says(
    hub: RunningHub, http: httpx.AsyncClient
) -> None:
    for kind in ("application/x-www-form-urlencoded", "text/plain", "multipart/form-data; boundary=x", ""):
        headers = {"Content-Type": kind} if kind else {}
        made = await http.post("/api/workflows", content=b'{"name": "w"}', headers=headers)
        assert (made.status_code, made.headers["content-type"]) == (201, "application/json")


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_that_is_too_large_is_refused_before_it_is_read_whole(
    hub: RunningHub, http: httpx.AsyncClient, chunked: bool
) -> None:
    async def pieces(size: int) -> AsyncIterator[bytes]:
        for _ in range(0, size, 16 << 10):
            yield b"x" * (16 << 10)

    async with hub.client() as client:
        workflow_id = await a_workflow(client)
    for path, most in (
        (f"/api/workflows/{workflow_id}/refinements", MAX_BODY_BYTES),
        ("/api/workflows", MAX_WORKFLOW_BYTES),
    ):
        answer = await http.post(path, content=pieces(most + 32768) if chunked else b"x" * (most + 1))
        told = problem(answer)
        assert (answer.status_code, told["code"]) == (413, "too_large")
        # One that is just small enough is read and is not JSON.
        assert problem(await http.post(path, content=b"x" * most))["code"] == "invalid_argument"


async def test_ids_and_addresses_that_are_nothing_are_404(http: httpx.AsyncClient) -> None:
    for path in (
        f"/api/workflows/{ABSENT}",
        "/api/workflows/no-uuid",
        "/api/workflows/{" + ABSENT + "}",
        f"/api/proposals/{ABSENT}",
        "/api/proposals/%00",
        f"/api/refinements/{ABSENT}",
        f"/api/refinements/{ABSENT}/events",
        "/api/nothing",
        "/api",
        "/api/workflows/../../etc/passwd",
        "/docs",
        "/schema",
    ):
        answer = await http.get(path)
        assert (answer.status_code, problem(answer)["code"]) == (404, "not_found"), path
    started = await http.post(f"/api/workflows/{ABSENT}/refinements", json={"user_prompt": "x"})
    assert problem(started)["code"] == "not_found"


async def test_wrong_queries_are_named(hub: RunningHub, http: httpx.AsyncClient) -> None:
    async with hub.client() as client:
        started = await start(client, "[[replay:short_run]]")
        await finished(client, started)
    events = f"/api/refinements/{started['thread_id']}/events"
    for path, field in (
        ("/api/workflows?limit=201", "limit"),
        ("/api/workflows?limit=-1", "limit"),
        ("/api/workflows?limit=hunter2", "limit"),
        ("/api/workflows?limit=1e3", "limit"),
        ("/api/workflows?cursor=hunter2", "cursor"),
        ("/api/proposals?status=hunter2", "status"),
        ("/api/proposals?workflow_id=hunter2", "workflow_id"),
        # A filter with a spelling mistake would show everything.
        ("/api/proposals?statis=completed", "statis"),
        ("/api/workflows?size=hunter2", "size"),
        (f"{events}?after=-1", "after"),
        (f"{events}?after=99999999999", "after"),
        (f"{events}?after=%D9%A1", "after"),
        (f"{events}?wait=26", "wait"),
        (f"{events}?limit=1001", "limit"),
    ):
        answer = await http.get(path)
        told = problem(answer)
        assert (answer.status_code, set(told["fields"])) == (400, {field}), path
        assert SECRET not in answer.text
    gone = await http.get(f"{events}?after=53")
    told = problem(gone)
    assert (gone.status_code, told["code"]) == (410, "cursor_out_of_range")
    assert (told["floor"], told["last_seq"]) == (1, 52)


async def test_no_route_answers_without_a_token_or_shows_that_a_foreign_resource_exists(
    hub: RunningHub, http: httpx.AsyncClient
) -> None:
    async with hub.client() as client:
        workflow_id = await a_workflow(client)
        started = await start(client, "[[replay:short_run]]", workflow_id)
        await finished(client, started)

    def calls(workflow: str, thread: str, proposal: str) -> list[tuple[str, str, dict[str, Any] | None]]:
        return [
            ("GET", f"/api/workflows/{workflow}", None),
            ("POST", f"/api/workflows/{workflow}/refinements", {"user_prompt": "x"}),
            ("GET", f"/api/proposals/{proposal}", None),
            ("GET", f"/api/refinements/{thread}", None),
            ("GET", f"/api/refinements/{thread}/events", None),
            ("POST", f"/api/refinements/{thread}/cancel", None),
        ]

    lists = [("GET", "/api/workflows", None), ("GET", "/api/proposals", None)]
    theirs = calls(workflow_id, started["thread_id"], started["proposal_id"])
    valid = hub.token()
    bad = [
        {},
        {"Authorization": ""},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer x.y.z"},
        {"Authorization": f"Basic {valid}"},
        {"Authorization": valid},
        {"Authorization": f"Bearer {hub.token(minutes=-10)}"},
        {"Authorization": f"Bearer {valid[:-4]}AAAA"},
        {"Cookie": f"token={valid}"},
    ]
    async with httpx.AsyncClient(base_url=hub.http, timeout=60) as nobody:
        for method, path, body in [*lists, ("POST", "/api/workflows", {"name": "w"}), *theirs]:
            for headers in bad:
                answer = await nobody.request(method, path, json=body, headers=headers)
                assert (answer.status_code, problem(answer)["code"]) == (401, "unauthenticated"), path
                assert answer.headers["www-authenticate"] == "Bearer"
                assert valid not in answer.text
            answer = await nobody.request(method, f"{path}?token={valid}", json=body)
            assert answer.status_code == 401, "a token in an address is for WebSockets only"

        eve = {"Authorization": f"Bearer {hub.token('eve@example.com')}"}
        for mine, none in zip(theirs, calls(ABSENT, ABSENT, ABSENT), strict=True):
            foreign = await nobody.request(mine[0], mine[1], json=mine[2], headers=eve)
            absent = await nobody.request(none[0], none[1], json=none[2], headers=eve)
            assert foreign.status_code == absent.status_code == 404
            same = ("type", "title", "status", "detail", "code", "error")
            assert [problem(foreign)[key] for key in same] == [problem(absent)[key] for key in same]
        for method, path, _ in lists:
            assert (await nobody.request(method, path, headers=eve)).json()["items"] == []
    assert (await http.get(f"/api/proposals/{started['proposal_id']}")).json()["status"] == "completed"


async def test_only_the_public_routes_answer_without_a_token(hub: RunningHub) -> None:
    probes = Probes(_nothing_fails, _no_metrics)
    app = create_http_app(hub.core, probes, HttpOptions(Origins(()), query_token=False))
    walked = set()
    async with httpx.AsyncClient(base_url=hub.http, timeout=60, trust_env=False) as nobody:
        for route in app.routes:
            if not isinstance(route, HTTPRoute):
                continue  # A WebSocket authenticates before its upgrade: see its own tests.
            for method in set(route.methods) - {"OPTIONS"}:
                path = re.sub(r"{\w+}", ABSENT, route.path_format.replace("{code}", "not_found"))
                answer = await nobody.request(method, path)
                case = f"{method} {route.path_format}"
                if route.path_format not in PUBLIC:
                    assert (answer.status_code, problem(answer)["code"]) == (401, "unauthenticated"), case
                else:
                    assert answer.status_code in (200, 426), case
                walked.add(route.path_format)
    assert walked > PUBLIC
    assert {
        "/",
        "/problems",
        "/problems/{code}",
        "/healthz",
        "/api/health",
        "/readyz",
        "/metrics",
        "/openapi.json",
        "/asyncapi.json",
        "/api/ws/refinements/{thread_id}",
    } == PUBLIC


async def _nothing_fails() -> list[str]:
    return []


async def _no_metrics() -> tuple[bytes, str]:
    return b"", "text/plain"


async def test_a_caller_who_may_read_but_not_act_is_refused_with_that_reason(
    hub: RunningHub, http: httpx.AsyncClient
) -> None:
    async with hub.client() as client, hub.client("eve@example.com") as eve:
        started = await start(client, "[[replay:short_run silent=20]]")
        await eve.call("GET", "/api/proposals")
        await hub.core.pool.execute(
            "INSERT INTO proposal_access (proposal_id, user_id, access_type) "
            "SELECT $1, id, 'viewer' FROM users WHERE email = 'eve@example.com'",
            UUID(started["proposal_id"]),
        )
        thread = await eve.call("GET", f"/api/refinements/{started['thread_id']}")
        assert thread["status"] == "processing"
        headers = {"Authorization": f"Bearer {hub.token('eve@example.com')}"}
        refused = await http.post(f"/api/refinements/{started['thread_id']}/cancel", headers=headers)
        assert (refused.status_code, problem(refused)["code"]) == (403, "permission_denied")
        cancelled = await http.post(f"/api/refinements/{started['thread_id']}/cancel")
        assert (cancelled.status_code, cancelled.json()["status"]) == (200, "cancelled")


async def test_lists_are_walked_by_their_links_newest_first(hub: RunningHub, http: httpx.AsyncClient) -> None:
    made = [(await http.post("/api/workflows", json={"name": f"w {n} & ü"})).json()["id"] for n in range(7)]
    path: str | None = "/api/workflows?limit=3"
    found: list[str] = []
    pages = 0
    while path is not None:
        answer = await http.get(path)
        page = answer.json()
        assert list(page) == ["items", "next_cursor"]
        found += [item["id"] for item in page["items"]]
        assert all(item["files"] == {} for item in page["items"])
        link = answer.links.get("next")
        assert (link is None) == (page["next_cursor"] is None)
        if link is not None:
            assert httpx.URL(link["url"]).params["cursor"] == page["next_cursor"]
            assert httpx.URL(link["url"]).params["limit"] == "3"
        path = link["url"] if link else None
        pages += 1
    assert found == made[::-1]
    assert pages == 3


async def test_a_page_of_events_waits_for_the_first(database: str) -> None:
    async with paced_hub(database) as (runtime, hub), caller_of(hub) as http, hub.client() as client:
        events = f"/api/refinements/{(await start(client, 'x'))['thread_id']}/events"
        page = (await http.get(events, params={"after": 0, "limit": 1, "wait": 20})).json()
        assert list(page) == ["items", "next_cursor", "complete", "epoch", "last_seq", "floor"]
        assert [event["seq"] for event in page["items"]] == [1]
        assert (page["next_cursor"], page["complete"], page["epoch"], page["floor"]) == (1, False, 1, 1)
        # A frame is an event, behind the one of the start.
        runtime.release_first(5)
        after = 1
        while after < 6:
            after = (await http.get(events, params={"after": after, "wait": 20})).json()["next_cursor"]
        later = asyncio.create_task(http.get(events, params={"after": 6, "wait": 20}))
        await until(lambda: hub.core.broadcaster.readers)
        runtime.release_first(10)
        page = (await later).json()
        assert page["items"][0]["seq"] == 7
        assert page["next_cursor"] == page["items"][-1]["seq"]


# --- What anyone may open, and who one is --------------------------------------------------------


async def test_the_type_of_every_problem_leads_to_what_it_means(
    hub: RunningHub, http: httpx.AsyncClient
) -> None:
    refused = [
        await http.get("/api/nothing"),
        await http.get("/api/workflows", headers={"Authorization": ""}),
        await http.delete("/healthz"),
        await http.get(f"/api/ws/refinements/{ABSENT}"),
        await http.post("/api/workflows", json={}),
    ]
    async with httpx.AsyncClient(base_url=hub.http, trust_env=False, timeout=60) as nobody:
        for answer in refused:
            told = problem(answer)
            page = await nobody.get(told["type"])
            assert page.status_code == 200
            assert page.headers["cache-control"].startswith("public, max-age=")
            assert page.headers["content-type"] == "application/json"
            assert {name: page.json()[name] for name in ("type", "title", "code", "status")} == {
                name: told[name] for name in ("type", "title", "code", "status")
            }
        listed = (await nobody.get("/problems")).json()["items"]
        assert {each["code"] for each in listed} == {
            *(row.code for row in PROBLEMS.values()),
            "internal",
            *HTTP_ONLY,
        }
        for each in listed:
            assert (await nobody.get(each["type"])).json() == each
            assert each["meaning"]
            page = await nobody.get(each["type"], headers={"Accept": "text/html,*/*;q=0.8"})
            assert page.headers["content-type"] == "text/html; charset=utf-8"
            assert html.escape(each["meaning"]) in page.text
        page = await nobody.get("/problems", headers={"Accept": "text/html"})
        assert re.findall(r'href="([^"]*)"', page.text) == [each["type"] for each in listed]
        absent = await nobody.get("/problems/no_such_code")
        assert (absent.status_code, problem(absent)["code"]) == (404, "not_found")
        assert absent.headers["cache-control"] == "no-store"


async def test_the_hubs_own_address_is_a_page_with_links_that_work(hub: RunningHub) -> None:
    async with httpx.AsyncClient(base_url=hub.http, trust_env=False, timeout=60) as nobody:
        page = await nobody.get("/")
        assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
        links = re.findall(r'href="([^"]*)"', page.text)
        assert {"/openapi.json", "/asyncapi.json"} <= set(links)
        for link in links:
            assert (await nobody.get(link)).status_code == 200


async def test_a_user_learns_the_id_by_which_others_share_with_it(
    hub: RunningHub, http: httpx.AsyncClient
) -> None:
    async with hub.client() as client:
        started = await start(client, "[[replay:short_run]]")
    async with hub.client("bob@example.com") as bob:
        # Bob's first call: nothing else is needed before others can share with him.
        me = await bob.call("GET", "/api/me")
        assert me == {"user_id": me["user_id"], "email": "bob@example.com"}
        granted = await http.put(
            f"/api/proposals/{started['proposal_id']}/access/{me['user_id']}", json={"access_type": "viewer"}
        )
        assert granted.status_code == 200
        assert (await bob.call("GET", f"/api/proposals/{started['proposal_id']}"))["id"] == started[
            "proposal_id"
        ]


async def test_a_content_type_names_its_charset_once(hub: RunningHub, http: httpx.AsyncClient) -> None:
    for path in ("/", "/metrics", "/healthz", "/openapi.json", "/api/workflows", "/api/nothing", "/problems"):
        assert (await http.get(path)).headers["content-type"].count("charset") <= 1, path
    metrics = (await http.get("/metrics")).headers["content-type"]
    assert metrics.startswith("text/plain; version=")
    assert metrics.count("charset=utf-8") == 1


# --- Refusals are counted, and clients that go away are no faults ---------------------------------


async def test_a_body_that_its_client_cuts_off_is_no_fault(hub: RunningHub) -> None:
    with structlog.testing.capture_logs() as entries:
        for path in ("/api/workflows", f"/api/workflows/{ABSENT}/refinements", "/api/ws/tickets"):
            async with http_interface(hub.core) as interface:
                host, _, port = interface.http.removeprefix("http://").rpartition(":")
                _, writer = await asyncio.open_connection(host, int(port))
                writer.write(
                    f"POST {path} HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {hub.token()}\r\n"
                    "Content-Length: 100\r\n\r\n{".encode()
                )
                await until(lambda interface=interface: interface.server.server_state.tasks)  # type: ignore[misc]
                writer.transport.abort()
                await interface.until_connections(0)
    # A machine that is busy may block the event loop; that is not caused by these requests.
    logged = [entry for entry in entries if entry["event"] != "event_loop_held"]
    assert [entry for entry in logged if entry["log_level"] in ("warning", "error")] == []


async def test_refused_callers_are_logged_and_counted_by_what_they_showed(
    hub: RunningHub, http: httpx.AsyncClient
) -> None:
    shown = {
        "nothing": "",
        "token": f"Bearer {hub.token()}x",
        "share_link": "Bearer ideo_share_hunter2",
    }
    with structlog.testing.capture_logs() as entries:
        for value in shown.values():
            answer = await http.get("/api/proposals", headers={"Authorization": value})
            assert answer.status_code == 401
        # A share link reads, and nothing else.
        await http.get("/api/workflows", headers={"Authorization": "Bearer ideo_share_hunter2"})
        await http.get("/api/workflows", headers={"Authorization": f"Bearer {hub.token(minutes=-10)}"})
    refused = [entry for entry in entries if entry["event"] == "authentication_refused"]
    kinds = [(entry["presented"], entry["reason"]) for entry in refused]
    assert kinds == [
        ("nothing", "missing"),
        ("token", "invalid"),
        ("share_link", "invalid"),
        ("share_link", "forbidden"),
        ("token", "expired"),
    ]
    assert all(entry["log_level"] == "info" for entry in refused)
    assert "hunter2" not in str(entries)
    assert hub.token().split(".")[2] not in str(entries)
    metrics = (await http.get("/metrics")).text
    for presented, reason in (*kinds, ("ticket", "invalid"), ("token", "disabled")):
        labels = f'{{presented="{presented}",reason="{reason}"}}'
        count = float((presented, reason) in kinds)
        assert f"ide_orchestrator_authentications_refused_total{labels} {count}" in metrics
