"""Request bodies: JSON, parsed once. What is wrong is told by its place, never by its content."""

from __future__ import annotations

import json
from typing import Any

from litestar import Request, Response

from server.domain.errors import InvalidArgument
from server.wire.resources import dumps

#: Largest body of a workflow with its files, and of anything else, in bytes.
MAX_WORKFLOW_BYTES = 2_621_440
MAX_BODY_BYTES = 256 << 10


def _refuse_constant(name: str) -> None:
    raise ValueError("a number must be finite")


def parse_json(raw: bytes) -> object:
    """The value of a JSON text in UTF-8. Raises InvalidArgument."""
    if not raw:
        raise InvalidArgument({"body": "is missing: it must be a JSON object"})
    try:
        return json.loads(raw.decode(), parse_constant=_refuse_constant)
    except UnicodeDecodeError as wrong:
        raise InvalidArgument({"body": f"is no UTF-8 at byte {wrong.start}"}) from None
    except json.JSONDecodeError as wrong:
        place = f"line {wrong.lineno}, column {wrong.colno}"
        raise InvalidArgument({"body": f"is no JSON at {place}"}) from None
    except RecursionError:
        raise InvalidArgument({"body": "is nested too deeply"}) from None
    except ValueError:
        raise InvalidArgument({"body": "holds a number that is not finite or too long"}) from None


async def json_body(request: Request[Any, Any, Any]) -> object:
    """The request's body, parsed. Raises InvalidArgument; Litestar raises for one that is too large."""
    return parse_json(await request.body())


def json_response(
    value: object, *, status: int = 200, headers: dict[str, str] | None = None
) -> Response[bytes]:
    """A JSON answer in ASCII, so that any string travels."""
    return bytes_response(dumps(value), status=status, headers=headers)


def bytes_response(
    body: bytes, *, status: int = 200, headers: dict[str, str] | None = None
) -> Response[bytes]:
    """An answer whose JSON text is made already."""
    return Response(body, status_code=status, headers=headers, media_type="application/json")
