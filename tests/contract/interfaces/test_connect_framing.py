"""What callers of Connect and gRPC-Web may send, and what is refused: framing, headers, sizes, deadlines."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass

import grpc
import httpx
import pytest
import pytest_asyncio

from ide_orchestrator.conformance.connect_channel import (
    CONTENT_TYPES,
    connect_channel,
    decoded_text,
    enveloped,
    envelopes,
    error_of_connect,
    error_of_trailers,
)
from server.connect.requests import MAX_MESSAGE_BYTES
from server.wire import messages as m
from tests.support.grpc_interface import Refusal, refusal_of
from tests.support.hub import RunningHub
from tests.support.tokens import bearer

ABSENT = "00000000-0000-4000-8000-000000000000"
GET = "/ide_orchestrator.v1.RefinementService/GetRefinement"
WATCH = "/ide_orchestrator.v1.RefinementService/WatchRefinement"
CREATE = "/ide_orchestrator.v1.WorkflowService/CreateWorkflow"
PROTO = m.GetRefinementRequest(thread_id=ABSENT).SerializeToString()
JSON = json.dumps({"threadId": ABSENT}).encode()


@pytest_asyncio.fixture
async def http(hub: RunningHub) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=hub.http, headers=bearer(hub.token()), timeout=60) as client:
        yield client


@dataclass(frozen=True)
class Sent:
    """A request, and the code and the wrong fields of its answer."""

    path: str
    content_type: str
    body: bytes
    code: str
    fields: tuple[str, ...] = ()
    headers: tuple[tuple[str, str], ...] = ()


def told(answer: httpx.Response) -> Refusal:
    """The refusal that an answer holds in its protocol, which has no message before it."""
    if answer.status_code != 200:
        assert answer.headers["content-type"] == "application/json"
        return refusal_of(error_of_connect(answer.json()))
    body, rest = answer.content, b""
    if "text" in answer.headers["content-type"]:
        body, rest = decoded_text(body)
    ((flags, end),), left = envelopes(body)
    assert (rest, left) == (b"", b"")
    if answer.headers["content-type"].startswith("application/connect+"):
        assert flags == 0x02
        return refusal_of(error_of_connect(json.loads(end)["error"]))
    assert (flags, answer.headers["content-type"].partition("-web")[0]) == (0x80, "application/grpc")
    error = error_of_trailers(end)
    assert error is not None
    return refusal_of(error)


_WEB, _TEXT = "application/grpc-web+proto", "application/grpc-web-text"
_STREAM, _JSON_STREAM = "application/connect+proto", "application/connect+json"
_WRONG = {
    "no envelope": b"",
    "half an envelope": b"\0\0\0",
    "fewer bytes than it says": b"\0\0\0\0\x05abc",
    "more bytes than it says": enveloped(PROTO) + b"x",
    "two messages": enveloped(PROTO) * 2,
    "the largest length": b"\0\xff\xff\xff\xff" + PROTO,
    "compressed without an encoding": enveloped(PROTO, 0x01),
    "the end of a stream": enveloped(b"{}", 0x02),
    "trailers": enveloped(b"grpc-status: 0\r\n", 0x80),
    "every flag": enveloped(PROTO, 0xFF),
    "a message and trailers": enveloped(PROTO) + enveloped(b"", 0x80),
    "not a message": enveloped(b"\xff\xff\xff"),
}
FRAMING = {
    **{
        f"{what} over {content_type}": Sent(path, content_type, body, "invalid_argument", ("body",))
        for what, body in _WRONG.items()
        for path, content_type in ((WATCH, _STREAM), (WATCH, _WEB), (GET, _WEB))
    },
    **{
        f"{what} over {_TEXT}": Sent(GET, _TEXT, base64.b64encode(body), "invalid_argument", ("body",))
        for what, body in _WRONG.items()
    },
    "no base64": Sent(GET, _TEXT, b"AAAA!", "invalid_argument", ("body",)),
    "base64 cut off": Sent(
        GET, _TEXT, base64.b64encode(enveloped(PROTO))[:-1], "invalid_argument", ("body",)
    ),
    "protobuf cut off": Sent(GET, "application/proto", PROTO[:-1], "invalid_argument", ("body",)),
    "no JSON": Sent(GET, "application/json", b"{", "invalid_argument", ("body",)),
    "nothing": Sent(GET, "application/json", b"", "invalid_argument", ("body",)),
    "a list": Sent(GET, "application/json", b"[]", "invalid_argument", ("body",)),
    "not a number of JSON": Sent(GET, "application/json", b'{"x":NaN}', "invalid_argument", ("body",)),
    "not UTF-8": Sent(GET, "application/json", b'{"thread_id":"\xff"}', "invalid_argument", ("body",)),
    "a thousand lists": Sent(
        GET, "application/json", b'{"a":' + b"[" * 100_000, "invalid_argument", ("body",)
    ),
    "another type": Sent(
        GET, "application/json", b'{"thread_id":["secret"]}', "invalid_argument", ("thread_id",)
    ),
    "half a character": Sent(
        GET, "application/json", rb'{"threadId":"\ud800"}', "invalid_argument", ("threadId",)
    ),
    "another type in a stream": Sent(
        WATCH, _JSON_STREAM, enveloped(b'{"after_seq":"secret"}'), "invalid_argument", ("after_seq",)
    ),
    "gzip": Sent(GET, "application/json", JSON, "unimplemented", headers=(("Content-Encoding", "gzip"),)),
    "gzip in a stream": Sent(
        WATCH, _STREAM, enveloped(PROTO, 1), "unimplemented", headers=(("Connect-Content-Encoding", "gzip"),)
    ),
    "gzip over gRPC-Web": Sent(
        GET, _WEB, enveloped(PROTO, 1), "unimplemented", headers=(("Grpc-Encoding", "gzip"),)
    ),
    "another version": Sent(
        GET,
        "application/json",
        JSON,
        "invalid_argument",
        ("Connect-Protocol-Version",),
        (("Connect-Protocol-Version", "2"),),
    ),
    "an unknown method": Sent(f"{GET}s", "application/json", JSON, "unimplemented"),
    "an unknown method over gRPC-Web": Sent(f"{GET}s", _WEB, enveloped(PROTO), "unimplemented"),
    "an unknown service": Sent("/ide_orchestrator.v1.No/Get", _STREAM, enveloped(PROTO), "unimplemented"),
    "a stream of one answer": Sent(GET, _STREAM, enveloped(PROTO), "unimplemented"),
    "one answer of a stream": Sent(WATCH, "application/json", JSON, "unimplemented"),
    "an unknown type": Sent(GET, "text/plain", JSON, "unimplemented"),
    "no type": Sent(GET, "", JSON, "unimplemented"),
    **{
        f"the timeout {value!r}": Sent(
            GET,
            "application/json",
            JSON,
            "invalid_argument",
            ("Connect-Timeout-Ms",),
            (("Connect-Timeout-Ms", value),),
        )
        for value in ("", "-1", "1.5", "+1", "1_0", "x", "12345678901")
    },
    **{
        f"the timeout {value!r} over gRPC-Web": Sent(
            GET, _WEB, enveloped(PROTO), "invalid_argument", ("Grpc-Timeout",), (("Grpc-Timeout", value),)
        )
        for value in ("", "1", "S", "-1S", "123456789S", "1x", "1 S")
    },
}


async def test_each_malformed_request_is_refused_in_its_protocol(http: httpx.AsyncClient) -> None:
    found, expected = {}, {}
    for name, sent in FRAMING.items():
        headers = {"Content-Type": sent.content_type, **dict(sent.headers)}
        answer = await http.post(sent.path, content=sent.body, headers=headers)
        assert b"secret" not in answer.content, name
        if sent.code == "unimplemented":
            found[name] = (answer_code(answer), ())
        else:
            refusal = told(answer)
            found[name] = (refusal.reason, refusal.fields)
        expected[name] = (sent.code, sent.fields)
    assert found == expected


def answer_code(answer: httpx.Response) -> str:
    """The code of an answer without a reason of the hub's."""
    with pytest.raises(AssertionError):
        told(answer)
    if answer.status_code != 200:
        return str(answer.json()["code"])
    ((flags, end),), _ = envelopes(answer.content)
    if flags == 0x80:
        error = error_of_trailers(end)
        assert error is not None
        return error.code().name.lower()
    return str(json.loads(end)["error"]["code"])


