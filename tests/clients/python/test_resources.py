"""The client's types beside the hub's OpenAPI document."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, get_args, get_origin, get_type_hints, is_typeddict

import httpx

from ide_orchestrator.client import resources
from tests.support.hub import running_hub

#: Those of requests are inline in the document.
REQUESTS = ("ActionDecision", "FileDecision", "ResolvedFile")
#: The parts that every object has, of a type whose other members may be absent.
PARTS = ("DecidedAction", "DraftFileFacts", "FileFacts", "DecidedFile", "ConflictPath")


async def test_the_types_have_the_members_of_the_document(database: str) -> None:
    async with running_hub(database) as hub, httpx.AsyncClient(trust_env=False, timeout=60) as http:
        schemas = (await http.get(f"{hub.http}/openapi.json")).json()["components"]["schemas"]
    types = {name: kind for name, kind in vars(resources).items() if is_typeddict(kind)}
    wrong = [
        f"{name}: {difference}"
        for name in types.keys() - {*REQUESTS, *PARTS}
        for difference in _differences(types[name], schemas[name])
    ]
    assert not wrong, "\n".join(wrong)


def _differences(kind: Any, schema: dict[str, Any]) -> Iterator[str]:
    hints, members, required = get_type_hints(kind), schema["properties"], set(schema.get("required", ()))
    yield from hints.keys() ^ members.keys()
    yield from (f"{name} is required by one alone" for name in required ^ kind.__required_keys__)
    for name in required & hints.keys():
        if _is_optional(hints[name]) != _is_nullable(members[name]):
            yield f"{name}: {hints[name]} is not {members[name]}"


def _is_optional(hint: Any) -> bool:
    return type(None) in get_args(hint) and get_origin(hint) is not list


def _is_nullable(schema: dict[str, Any]) -> bool:
    choices = [schema, *schema.get("oneOf", ()), *schema.get("anyOf", ())]
    return any(choice.get("type") == "null" or "null" in _types(choice) for choice in choices)


def _types(schema: dict[str, Any]) -> list[str]:
    kinds = schema.get("type", [])
    return kinds if isinstance(kinds, list) else [kinds]
