"""The quarantine, for operators: its shapes and frames, and their release. The addresses begin with
`OPERATORS_PATH`, so that only operators get here (`server.http.authentication`)."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from litestar import Response, get, post
from litestar.di import NamedDependency
from litestar.openapi import ResponseSpec
from litestar.params import FromPath, JSONBody

from server.domain.fair_budget import Reservation
from server.http.dependencies import Cases, query_dependency
from server.http.json_io import MAX_BODY_BYTES, HubRequest, JsonResponse
from server.http.large_answers import JsonText, LargeAnswer
from server.http.lists import LINK, list_text
from server.http.openapi import header, operation
from server.wire.quarantine import (
    QuarantinedFramePage,
    QuarantinedFrameQuery,
    QuarantinedFramesQuery,
    QuarantinedShape,
    QuarantinedShapePage,
    QuarantinedShapesQuery,
    ReleasedShape,
    ReleaseQuarantinedShapeRequest,
    ScannedQuarantine,
    ScanQuarantineRequest,
)

_RELEASE, _SCAN = ReleaseQuarantinedShapeRequest(), ScanQuarantineRequest()
_FRAME_TYPE = "application/octet-stream"


@get(
    "/api/quarantine/shapes",
    **operation(
        "listQuarantinedShapes",
        "quarantine",
        (400, 403, 429),
        response_description="A page of shapes",
        dependencies=query_dependency(QuarantinedShapesQuery),
        response_headers=[LINK],
    ),
)
async def list_quarantined_shapes(
    request: HubRequest, use_cases: Cases, params: NamedDependency[QuarantinedShapesQuery]
) -> JsonResponse[QuarantinedShapePage]:
    """The shapes of frames that the hub did not understand, those with the newest frames first. For operators
    alone, as all of `/api/quarantine`."""

    async def read(reservation: Reservation) -> JsonText:
        page = await use_cases.quarantine.groups(
            handled=params.include_released == "true", limit=params.size, token=params.cursor
        )
        return list_text(request, QuarantinedShapePage.of(page))

    return LargeAnswer(request, use_cases, read)


@get(
    "/api/quarantine/shapes/{shape_id:str}",
    **operation("getQuarantinedShape", "quarantine", (403, 404), response_description="The shape"),
)
async def get_quarantined_shape(
    request: HubRequest, use_cases: Cases, shape_id: FromPath[str]
) -> JsonResponse[QuarantinedShape]:
    """A shape."""
    return JsonResponse(QuarantinedShape.of(await use_cases.quarantine.group(shape_id)))


@get(
    "/api/quarantine/shapes/{shape_id:str}/frames",
    **operation(
        "listQuarantinedFrames",
        "quarantine",
        (400, 403, 404, 429),
        response_description="A page of frames, without their contents",
        dependencies=query_dependency(QuarantinedFramesQuery),
        response_headers=[LINK],
    ),
)
async def list_quarantined_frames(
    request: HubRequest,
    use_cases: Cases,
    shape_id: FromPath[str],
    params: NamedDependency[QuarantinedFramesQuery],
) -> JsonResponse[QuarantinedFramePage]:
    """The frames of a shape, by thread and seq: where they are, and what became of them."""

    async def read(reservation: Reservation) -> JsonText:
        page = await use_cases.quarantine.frames(shape_id, limit=params.size, token=params.cursor)
        return list_text(request, QuarantinedFramePage.of(page))

    return LargeAnswer(request, use_cases, read)


@get(
    "/api/quarantine/frames/{thread_id:str}",
    **operation(
        "readQuarantinedFrame",
        "quarantine",
        (400, 403, 404, 429),
        dependencies=query_dependency(QuarantinedFrameQuery),
        response_headers=[header("Content-Disposition", "`attachment`: not for display.")],
        responses={
            200: ResponseSpec(
                bytes, description="The bytes of the frame", media_type=_FRAME_TYPE, generate_examples=False
            )
        },
    ),
)
async def read_quarantined_frame(
    request: HubRequest,
    use_cases: Cases,
    thread_id: FromPath[UUID],
    params: NamedDependency[QuarantinedFrameQuery],
) -> Response[Any]:
    """A frame as it came. It may hold prompts and files of users."""

    async def read(reservation: Reservation) -> JsonText:
        frame = await use_cases.quarantine.content(thread_id, params.seq, reservation)
        return JsonText(frame, {"content-type": _FRAME_TYPE, "content-disposition": "attachment"})

    return LargeAnswer(request, use_cases, read)


@post(
    "/api/quarantine/shapes/{shape_id:str}/release",
    **operation(
        "releaseQuarantinedShape",
        "quarantine",
        (400, 403, 404, 413, 429),
        response_description="What the release did, with a page of reports",
        status_code=200,
        request_max_body_size=MAX_BODY_BYTES,
    ),
)
async def release_quarantined_shape(
    request: HubRequest,
    use_cases: Cases,
    shape_id: FromPath[str],
    data: JSONBody[ReleaseQuarantinedShapeRequest] = _RELEASE,
) -> JsonResponse[ReleasedShape]:
    """Interpret the frames of a shape again. The owners of open runs journal what theirs mean; about those of
    ended runs it is reported what they mean, and nothing changes."""
    released = await use_cases.quarantine.release(shape_id, limit=data.size, token=data.cursor)
    return JsonResponse(ReleasedShape.of(released))


@post(
    "/api/quarantine/scan",
    **operation(
        "scanQuarantine",
        "quarantine",
        (400, 403, 413, 429),
        response_description="What the scan did",
        status_code=200,
        request_max_body_size=MAX_BODY_BYTES,
    ),
)
async def scan_quarantine(
    request: HubRequest, use_cases: Cases, data: JSONBody[ScanQuarantineRequest] = _SCAN
) -> JsonResponse[ScannedQuarantine]:
    """Note the frames that releases without a quarantine have kept, some journals at a time: call it again
    with `next_cursor` until there is none."""
    return JsonResponse(ScannedQuarantine.of(await use_cases.quarantine.scan(data.cursor)))


QUARANTINE_ROUTES = [
    list_quarantined_shapes,
    get_quarantined_shape,
    list_quarantined_frames,
    read_quarantined_frame,
    release_quarantined_shape,
    scan_quarantine,
]
