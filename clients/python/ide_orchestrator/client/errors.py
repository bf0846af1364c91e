"""Errors of the hub: one class for each answer to the question whether to try again.

`code` names the exact problem; the codes are listed in the hub's documentation of errors.
"""

from __future__ import annotations

from collections.abc import Mapping
from ssl import SSLCertVerificationError
from typing import Any


class HubError(Exception):
    """A call or a stream failed.

    code: the hub's name for the problem, such as `not_found`; empty when something else answered, or nothing.
    status: the HTTP status, 0 without one. retry_after_s: seconds to wait before another attempt; None when
    the hub does not advise one. trace_id: under which the hub's logs have the call. problem: the problem
    document; over gRPC only its members that depend on the code: `fields` that are invalid, `floor` and
    `last_seq` of the journal, `conflicts` with the draft, `proposal_id` of a start that failed.
    """

    def __init__(
        self,
        detail: str,
        *,
        code: str = "",
        status: int = 0,
        retry_after_s: float | None = None,
        trace_id: str = "",
        problem: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(detail)
        self.code, self.status, self.retry_after_s, self.trace_id = code, status, retry_after_s, trace_id
        self.problem: Mapping[str, Any] = problem or {}


class Unavailable(HubError):
    """Try again later: the hub cannot be reached, or cannot take the call now."""


class NotAuthenticated(HubError):
    """Try again with another token: this one is missing, invalid or expired."""


class Changed(HubError):
    """Read again, then decide: what the call refers to has changed, or the cursor is outside the journal."""


class Uncertain(HubError):
    """Let a person decide: the runtime did not answer, and each further attempt may start another run."""


class Refused(HubError):
    """Do not try again: the same call would be refused again."""


class NotTrusted(Refused):
    """Do not try again: the certificate of what answers is not accepted, so nothing was sent."""


class Fault(HubError):
    """A fault of the hub, or a response that is not from the hub."""


#: The class of each code. A test compares it with the hub's table.
CLASSES: Mapping[str, type[HubError]] = {
    "unauthenticated": NotAuthenticated,
    "cursor_out_of_range": Changed,
    "etag_mismatch": Changed,
    "draft_moved": Changed,
    "invoke_uncertain": Uncertain,
    "internal": Fault,
    **dict.fromkeys(
        (
            "runtime_unavailable",
            "database_unavailable",
            "keys_unavailable",
            "shutting_down",
            "limit_reached",
            "reader_too_slow",
            "not_ready",
        ),
        Unavailable,
    ),
    **dict.fromkeys(
        (
            "invalid_argument",
            "permission_denied",
            "not_found",
            "conflict",
            "draft_busy",
            "reply_unsupported",
            "input_closed",
            "unprocessable",
            "too_large",
            "runtime_refused",
            "key_reused",
            "etag_required",
            "method_not_allowed",
            "range_not_satisfiable",
            "upgrade_required",
        ),
        Refused,
    ),
}


def class_of(code: str, otherwise: type[HubError], retry_after_s: float | None) -> type[HubError]:
    """The class for a code, or `otherwise` for one that this version does not know.

    A refusal for which the hub names a time for the next attempt is temporary: the first request with the
    same id is still being processed.
    """
    found = CLASSES.get(code, otherwise)
    return Unavailable if found is Refused and retry_after_s is not None else found


#: What the libraries raise for an answer that is not HTTP.
_NOT_HTTP = ("RemoteProtocolError", "InvalidMessage")
#: OpenSSL's codes for a certificate that nobody signed whom the caller trusts.
_UNKNOWN_AUTHORITY = (18, 19, 20, 21)


def not_answered(who: str, error: BaseException) -> HubError:
    """The error for a connection that could not be made, or broke: NotTrusted, or Unavailable."""
    kind = NotTrusted if isinstance(_root_of(error), SSLCertVerificationError) else Unavailable
    return kind(f"{who} does not answer ({_cause_of(error)})")


def _cause_of(error: BaseException) -> str:
    """Why a connection could not be made, in the words of the operating system where it has some."""
    root = _root_of(error)
    if isinstance(root, SSLCertVerificationError):
        why = f"its certificate is not accepted: {root.verify_message}"
        advice = "; SSL_CERT_FILE names a PEM file of the authorities to trust"
        return why + (advice if root.verify_code in _UNKNOWN_AUTHORITY else "")
    text = root.strerror if isinstance(root, OSError) else None
    name = type(error).__name__
    return text or ("what listens there does not speak HTTP" if name in _NOT_HTTP else name)


def _root_of(error: BaseException) -> BaseException:
    root = error
    while root.__cause__ or root.__context__:
        root = root.__cause__ or root.__context__ or root
        if isinstance(root, OSError) and root.strerror:
            break
    return root
