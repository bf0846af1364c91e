"""Rules of the HTTP interface around its calls: starts, headers, problems, descriptions."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import httpx

from ide_orchestrator.conformance.callers import PROTOCOLS, caller
from ide_orchestrator.conformance.http_calls import check_problem
from ide_orchestrator.conformance.refusal_rules import PROTOCOL_NAMES
from ide_orchestrator.conformance.rule import Rule
from ide_orchestrator.conformance.scenario import Scenario
from ide_orchestrator.conformance.target import Broken, expect
from ide_orchestrator.conformance.transports import answered, server_sent


async def _started(scenario: Scenario) -> None:
    run = scenario.run
    body = run.start.json()
    expect(run.start.status_code, 202, "the status of the start")
    expect(body["status"] in ("processing", "queued"), True, "whether the refinement is processing or queued")
    location = urlsplit(run.start.headers.get("location", "")).path
    expect(location, f"/api/proposals/{run.proposal_id}", "the header Location")
    expect(run.thread_id in body["websocket_url"], True, "whether websocket_url names the thread")


async def _repeated(protocol: str, scenario: Scenario) -> None:
    run = scenario.run
    given = {"workflow_id": run.workflow_id, "user_prompt": run.prompt, "request_id": run.key}
    async with caller(protocol, scenario.target) as call:
        again = await call("start", given)
        other = await call("start", given | {"user_prompt": "another prompt"})
    expect(again.code, None, "the code of the repeated start")
    expect(again.value.get("thread_id"), run.thread_id, "the thread of the repeated start")
    expect(again.value.get("proposal_id"), run.proposal_id, "the proposal of the repeated start")
    expect(again.value.get("replayed"), True, "whether the repeated start says that it is one")
    expect(other.code, "key_reused", "the code of another start with the same key")


async def _etag(scenario: Scenario) -> None:
    run = scenario.run
    async with scenario.target.open_http() as http:
        for path in (f"/api/proposals/{run.proposal_id}", f"/api/drafts/{run.draft_id}"):
            answer = await http.get(path, params={"view": "basic"})
            etag = answered(answer)["etag"]
            expect(answer.headers.get("etag"), f'"{etag}"', f"the header ETag of {path}")


async def _headers(scenario: Scenario) -> None:
    run = scenario.run
    async with scenario.target.open_http() as http:
        answer = await http.get(f"/api/proposals/{run.proposal_id}", params={"view": "basic"})
        nothing = await http.get("/api/workflows/00000000-0000-4000-8000-000000000000")
        method = await http.delete("/api/workflows")
        upgrade = await http.get(f"/api/ws/refinements/{run.thread_id}")
    async with replace(scenario.target, token="").open_http() as http:
        nobody = await http.get("/api/workflows")
    for each in (answer, nothing, nobody):
        expect(each.headers.get("x-content-type-options"), "nosniff", "the header X-Content-Type-Options")
    for each, code in (
        (nothing, "not_found"),
        (method, "method_not_allowed"),
        (nobody, "unauthenticated"),
        (upgrade, "upgrade_required"),
    ):
        expect(check_problem(each), code, f"the code of HTTP {each.status_code}")
    for each, name in ((method, "allow"), (nobody, "www-authenticate"), (upgrade, "upgrade")):
        if not each.headers.get(name):
            raise Broken(f"HTTP {each.status_code} has no header {name}")


async def _sse(scenario: Scenario) -> None:
    run = scenario.run
    path, headers = f"/api/refinements/{run.thread_id}/events", {"Accept": "text/event-stream"}
    async with scenario.target.open_http() as http:
        async with http.stream("GET", path, headers=headers) as answer:
            if answer.is_error:
                await answer.aread()
                answered(answer)
            kind = answer.headers.get("content-type", "").partition(";")[0]
            expect(kind, "text/event-stream", "the content type")
            found = [fields async for fields in server_sent(answer.aiter_bytes())]
        events = [
            fields for fields in found if fields.get("event") not in ("hello", "heartbeat", "reconnect")
        ]
        expect(found[0].get("event") if found else None, "hello", "the first event's name")
        for fields, event in zip(events, run.events, strict=False):
            expect(fields.get("id"), str(event.seq), f"the id of event {event.seq}")
            kind = event.WhichOneof("kind")
            expect(fields.get("event"), kind, f"the name of event {event.seq}")
            expect(
                kind in json.loads(fields["data"]),
                True,
                f"whether the data of event {event.seq} is of its kind",
            )
        expect(len(events), len(run.events), "the number of events")
        at = {**headers, "Last-Event-ID": str(run.last_seq)}
        last = await http.get(path, headers=at)
        expect(last.status_code, httpx.codes.NO_CONTENT, "the status after the last event")


async def _durable(scenario: Scenario) -> None:
    run = scenario.run
    path = f"/api/refinements/{run.thread_id}/stream"
    async with scenario.target.open_http() as http:
        whole = await http.get(path, params={"offset": "-1"})
        offset, closed = whole.headers.get("stream-next-offset"), whole.headers.get("stream-closed")
        answered(whole)
        while offset and closed != "true":
            page = await http.get(path, params={"offset": offset})
            offset, closed = page.headers.get("stream-next-offset"), page.headers.get("stream-closed")
        expect(offset, f"{run.last_seq:010}", "the header Stream-Next-Offset at the end")
        head = await http.head(path)
        expect(head.headers.get("stream-next-offset"), offset, "the header Stream-Next-Offset of HEAD")
        expect(head.headers.get("stream-closed"), "true", "the header Stream-Closed of HEAD")
        etag = whole.headers.get("etag", "")
        if not etag:
            raise Broken("the answer has no ETag")
        same = await http.get(path, params={"offset": "-1"}, headers={"If-None-Match": etag})
        expect(same.status_code, httpx.codes.NOT_MODIFIED, "the status with the ETag that the caller has")
        other = await http.get(path, params={"offset": "-1"}, headers={"If-None-Match": '"other"'})
        expect(other.status_code, httpx.codes.OK, "the status with another ETag")
        written = await http.post(path, json=[{}])
        expect(written.status_code, httpx.codes.METHOD_NOT_ALLOWED, "the status of a write")


async def _described(scenario: Scenario) -> None:
    async with scenario.target.open_http() as http:
        openapi, asyncapi = await http.get("/openapi.json"), await http.get("/asyncapi.json")
        for answer, member, version in ((openapi, "openapi", "3.1"), (asyncapi, "asyncapi", "3.0")):
            expect(answer.status_code, 200, f"the status of {answer.url.path}")
            found: Any = answer.json()[member]
            expect(str(found).startswith(version), True, f"whether {answer.url.path} is {member} {version}")
        for path in ("/api/workflows", "/api/refinements/{thread_id}/events", "/api/proposals/{proposal_id}"):
            expect(path in openapi.json()["paths"], True, f"whether /openapi.json describes {path}")


async def _ready(scenario: Scenario) -> None:
    async with replace(scenario.target, token="").open_http() as http:
        for path in ("/healthz", "/readyz"):
            expect((await http.get(path)).status_code, 200, f"the status of {path}")


async def _info(protocol: str, scenario: Scenario) -> None:
    async with caller("rest", scenario.target) as call:
        known = (await call("get_server_info", {})).value
    async with caller(protocol, scenario.target) as call:
        found = (await call("get_server_info", {})).value
    for name in ("server_version", "features", "when_busy", "limits"):
        if name not in known:
            raise Broken(f"the description of the server has no {name}")
        expect(found.get(name), known[name], name)
    expect(found.get("grpc"), known.get("grpc"), "where gRPC is")


def http_rules() -> Iterator[Rule]:
    """The rules of this module."""
    yield Rule("ready", "The hub says that it is alive and can serve", _ready, run=False)
    yield Rule("described", "The hub serves its OpenAPI and AsyncAPI documents", _described, run=False)
    for protocol in PROTOCOLS:
        yield Rule(
            f"info.{protocol}",
            f"Over {PROTOCOL_NAMES[protocol]}, version, features, limits and gRPC port are described alike",
            partial(_info, protocol),
            grpc=protocol == "grpc",
            run=False,
        )
    yield Rule("start", "A start answers 202, with its ids and the address of its proposal", _started)
    for protocol in PROTOCOLS:
        yield Rule(
            f"repeat.{protocol}",
            f"Over {PROTOCOL_NAMES[protocol]}, the same start with the same key starts nothing",
            partial(_repeated, protocol),
            grpc=protocol == "grpc",
        )
    yield Rule("headers.etag", "Proposals and drafts have their etag in the header ETag", _etag)
    yield Rule(
        "headers.answers",
        "Answers have the headers that the interface names, and errors are problem documents",
        _headers,
    )
    yield Rule("headers.sse", "Server-sent events have their seq as id and their kind as name", _sse)
    yield Rule(
        "headers.durable",
        "A durable stream says where it ends, that it is closed, and what has not changed",
        _durable,
    )
