"""The OpenAPI document: well-formed, complete, and true to what is answered."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import AsyncIterator, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import httpx
import pytest

from server.http.errors import HTTP_ONLY
from server.http.routes import ROUTES
from server.wire import messages as m
from server.wire.problems import PROBLEMS
from tests.support.hub import RunningHub, finished, running_hub, start
from tests.support.recordings import write_odd_recording

ABSENT = "00000000-0000-4000-8000-000000000000"
METHODS = {"get", "post", "put", "delete", "patch"}
#: Headers that mean something to a client of this interface.
SHOWN = {
    "accept-ranges",
    "content-disposition",
    "content-range",
    "etag",
    "idempotency-replayed",
    "left-out-files",
    "link",
    "location",
    "retry-after",
}
#: The members that a query must have, with a value.
NEEDED = {
    "blameFile": {"path": "/definition.json"},
    "findUsers": {"email": "ann@example.com"},
    "readQuarantinedFrame": {"seq": "2"},
}
#: Operations that take a body.
WITH_BODIES = {
    "acceptProposal",
    "approveProposal",
    "createShareLink",
    "createTicket",
    "createWorkflow",
    "grantAccess",
    "rejectProposal",
    "replyToInput",
    "restoreDraftVersion",
    "reviseProposal",
    "runAgent",
    "setDecisions",
    "startRefinement",
    "updateDraft",
    "updateWorkflow",
    "createWebhook",
    "updateWebhook",
    "rotateWebhookSecret",
    "releaseQuarantinedShape",
    "scanQuarantine",
}
CODES = {"internal", *(row.code for row in PROBLEMS.values()), *HTTP_ONLY}


@pytest.fixture
async def hub(database: str, tmp_path: Path) -> AsyncIterator[RunningHub]:
    settings: dict[str, Any] = {"runtime_can_resume": True, "operators": ("ann@example.com",)}
    async with running_hub(database, recordings=write_odd_recording(tmp_path), **settings) as running:
        yield running


async def read(http: httpx.AsyncClient) -> dict[str, Any]:
    """The document; anyone may read it."""
    answer = await http.get("/openapi.json", headers={"Authorization": ""})
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    document: dict[str, Any] = answer.json()
    return document


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Each operation with its path and method."""
    for path, item in document["paths"].items():
        for method in METHODS & item.keys():
            yield path, method, item[method]


def references(value: Any) -> Iterator[str]:
    """Every `$ref` in a value."""
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for each in value.values():
            yield from references(each)
    elif isinstance(value, list):
        for each in value:
            yield from references(each)


