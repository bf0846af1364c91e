"""The one table of errors: gRPC status, HTTP status, WebSocket close code, and whether to reconnect.

An error that is not in the table is the hub's fault: INTERNAL, and callers do not see its text.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from google.rpc import code_pb2

from server.domain import errors
from server.wire import messages as m

_PREFIX = "PROBLEM_REASON_"


class ReconnectAdvice(Enum):
    """Whether and when a client should reconnect after its stream was closed."""

    NO = "no"
    #: At once, with the last seq that it has.
    AT_ONCE = "at once"
    #: After a pause that grows.
    LATER = "later"
    #: With a new token.
    NEW_TOKEN = "with a new token"  # noqa: S105 (not a secret)
    #: From a cursor inside the journal.
    NEW_CURSOR = "with another cursor"


@dataclass(frozen=True, slots=True)
class Close:
    """A WebSocket close: its code and when to reconnect."""

    code: int
    advice: ReconnectAdvice

    @property
    def resumable(self) -> bool:
        """Whether the same request may be repeated with the cursor that the client has."""
        return self.advice in (ReconnectAdvice.AT_ONCE, ReconnectAdvice.LATER)

    @property
    def gives_cursor(self) -> bool:
        """Whether the close's reason is the cursor: a client continues from it, now or with a new token."""
        return self.resumable or self.advice is ReconnectAdvice.NEW_TOKEN


#: The terminal event was delivered.
CLOSE_DONE = Close(1000, ReconnectAdvice.NO)
#: The reader was too slow for too long.
CLOSE_SLOW_READER = Close(4408, ReconnectAdvice.AT_ONCE)


@dataclass(frozen=True, slots=True)
class Problem:
    """A row of the table. `error` is the text for legacy clients; `grpc` a number of google.rpc.Code."""

    reason: m.ProblemReason.ValueType
    grpc: int
    http: int
    title: str
    error: str
    close: Close

    @property
    def name(self) -> str:
        """The contract's name without its prefix."""
        return m.ProblemReason.Name(self.reason).removeprefix(_PREFIX)

    @property
    def code(self) -> str:
        """The same in lower case: `code` over HTTP, ErrorInfo's `reason` over gRPC."""
        return self.name.lower()


_REFUSED = Close(4400, ReconnectAdvice.NO)
_LATER = Close(1013, ReconnectAdvice.LATER)
_RUNTIME_AWAY = "Failed to connect to deepagents-runtime"
_R = m.ProblemReason

