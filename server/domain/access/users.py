"""The store of the people and services that have called."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from server.domain.model import Principal


class UserStore(Protocol):
    """The people and services that have called."""

    async def ensure_user(self, principal: Principal, now: datetime) -> None:
        """Make sure that the principal has a row, with the email of its token if that has one. A recent check
        is reused, without a query.

        Raises PermissionDenied for a disabled user, and for a subject that belongs to another user.
        """
        ...
