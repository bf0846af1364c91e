"""What a check of `ideo doctor` found."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from server.settings.settings import Settings

#: Seconds that a check waits for each answer.
TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check. `fix`: what to do, empty when nothing is wrong."""

    check: str
    message: str
    fix: str = ""

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.fix


#: A check of the settings, and of the database with this DSN. It changes nothing.
Check = Callable[[Settings, str], Awaitable[Finding]]