PROBLEMS: dict[type[errors.HubError], Problem] = {
    errors.InvalidArgument: Problem(
        _R.PROBLEM_REASON_INVALID_ARGUMENT,
        code_pb2.INVALID_ARGUMENT,
        400,
        "Invalid argument",
        "Bad Request",
        _REFUSED,
    ),
    errors.Unauthenticated: Problem(
        _R.PROBLEM_REASON_UNAUTHENTICATED,
        code_pb2.UNAUTHENTICATED,
        401,
        "Not authenticated",
        "Unauthorized",
        Close(4401, ReconnectAdvice.NEW_TOKEN),
    ),
    errors.PermissionDenied: Problem(
        _R.PROBLEM_REASON_PERMISSION_DENIED,
        code_pb2.PERMISSION_DENIED,
        403,
        "Permission denied",
        "Forbidden",
        Close(4403, ReconnectAdvice.NO),
    ),
    errors.NotFound: Problem(
        _R.PROBLEM_REASON_NOT_FOUND,
        code_pb2.NOT_FOUND,
        404,
        "Not found",
        "Not Found",
        Close(4404, ReconnectAdvice.NO),
    ),
    errors.Conflict: Problem(
        _R.PROBLEM_REASON_CONFLICT,
        code_pb2.FAILED_PRECONDITION,
        409,
        "Conflict",
        "Conflict",
        _REFUSED,
    ),
    errors.DraftBusy: Problem(
        _R.PROBLEM_REASON_DRAFT_BUSY,
        code_pb2.FAILED_PRECONDITION,
        409,
        "Draft busy",
        "Conflict",
        _REFUSED,
    ),
    errors.InputClosed: Problem(
        _R.PROBLEM_REASON_INPUT_CLOSED,
        code_pb2.FAILED_PRECONDITION,
        409,
        "Input closed",
        "Conflict",
        _REFUSED,
    ),
    errors.ReplyUnsupported: Problem(
        _R.PROBLEM_REASON_REPLY_UNSUPPORTED,
        code_pb2.FAILED_PRECONDITION,
        409,
        "Reply unsupported",
        "Conflict",
        _REFUSED,
    ),
    errors.KeyReused: Problem(
        _R.PROBLEM_REASON_KEY_REUSED,
        code_pb2.INVALID_ARGUMENT,
        422,
        "Idempotency key reused",
        "Unprocessable Entity",
        _REFUSED,
    ),
    errors.EtagRequired: Problem(
        _R.PROBLEM_REASON_ETAG_REQUIRED,
        code_pb2.INVALID_ARGUMENT,
        428,
        "Etag required",
        "Precondition Required",
        _REFUSED,
    ),
    errors.EtagMismatch: Problem(
        _R.PROBLEM_REASON_ETAG_MISMATCH,
        code_pb2.ABORTED,
        412,
        "Etag mismatch",
        "Precondition Failed",
        _REFUSED,
    ),
    errors.DraftMoved: Problem(
        _R.PROBLEM_REASON_DRAFT_MOVED,
        code_pb2.ABORTED,
        409,
        "Draft moved",
        "Conflict",
        _REFUSED,
    ),
    errors.CursorOutOfRange: Problem(
        _R.PROBLEM_REASON_CURSOR_OUT_OF_RANGE,
        code_pb2.OUT_OF_RANGE,
        410,
        "Cursor out of range",
        "Gone",
        Close(4410, ReconnectAdvice.NEW_CURSOR),
    ),
    errors.Unprocessable: Problem(
        _R.PROBLEM_REASON_UNPROCESSABLE,
        code_pb2.INVALID_ARGUMENT,
        422,
        "Unprocessable request",
        "Unprocessable Entity",
        _REFUSED,
    ),
    errors.TooLarge: Problem(
        _R.PROBLEM_REASON_TOO_LARGE,
        code_pb2.RESOURCE_EXHAUSTED,
        413,
        "Too large",
        "Content Too Large",
        Close(1009, ReconnectAdvice.NO),
    ),
    errors.LimitReached: Problem(
        _R.PROBLEM_REASON_LIMIT_REACHED,
        code_pb2.RESOURCE_EXHAUSTED,
        429,
        "Limit reached",
        "Too Many Requests",
        _LATER,
    ),
    errors.ClientTooSlow: Problem(
        _R.PROBLEM_REASON_READER_TOO_SLOW,
        code_pb2.ABORTED,
        408,
        "Client too slow",
        "Request Timeout",
        CLOSE_SLOW_READER,
    ),
    errors.RuntimeRefused: Problem(
        _R.PROBLEM_REASON_RUNTIME_REFUSED,
        # Clients retry UNAVAILABLE by themselves, and each attempt would store another failed proposal.
        code_pb2.FAILED_PRECONDITION,
        502,
        "Runtime error",
        "Bad Gateway",
        _LATER,
    ),
    errors.RuntimeUnavailable: Problem(
        _R.PROBLEM_REASON_RUNTIME_UNAVAILABLE,
        code_pb2.UNAVAILABLE,
        503,
        "Runtime unavailable",
        _RUNTIME_AWAY,
        _LATER,
    ),
    errors.InvokeUncertain: Problem(
        _R.PROBLEM_REASON_INVOKE_UNCERTAIN,
        # Not UNAVAILABLE either: each attempt may start another run.
        code_pb2.UNKNOWN,
        503,
        "Runtime did not answer",
        _RUNTIME_AWAY,
        _LATER,
    ),
    errors.DatabaseUnavailable: Problem(
        _R.PROBLEM_REASON_DATABASE_UNAVAILABLE,
        code_pb2.UNAVAILABLE,
        503,
        "Database unavailable",
        "Service Unavailable",
        _LATER,
    ),
    errors.KeysUnavailable: Problem(
        _R.PROBLEM_REASON_KEYS_UNAVAILABLE,
        code_pb2.UNAVAILABLE,
        503,
        "Keys unavailable",
        "Service Unavailable",
        _LATER,
    ),
    errors.ShuttingDown: Problem(
        _R.PROBLEM_REASON_SHUTTING_DOWN,
        code_pb2.UNAVAILABLE,
        503,
        "Shutting down",
        "Service Unavailable",
        Close(1012, ReconnectAdvice.AT_ONCE),
    ),
}

INTERNAL = Problem(
    _R.PROBLEM_REASON_INTERNAL,
    code_pb2.INTERNAL,
    500,
    "Internal error",
    "Internal Server Error",
    Close(1011, ReconnectAdvice.AT_ONCE),
)

#: Every row of the table.
ROWS = (*PROBLEMS.values(), INTERNAL)


def problem_of(error: BaseException) -> Problem:
    """The row of the error's class, else of its nearest ancestor, else INTERNAL."""
    for ancestor in type(error).__mro__:
        if ancestor in PROBLEMS:
            return PROBLEMS[ancestor]
    return INTERNAL
