"""The AsyncAPI document (3.0): the WebSocket of a refinement, which OpenAPI cannot describe."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from server.http.handshake import BEARER_PREFIX, FORMS, Form
from server.http.openapi import untitled
from server.wire.addresses import SOCKET_PATH
from server.wire.event_queries import SocketQuery
from server.wire.generated_json import event_schemas
from server.wire.problems import CLOSE_DONE, CLOSE_SLOW_READER, ROWS, Close
from server.wire.text import dumps

_CHANNEL = {"$ref": "#/channels/refinement"}
_MESSAGES: dict[Form, dict[str, Any]] = {
    Form.JSON: {
        "title": "Events as JSON",
        "summary": "A text message: the position of the journal, events, or a message without events.",
        "contentType": "application/json",
        "payload": {"$ref": "#/components/schemas/WatchRefinementResponse"},
    },
    Form.PROTO: {
        "title": "Events in binary",
        "summary": "A binary message: a serialised `ide_orchestrator.v1.WatchRefinementResponse`.",
        "contentType": "application/x-protobuf",
    },
    Form.LEGACY: {
        "title": "Legacy frames",
        "summary": "A text message: a frame of the runtime, or `error` and `end` of the hub itself.",
        "contentType": "application/json",
        "payload": {"$ref": "#/components/schemas/LegacyFrame"},
    },
}
_SCHEMAS: dict[str, Any] = {
    "LegacyFrame": {
        "type": "object",
        "description": "A frame as the runtime sends it, with the `seq` of its event. A frame without `seq` "
        "is progress, or an error of the hub.",
        "properties": {
            "event_type": {"type": "string"},
            "data": {"type": "object"},
            "seq": {"type": "integer", "minimum": 1},
        },
        "required": ["event_type", "data"],
    },
    "RenewToken": {
        "type": "object",
        "description": "A new token of the same user: the stream continues when the earlier one expires.",
        "properties": {"type": {"type": "string", "const": "auth"}, "token": {"type": "string"}},
        "required": ["type", "token"],
    },
}


def asyncapi_document() -> bytes:
    """The document, as JSON."""
    messages = {form.value: message for form, message in _MESSAGES.items()}
    messages["auth"] = {
        "title": "A new token",
        "contentType": "application/json",
        "payload": {"$ref": "#/components/schemas/RenewToken"},
    }
    channel = {
        "address": SOCKET_PATH,
        "title": "The events of a refinement",
        "description": "After the upgrade the hub sends all events after the cursor, then each new one, and "
        "closes with 1000 after the terminal event. Before it, a refusal is an HTTP answer with problem "
        "details.",
        "parameters": {"thread_id": {"description": "The thread of the refinement (UUID)."}},
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in messages},
        "bindings": {"ws": {"method": "GET", "query": _query(), "headers": _headers()}},
        "x-subprotocols": {name: _reference(form) for name, form in FORMS.items()},
        "x-close-codes": _close_codes(),
    }
    return dumps(
        {
            "asyncapi": "3.0.0",
            "info": {
                "title": "IDE Orchestrator",
                "version": version("ide-orchestrator"),
                "description": "The WebSocket of a refinement. `/openapi.json` describes the rest of HTTP.",
            },
            "defaultContentType": "application/json",
            "channels": {"refinement": channel},
            "operations": {
                "followRefinement": {
                    "action": "send",
                    "channel": _CHANNEL,
                    "summary": "The events, in the form of the subprotocol.",
                    "messages": [_reference(form) for form in _MESSAGES],
                },
                "renewToken": {
                    "action": "receive",
                    "channel": _CHANNEL,
                    "summary": "The only message of a client that counts.",
                    "messages": [{"$ref": "#/channels/refinement/messages/auth"}],
                },
            },
            "components": {"messages": messages, "schemas": event_schemas() | _SCHEMAS},
        }
    )


def _reference(form: Form) -> dict[str, str]:
    return {"$ref": f"#/channels/refinement/messages/{form.value}"}


def _query() -> dict[str, Any]:
    schema = untitled(SocketQuery.model_json_schema())
    credentials = {
        "ticket": {"type": "string", "description": "A ticket of `createTicket`, as a credential."},
        "token": {
            "type": "string",
            "description": "A token, as a credential, unless the operator forbids it.",
        },
    }
    return {"type": "object", "properties": schema["properties"] | credentials}


def _headers() -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {
            "Sec-WebSocket-Protocol": {
                "type": "string",
                "description": "The form of the messages: the first name of the list that the hub knows. "
                f"Without one it is `ideo.legacy`. `{BEARER_PREFIX}TOKEN` beside it is a credential.",
                "examples": sorted(FORMS),
            },
            "Authorization": {"type": "string", "description": "`Bearer TOKEN`, as a credential."},
        },
    }


def _close_codes() -> list[dict[str, Any]]:
    """Each code that the hub closes with, when to reconnect, and the problems that it stands for."""
    problems: dict[Close, list[str]] = {CLOSE_DONE: [], CLOSE_SLOW_READER: []}
    for row in ROWS:
        problems.setdefault(row.close, []).append(row.code)
    return [
        {"code": close.code, "reconnect": close.advice.value, "problems": codes}
        for close, codes in sorted(problems.items(), key=lambda item: item[0].code)
    ]