async def test_a_wrong_type_or_http_method_is_answered_with_what_is_accepted(
    http: httpx.AsyncClient,
) -> None:
    stream = await http.post(WATCH, content=JSON, headers={"Content-Type": "application/json"})
    assert stream.status_code == 415
    assert set(stream.headers["accept-post"].split(", ")) >= {_STREAM, _JSON_STREAM, _WEB, _TEXT}
    assert "application/json" not in stream.headers["accept-post"].split(", ")
    for content_type in (_STREAM, _JSON_STREAM):
        unary = await http.post(GET, content=enveloped(JSON), headers={"Content-Type": content_type})
        assert (unary.status_code, unary.headers["content-type"]) == (415, "application/json")
        accepted = unary.headers["accept-post"].split(", ")
        assert {"application/json", "application/proto", _WEB} <= set(accepted)
        assert content_type not in accepted
    for method in ("PUT", "DELETE", "PATCH", "OPTIONS", "GET"):
        answer = await http.request(method, CREATE)
        assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
    assert (await http.put(GET)).headers["allow"] == "GET, POST"
    unknown = await http.get(f"{GET}s")
    assert (unknown.status_code, unknown.json()["code"]) == (404, "unimplemented")


async def test_a_message_above_the_limit_is_too_large_in_every_form(
    hub: RunningHub, http: httpx.AsyncClient
) -> None:
    for name in CONTENT_TYPES:
        async with connect_channel(hub.http, name) as channel:
            create = channel.unary_unary(CREATE, None, m.CreateWorkflowResponse.FromString)
            for size in (MAX_MESSAGE_BYTES - 100, MAX_MESSAGE_BYTES + 1):
                request = m.CreateWorkflowRequest(name="n" * size)
                with pytest.raises(grpc.aio.AioRpcError) as refused:
                    await create(request, metadata=tuple(bearer(hub.token()).items()))
                reason = refusal_of(refused.value).reason
                assert reason == ("too_large" if size > MAX_MESSAGE_BYTES else "invalid_argument"), name


