"""What each code is over HTTP and over gRPC. A test compares it with the hub's table."""

from __future__ import annotations

from collections.abc import Mapping

#: HTTP status, and the name of gRPC's status; none for a code that only HTTP has.
CODES: Mapping[str, tuple[int, str | None]] = {
    "invalid_argument": (400, "INVALID_ARGUMENT"),
    "unauthenticated": (401, "UNAUTHENTICATED"),
    "permission_denied": (403, "PERMISSION_DENIED"),
    "not_found": (404, "NOT_FOUND"),
    "method_not_allowed": (405, None),
    "reader_too_slow": (408, "ABORTED"),
    "conflict": (409, "FAILED_PRECONDITION"),
    "draft_busy": (409, "FAILED_PRECONDITION"),
    "reply_unsupported": (409, "FAILED_PRECONDITION"),
    "input_closed": (409, "FAILED_PRECONDITION"),
    "draft_moved": (409, "ABORTED"),
    "cursor_out_of_range": (410, "OUT_OF_RANGE"),
    "etag_mismatch": (412, "ABORTED"),
    "too_large": (413, "RESOURCE_EXHAUSTED"),
    "range_not_satisfiable": (416, None),
    "unprocessable": (422, "INVALID_ARGUMENT"),
    "key_reused": (422, "INVALID_ARGUMENT"),
    "upgrade_required": (426, None),
    "etag_required": (428, "INVALID_ARGUMENT"),
    "limit_reached": (429, "RESOURCE_EXHAUSTED"),
    "internal": (500, "INTERNAL"),
    "runtime_refused": (502, "FAILED_PRECONDITION"),
    "invoke_uncertain": (503, "UNKNOWN"),
    "runtime_unavailable": (503, "UNAVAILABLE"),
    "database_unavailable": (503, "UNAVAILABLE"),
    "keys_unavailable": (503, "UNAVAILABLE"),
    "shutting_down": (503, "UNAVAILABLE"),
    "not_ready": (503, None),
}
