"""The quarantine as the contract's messages."""

from __future__ import annotations

import msgspec

from server.domain.model import Page
from server.domain.quarantine.quarantine import Released, Report, Scanned
from server.domain.quarantine.store import Group, KeptFrame
from server.wire import messages as m
from server.wire.pages import PAGE_NAMES, page_values
from server.wire.quarantine import (
    QuarantinedShape,
    QuarantineReport,
    ReleaseQuarantinedShapeRequest,
)
from server.wire.text import set_time
from server.wire.validation import renamed_fields


def release_request(request: m.ReleaseQuarantinedShapeRequest) -> ReleaseQuarantinedShapeRequest:
    """The request of a message. Raises InvalidArgument."""
    with renamed_fields(PAGE_NAMES):
        return ReleaseQuarantinedShapeRequest.model_validate(page_values(request))


def shape_message(group: Group) -> m.QuarantinedShape:
    """A shape (contract: QuarantinedShape)."""
    shown = msgspec.structs.asdict(QuarantinedShape.of(group))
    for name in ("first_at", "last_at"):
        del shown[name]
    shown["reason"] = m.UpstreamFrameReason.Value(f"UPSTREAM_FRAME_REASON_{group.reason.upper()}")
    shown["sample_thread_id"] = str(shown["sample_thread_id"])
    message = m.QuarantinedShape(**shown)
    set_time(message.first_time, group.first_at)
    set_time(message.last_time, group.last_at)
    return message


def shapes_message(page: Page) -> m.ListQuarantinedShapesResponse:
    """A page of shapes."""
    return m.ListQuarantinedShapesResponse(
        shapes=map(shape_message, page.items), next_page_token=page.next_token or ""
    )


def _frame_message(frame: KeptFrame) -> m.QuarantinedFrame:
    message = m.QuarantinedFrame(
        thread_id=str(frame.thread_id),
        seq=frame.seq,
        run_ended=frame.ended,
        release_requested=frame.requested,
        outcome_seq=frame.outcome_seq or 0,
    )
    if frame.outcome is not None:
        message.outcome = m.QuarantineOutcome.Value(f"QUARANTINE_OUTCOME_{frame.outcome.name}")
    set_time(message.keep_time, frame.kept_at)
    return message


def frames_message(page: Page) -> m.ListQuarantinedFramesResponse:
    """A page of frames."""
    return m.ListQuarantinedFramesResponse(
        frames=map(_frame_message, page.items), next_page_token=page.next_token or ""
    )


def _report_message(report: Report) -> m.QuarantineReport:
    shown = QuarantineReport.of(report)
    message = m.QuarantineReport(thread_id=str(shown.thread_id), seq=shown.seq, understood=shown.understood)
    if shown.state is not None:
        message.state.CopyFrom(m.ReportedState(**msgspec.structs.asdict(shown.state)))
    if shown.token is not None:
        message.token.CopyFrom(m.ReportedToken(**msgspec.structs.asdict(shown.token)))
    return message


def released_message(released: Released) -> m.ReleaseQuarantinedShapeResponse:
    """A page of a release."""
    return m.ReleaseQuarantinedShapeResponse(
        requested_count=released.requested,
        reports=map(_report_message, released.reports),
        next_page_token=released.next_token or "",
    )


def scanned_message(scanned: Scanned) -> m.ScanQuarantineResponse:
    """A page of a scan."""
    return m.ScanQuarantineResponse(added_count=scanned.added, next_page_token=scanned.next_token or "")