def resolved(document: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    """The schema that a reference leads to."""
    while "$ref" in schema:
        found: Any = document
        for step in schema["$ref"].removeprefix("#/").split("/"):
            found = found[step]
        schema = found
    return schema


async def test_the_document_is_well_formed(http: httpx.AsyncClient) -> None:
    document = await read(http)
    assert document["openapi"].startswith("3.1.")
    assert document["info"].keys() >= {"title", "version"}
    assert document["info"]["version"] == version("ide-orchestrator")
    # Litestar would make random ones.
    assert "example" not in json.dumps(document)
    for reference in references(document):
        assert resolved(document, {"$ref": reference}), reference
    ids = [operation["operationId"] for _, _, operation in operations(document)]
    assert len(ids) == len(set(ids)) > 9
    for path, method, operation in operations(document):
        case = f"{method} {path}"
        in_path = {each["name"] for each in operation.get("parameters", ()) if each["in"] == "path"}
        assert in_path == {part[1:-1] for part in path.split("/") if part.startswith("{")}, case
        names = [(each["name"], each["in"]) for each in operation.get("parameters", ())]
        assert len(names) == len(set(names)), case
        for each in operation.get("parameters", ()):
            assert each["schema"], case
            needed = each["in"] == "path" or each["name"] in NEEDED.get(operation["operationId"], ())
            assert each["required"] is needed, case
        assert operation["summary"], case
        for status, answer in operation["responses"].items():
            assert status.isdigit(), case
            assert answer["description"], case
        assert ("requestBody" in operation) == (operation["operationId"] in WITH_BODIES)


async def test_every_route_is_in_it_with_what_it_may_answer(http: httpx.AsyncClient) -> None:
    document = await read(http)
    served = {
        (path.replace(":str", ""), method.lower())
        for route in ROUTES
        for path in route.paths
        for method in route.http_methods
        if route.include_in_schema is not False
    }
    assert served == {(path, method) for path, method, _ in operations(document)}
    for path, method, operation in operations(document):
        case = f"{method} {path}"
        statuses = set(operation["responses"])
        if operation["tags"] in (["health"], ["problems"]):
            assert not operation.get("security"), case
            continue
        tickets = [{"ticket": []}] if operation["operationId"] == "listEvents" else []
        assert operation["security"] == [{"bearer": []}, *tickets], case
        assert statuses >= {"401", "500", "503"}, case
        # A ticket's thread and a webhook's workflow are named in the body.
        names_other = "{" in path or operation["operationId"] in ("createTicket", "createWebhook")
        assert ("404" in statuses) == names_other, case
        assert ("413" in statuses) == (method in ("patch", "post", "put")), case
        for status, answer in operation["responses"].items():
            if int(status) < 400:
                continue
            assert list(answer["content"]) == ["application/problem+json"], case
            problem = resolved(document, answer["content"]["application/problem+json"]["schema"])
            required = {"type", "title", "status", "detail", "instance", "code", "trace_id", "error"}
            assert set(problem["required"]) >= required, case
            assert set(resolved(document, problem["properties"]["code"])["enum"]) == CODES, case
            headers = answer.get("headers", {}).keys()
            assert ("Retry-After" in headers) == (status in ("409", "429", "503")), case
            assert ("WWW-Authenticate" in headers) == (status == "401"), case
            assert ("Content-Range" in headers) == (status == "416"), case
    assert document["components"]["securitySchemes"]["bearer"]["scheme"] == "bearer"
    events = document["paths"]["/api/refinements/{thread_id}/events"]["get"]
    assert events["responses"]["200"]["content"].keys() == {"application/json", "text/event-stream"}
    assert {each["name"] for each in events["parameters"]} >= {"after", "limit", "wait", "Last-Event-ID"}
    page = resolved(document, events["responses"]["200"]["content"]["application/json"]["schema"])
    event = resolved(document, page["properties"]["items"]["items"])
    assert event["properties"].keys() == {field.name for field in m.Event.DESCRIPTOR.fields}


async def test_answers_have_the_members_that_it_says(hub: RunningHub, http: httpx.AsyncClient) -> None:
    document = await read(http)
    async with hub.client() as client:
        asking = await start(client, "[[replay:approval]]")
        async for message in client.messages(asking["thread_id"]):
            if any("input_requested" in event for event in message.get("batch", {}).get("events", ())):
                break
        started = await start(client, "[[replay:short_run]]")
        proposal = await finished(client, started)
        file = next(iter(proposal["generated_files"].values()))
        odd = await start(client, "[[replay:odd]]")
        await finished(client, odd)
        shapes = (await client.call("GET", "/api/quarantine/shapes"))["items"]
    async with hub.client("bob@example.com") as bob:
        await bob.call("GET", "/api/proposals")
    bob_id = await hub.core.pool.fetchval("SELECT id::text FROM users WHERE email = 'bob@example.com'")
    link = (await http.post(f"/api/proposals/{started['proposal_id']}/shares", json={})).json()
    workflow = (await http.get("/api/workflows")).json()["items"][0]["id"]
    draft = f"/api/drafts/{proposal['draft_id']}"
    await http.put(draft, json={"files": {"/a": "1"}}, headers={"If-Match": "*"})
    written = hashlib.sha256(b"1").hexdigest()
    receiver = {"target_url": "https://receiver.example/"}
    webhook, doomed = [(await http.post("/api/webhooks", json=receiver)).json()["id"] for _ in range(2)]
    delivery = await hub.core.pool.fetchval(
        "INSERT INTO webhook_deliveries (webhook_id, event_id, event_type, proposal_id, data) "
        "VALUES ($1, gen_random_uuid(), 'run.finished', $2, '{}') RETURNING event_id::text",
        webhook,
        started["proposal_id"],
    )
    names = {
        # Before the others: another content than the proposal's.
        "/drafts/{draft_id}/files/{sha256}": f"/drafts/{proposal['draft_id']}/files/{written}",
        "/refinements/{thread_id}/reply": f"/refinements/{asking['thread_id']}/reply",
        "/quarantine/frames/{thread_id}": f"/quarantine/frames/{odd['thread_id']}",
        "{shape_id}": next(each["id"] for each in shapes if each["event_type"] == "thought"),
        "{draft_id}": proposal["draft_id"],
        "{user_id}": bob_id,
        "{code}": "not_found",
        "{link_id}": link["id"],
        "{webhook_id}": webhook,
        "{delivery_id}": delivery,
        "{workflow_id}": workflow,
        "{thread_id}": started["thread_id"],
        "{proposal_id}": started["proposal_id"],
        "{sha256}": hashlib.sha256("\n".join(file["content"]).encode()).hexdigest(),
    }
    bodies: dict[str, Any] = {
        "createWorkflow": {"name": "w", "files": {"/a": "b"}},
        "startRefinement": {"user_prompt": "[[replay:short_run]]"},
        "createTicket": {"thread_id": started["thread_id"]},
        "grantAccess": {"access_type": "editor"},
        "createShareLink": {"after_seq": 1},
        "updateWorkflow": {"locked": False},
        "updateDraft": {"files": {"/a": "2"}},
        "restoreDraftVersion": {"version": 1},
        "setDecisions": {"decisions": [{"path": "/definition.json", "decision": "accepted"}]},
        "acceptProposal": {"strategy": "three_way"},
        "approveProposal": {},
        "rejectProposal": {"comment": "no"},
        "replyToInput": {"seq": 13, "decisions": [{"decision": "approve"}]},
        "reviseProposal": {"user_prompt": "[[replay:short_run]]"},
        "runAgent": {
            "threadId": "t",
            "runId": "r",
            "messages": [{"role": "user", "content": "[[replay:short_run]]"}],
        },
        "createWebhook": receiver,
        "updateWebhook": {"event_types": ["run.finished"]},
        "rotateWebhookSecret": {},
        "releaseQuarantinedShape": {},
        "scanQuarantine": {},
    }
    assert bodies.keys() == WITH_BODIES
    for path, method, operation in operations(document):
        address = path
        for name, value in names.items():
            address = address.replace(name, value)
        if operation["operationId"] == "deleteWebhook":
            address = address.replace(webhook, doomed)
        body = bodies.get(operation["operationId"])
        # A proposal is decided about once.
        await hub.core.pool.execute("UPDATE proposals SET resolution = NULL")
        query = NEEDED.get(operation["operationId"], {})
        answer = await http.request(method, address, params=query, json=body, headers={"If-Match": "*"})
        case = f"{method} {path}"
        assert str(answer.status_code) in operation["responses"], case
        assert answer.status_code < 300, case
        described = operation["responses"][str(answer.status_code)].get("headers", {})
        assert SHOWN & answer.headers.keys() <= {name.lower() for name in described}, case
        media_types = set(operation["responses"][str(answer.status_code)].get("content", {}))
        if answer.status_code == 204:
            assert "content" not in operation["responses"]["204"], case
        elif media_types & {"application/octet-stream", "application/zip", "text/event-stream"} and (
            "application/json" not in media_types
        ):
            assert answer.headers["content-type"].removesuffix("; charset=utf-8") in media_types, case
        else:
            check(document, said(operation, answer.status_code, "application/json"), answer.json(), case)

        if "{" in path:
            for name in re.findall(r"\{\w+\}", path):
                path = path.replace(name, ABSENT)
            refused = await http.request(
                method, path, params=query, json=bodies.get(operation["operationId"])
            )
            assert refused.status_code == 404
            check(document, said(operation, 404, "application/problem+json"), refused.json(), case)


def said(operation: dict[str, Any], status: int, media_type: str) -> dict[str, Any]:
    """The schema of an answer."""
    schema: dict[str, Any] = operation["responses"][str(status)]["content"][media_type]["schema"]
    return schema


def check(document: dict[str, Any], schema: dict[str, Any], value: Any, case: str) -> None:
    """Hold a value against a schema: members, and kinds of values, as far as the document uses them."""
    schema = resolved(document, schema)
    alternatives = schema.get("oneOf") or schema.get("anyOf")
    if alternatives:
        kinds = [resolved(document, each).get("type") for each in alternatives]
        if value is None:
            assert "null" in kinds, case
            return
        (schema,) = [
            resolved(document, each)
            for each, kind in zip(alternatives, kinds, strict=True)
            if fits(kind, value)
        ]
    assert fits(schema.get("type"), value), (case, schema, value)
    assert value in schema.get("enum", [value]), case
    if isinstance(value, list):
        for each in value:
            check(document, schema["items"], each, case)
    if isinstance(value, dict):
        members = schema.get("properties", {})
        others = schema.get("additionalProperties")
        assert set(schema.get("required", ())) <= value.keys(), (case, schema, value.keys())
        if members:
            assert value.keys() <= members.keys(), (case, value.keys() - members.keys())
        for name, each in value.items():
            if name in members:
                check(document, members[name], each, f"{case} {name}")
            elif isinstance(others, dict) and others:
                check(document, others, each, f"{case} {name}")


def fits(kind: str | list[str] | None, value: Any) -> bool:
    """Whether a value is of a schema's type."""
    if isinstance(kind, list):
        return any(fits(each, value) for each in kind)
    types: dict[str, Any] = {
        "object": dict,
        "array": list,
        "string": str,
        "integer": int,
        "number": (int, float),
        "boolean": bool,
        "null": type(None),
    }
    return kind is None or (isinstance(value, types[kind]) and (kind == "boolean" or value is not True))