async def test_a_request_needs_a_token_before_it_is_read(hub: RunningHub) -> None:
    host, _, port = hub.http.removeprefix("http://").rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    head = (
        f"POST {GET} HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{{"
    )
    writer.write(head.encode())
    raw = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    writer.close()
    assert raw.startswith("http/1.1 401 ")
    assert "www-authenticate: bearer\r\n" in raw


async def test_a_method_that_only_reads_is_called_by_get(http: httpx.AsyncClient) -> None:
    in_base64 = base64.urlsafe_b64encode(PROTO).decode().rstrip("=")
    for query in (
        {"connect": "v1", "encoding": "json", "message": JSON.decode()},
        {"encoding": "json", "base64": "1", "message": base64.urlsafe_b64encode(JSON).decode()},
        {"encoding": "proto", "base64": "1", "message": in_base64},
        {"encoding": "proto", "message": PROTO.decode(), "compression": "identity"},
    ):
        answer = await http.get(GET, params=query)
        assert (answer.status_code, told(answer).reason) == (404, "not_found"), query
    me = await http.get("/ide_orchestrator.v1.UserService/GetMe?encoding=json&message=%7B%7D")
    assert (me.status_code, me.json()["user"]["email"]) == (200, "ann@example.com")
    assert me.headers["content-type"] == "application/json"
    head = await http.head("/ide_orchestrator.v1.UserService/GetMe?encoding=json&message=%7B%7D")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == me.headers["content-length"]


@pytest.mark.parametrize(
    ("query", "wrong"),
    [
        ({"message": "{}"}, "encoding"),
        ({"encoding": "xml", "message": "{}"}, "encoding"),
        ({"encoding": "json"}, "body"),
        ({"encoding": "json", "message": "{"}, "body"),
        ({"encoding": "json", "message": "a", "base64": "1"}, "message"),
        ({"encoding": "proto", "message": "%%%%", "base64": "1"}, "message"),
        ({"encoding": "json", "message": "{}", "connect": "v2"}, "connect"),
        ({str(number): "" for number in range(17)}, "query"),
    ],
)
async def test_a_wrong_get_names_what_is_wrong(
    http: httpx.AsyncClient, query: dict[str, str], wrong: str
) -> None:
    refusal = told(await http.get(GET, params=query))
    assert (refusal.reason, refusal.fields) == ("invalid_argument", (wrong,))


async def test_a_compressed_message_of_a_get_is_refused(http: httpx.AsyncClient) -> None:
    answer = await http.get(GET, params={"encoding": "json", "message": "{}", "compression": "gzip"})
    assert (answer.status_code, answer.json()["code"]) == (501, "unimplemented")


async def test_unknown_fields_and_both_spellings_of_names_are_accepted(http: httpx.AsyncClient) -> None:
    for body in ({"threadId": ABSENT, "newer": {"a": [1]}}, {"thread_id": ABSENT}):
        answer = await http.post(GET, json=body)
        assert (answer.status_code, told(answer).reason) == (404, "not_found")
