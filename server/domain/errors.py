"""The error tree. Domain errors say what is wrong; `server.wire.problems` maps them to statuses.

    HubError
    ├── InvalidArgument      a field is missing or wrong; `fields` names each
    ├── Unauthenticated      no token, or not a valid one
    ├── PermissionDenied     the caller may see it, but not do this to it
    ├── NotFound             it does not exist, or the caller may not see it
    ├── Conflict             the state does not allow it
    │   ├── DraftBusy        another refinement of the draft has not ended
    │   ├── InputClosed      the question can no longer be answered
    │   └── ReplyUnsupported the runtime cannot continue a run that has asked a person
    ├── KeyReused            the idempotency key belongs to another request
    ├── EtagRequired         a write does not say which version it changes
    ├── EtagMismatch         what is written has changed since it was read
    ├── DraftMoved           the draft has other changes of the files that a proposal changes
    ├── CursorOutOfRange     the cursor is below the floor or above the end
    ├── Unprocessable        well-formed, but cannot be executed
    ├── TooLarge             a body or message above its limit
    ├── LimitReached         the caller has reached one of its limits
    ├── ClientTooSlow        the client reads a stream, or sends a request, too slowly
    ├── RuntimeRefused       the runtime answered with an error
    ├── RuntimeUnavailable   the runtime could not be reached
    │   └── InvokeUncertain  the runtime did not answer a start: it may have the run or not
    ├── DatabaseUnavailable  the database could not be reached
    ├── KeysUnavailable      the issuer's keys could not be fetched
    └── ShuttingDown         this replica shuts down

`LeaseLost` is not for callers: another replica drives the run now.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING
from uuid import UUID

if TYPE_CHECKING:
    from server.domain.review.conflicts import ShownConflict


class HubError(Exception):
    """An error that callers see. `str(error)` is a message for people, without secrets."""

    def __init__(self, message: str, *, retry_after_s: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        #: Whole seconds after which a retry may succeed; None when a retry is useless.
        self.retry_after_s = retry_after_s
        #: The proposal of the start that failed or is in progress, if one is stored.
        self.proposal_id: UUID | None = None

    def __reduce__(self) -> tuple[object, ...]:
        # With what its class's constructor has made of its arguments, which may be others than `args`.
        return _error, (type(self), self.args), self.__dict__

    def add_context(self, text: str) -> None:
        """Append a part of a sentence for the caller."""
        self.message = f"{self.message}; {text}"
        self.args = (self.message,)


def _error(kind: type[HubError], args: tuple[object, ...]) -> HubError:
    """The error that `HubError.__reduce__` describes, still without its attributes."""
    return kind.__new__(kind, *args)


class InvalidArgument(HubError):
    """A request field is missing or wrong.

    `fields` maps the field's name as the contract spells it to what is wrong with it.
    """

    def __init__(self, fields: dict[str, str]) -> None:
        super().__init__("; ".join(f"{name}: {wrong}" for name, wrong in fields.items()))
        self.fields = fields


class Unauthenticated(HubError):
    """The token is missing or not valid. `reason`: one of `server.domain.access.refusals.REASONS`."""

    def __init__(self, message: str, *, reason: str = "invalid") -> None:
        super().__init__(message)
        self.reason = reason


class PermissionDenied(HubError):
    """The caller may see the resource but not do this to it. `reason`: as above, for a caller who may do
    nothing."""

    def __init__(self, message: str, *, reason: str = "forbidden") -> None:
        super().__init__(message)
        self.reason = reason


class NotFound(HubError):
    """The resource does not exist, or the caller may not know that it does."""


class Conflict(HubError):
    """The resource's state does not allow the call."""


class DraftBusy(Conflict):
    """Another refinement of the draft has not ended. `other`: its proposal, if the caller may see it."""

    def __init__(self, other: UUID | None = None) -> None:
        which = "another refinement" if other is None else f"the refinement of proposal {other}"
        super().__init__(f"{which} of the draft has not ended: wait for it, enqueue this one or supersede it")


def too_busy() -> Conflict:
    """The error where a draft, or the decisions on a proposal, changed again and again while a change was
    prepared."""
    return Conflict("the draft or the decisions change too often: try again", retry_after_s=1)


class InputClosed(Conflict):
    """The question can no longer be answered: it was, another one took its place, or the run has ended."""

    def __init__(
        self, message: str = "the question was answered, or another one has taken its place"
    ) -> None:
        super().__init__(message)


