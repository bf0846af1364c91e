"""Authentication: from a token or the secret of a share link to a Principal. All transports use it."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import structlog

from server.auth.refusal_log import RefusalLog
from server.auth.tokens import TokenVerifier
from server.domain.access.refusals import MISSING, NOTHING, SHARE_LINK, TOKEN, RefusalObserver
from server.domain.access.sharing import MAX_SHARE_CHARS, SHARE_PREFIX, AccessStore, hash_secret
from server.domain.access.users import UserStore
from server.domain.clock import Clock
from server.domain.errors import PermissionDenied, Unauthenticated
from server.domain.model import Principal

BEARER = "bearer "

_log = structlog.stdlib.get_logger("server.auth")


class Authenticator:
    """Checks tokens, and makes sure that their users are stored. Also checks the secrets of share links.

    A share link authenticates only calls that read. operators: the subjects of the tokens of those who may
    make operators' calls, which are logged. Refusals are logged and counted, without what was presented.
    """

    def __init__(
        self,
        *,
        verifier: TokenVerifier,
        users: UserStore,
        links: AccessStore,
        clock: Clock,
        observer: RefusalObserver,
        operators: Collection[str] = (),
    ) -> None:
        self._verifier, self._users, self._links, self._clock = verifier, users, links, clock
        self._observer, self._log, self._operators = observer, RefusalLog(clock), frozenset(operators)

    @property
    def ready(self) -> bool:
        """Whether tokens can be checked now."""
        return self._verifier.ready

    async def authenticate(
        self, token: str | None, *, read_only: bool = False, operation: str | None = None
    ) -> Principal:
        """The caller of a token, without its scheme, or of the secret of a share link.

        read_only: the call only reads, so a share link is enough. operation: the name of a call that only
        operators may make. Raises Unauthenticated; PermissionDenied for a disabled user, a subject that
        belongs to another user, a link for a call that may write, and a caller who is not an operator;
        KeysUnavailable, DatabaseUnavailable.
        """
        try:
            caller = await self._authenticate(token, read_only=read_only)
            if operation is not None:
                self._check_operator(caller, operation)
            return caller
        except (Unauthenticated, PermissionDenied) as error:
            is_link = token is not None and token.startswith(SHARE_PREFIX)
            self.on_refused(error, presented=SHARE_LINK if is_link else TOKEN if token else NOTHING)
            raise

    async def recognise(self, values: Sequence[str]) -> Principal | None:
        """The caller of `Authorization` headers whose call waits, None without one. Nothing is logged or
        counted: the call will be authenticated. Raises KeysUnavailable, DatabaseUnavailable."""
        try:
            return await self._authenticate(bearer_token(values), read_only=True)
        except (Unauthenticated, PermissionDenied):
            return None

    def on_refused(self, error: Unauthenticated | PermissionDenied, *, presented: str) -> None:
        """Log and count a refusal, also one of a ticket, which is not checked here."""
        self._log.add(error, presented=presented)
        self._observer.on_refused(presented, error.reason)

    async def _authenticate(self, token: str | None, *, read_only: bool) -> Principal:
        if not token:
            raise Unauthenticated(
                "missing JWT token: the authorization, a header of HTTP or metadata of gRPC, must be "
                "`Bearer TOKEN`",
                reason=MISSING,
            )
        if token.startswith(SHARE_PREFIX):
            if not read_only:
                raise PermissionDenied("a share link can only read its proposal and its refinement")
            return await self._resolve_link(token)
        return await self._users.ensure_user(await self._verifier.verify(token), self._clock.now())

    def _check_operator(self, caller: Principal, operation: str) -> None:
        if caller.subject not in self._operators:
            raise PermissionDenied("only operators of the hub may do this: IDEO_OPERATORS names them")
        _log.info("operator_call", operation=operation, user_id=str(caller.user_id))

    async def _resolve_link(self, secret: str) -> Principal:
        caller = None
        if len(secret) <= MAX_SHARE_CHARS:
            caller = await self._links.resolve_link(hash_secret(secret))
        if caller is None:
            raise Unauthenticated("the share link is not valid, or was revoked")
        return caller

    async def authenticate_headers(
        self, values: Sequence[str], *, read_only: bool = False, operation: str | None = None
    ) -> Principal:
        """The caller of a call's `Authorization` headers or metadata values. Arguments and errors are those
        of `authenticate`."""
        return await self.authenticate(bearer_token(values), read_only=read_only, operation=operation)


def bearer_token(values: Sequence[str]) -> str | None:
    """The token of the only `Authorization` header; None without one, or when it has another scheme.

    Two headers are as good as none: it is unclear which one counts.
    """
    if len(values) != 1 or values[0][: len(BEARER)].lower() != BEARER:
        return None
    return values[0][len(BEARER) :].strip()