class ReplyUnsupported(Conflict):
    """The runtime cannot continue a run that has asked a person."""

    def __init__(self) -> None:
        super().__init__(
            "the runtime cannot continue a run with an answer: cancel the run, or let it time out"
        )


class KeyReused(HubError):
    """The idempotency key was used for another request."""

    def __init__(self) -> None:
        super().__init__("this idempotency key was used for another request: use a new one")


class EtagRequired(HubError):
    """A write that needs the etag of what it changes does not have one."""

    def __init__(self) -> None:
        super().__init__(
            "this write needs the etag of what it changes: in `If-Match` over HTTP, in `etag` over gRPC"
        )


class EtagMismatch(HubError):
    """A write has the etag of an earlier version. `what`: the resource's kind."""

    def __init__(self, what: str) -> None:
        super().__init__(f"the {what} has changed since it was read: read it again, then decide")


class DraftMoved(HubError):
    """A proposal's changes cannot come into the draft: `conflicts` names the files that both sides changed.

    base_version: the version of the draft that the run started from. draft_version, draft_etag: the newest
    one's.
    """

    def __init__(
        self, conflicts: Sequence[ShownConflict], *, base_version: int, draft_version: int, draft_etag: str
    ) -> None:
        super().__init__(
            "the draft has other changes of the same files: merge them, or say what each is to be"
        )
        self.conflicts = conflicts
        self.base_version, self.draft_version, self.draft_etag = base_version, draft_version, draft_etag


class CursorOutOfRange(HubError):
    """A cursor outside the journal: `floor` is the lowest seq kept, `last_seq` the highest."""

    def __init__(self, after: int, floor: int, last_seq: int) -> None:
        if not last_seq:
            message = f"the cursor {after} is outside the journal, which has no event yet: start from 0"
        elif floor > last_seq:
            message = (
                f"the run's {last_seq} events were removed at the end of their retention; the proposal is "
                f"kept, and the only valid cursor is {last_seq}"
            )
        else:
            message = (
                f"the cursor {after} is outside the journal, which has seq {floor} to {last_seq}: "
                f"start again from a cursor between {floor - 1} and {last_seq}"
            )
        super().__init__(message)
        self.floor = floor
        self.last_seq = last_seq


class Unprocessable(InvalidArgument):
    """Each field is well-formed, but the request as a whole cannot be executed."""


class TooLarge(HubError):
    """A body or message is larger than its limit."""


class LimitReached(HubError):
    """The caller has reached one of its limits."""


class ClientTooSlow(HubError):
    """The client reads a stream, or sends a request, too slowly (`reader_too_slow` in the contract).

    A reader may resume from the last seq that it has.
    """


class RuntimeRefused(HubError):
    """The runtime answered a call with an error. `status` is its HTTP status.

    reason: the runtime's own words, which may repeat what was sent to it: they are for the caller, as a part
    of the message, and not for logs or traces, which get the `summary`.
    """

    def __init__(self, message: str, *, status: int, reason: str = "") -> None:
        super().__init__(f"{message}: {reason}" if reason else message)
        self.status = status
        self.summary = message


class RuntimeUnavailable(HubError):
    """The runtime could not be reached, or did not answer in time.

    `sent` is False only when it is certain that the request never reached the runtime.
    """

    def __init__(self, message: str, *, sent: bool = True, retry_after_s: int | None = 5) -> None:
        super().__init__(message, retry_after_s=retry_after_s)
        self.sent = sent


class InvokeUncertain(RuntimeUnavailable):
    """The runtime got a start, or not, and did not answer.

    Not for an automatic retry: each one may start another run.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message, retry_after_s=None)


class DatabaseUnavailable(HubError):
    """The database could not be reached, or did not answer: a statement may have been executed or not.

    Callers may repeat the call: a start by its idempotency key.
    """

    def __init__(self, message: str = "the database is not available", *, retry_after_s: int = 5) -> None:
        super().__init__(message, retry_after_s=retry_after_s)


class KeysUnavailable(HubError):
    """The keys that verify tokens could not be fetched: the caller's token may be valid or not."""

    def __init__(self, *, retry_after_s: int) -> None:
        super().__init__("the keys that verify tokens could not be fetched", retry_after_s=retry_after_s)


class ShuttingDown(HubError):
    """This replica shuts down; another one takes the call."""

    def __init__(self) -> None:
        super().__init__("this replica is shutting down: connect again", retry_after_s=1)


class LeaseLost(Exception):
    """The run's lease belongs to another replica: stop writing, at once and silently."""
