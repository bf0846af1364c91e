"""A kept frame is put back only if nothing later has replaced what it says."""

from __future__ import annotations

import pytest

from server.domain.journal.events import Discontinuity, DiscontinuityReason, EventKind, StateUpdate, Token
from server.domain.runs.superseding import Superseding

STATE, TOKEN, GAP = StateUpdate(), Token(), Discontinuity(DiscontinuityReason.RECONNECTED)


@pytest.mark.parametrize(
    ("later", "delta", "put_back", "state", "token"),
    [
        (None, b"", False, False, False),
        (GAP, b"", False, False, False),
        (STATE, b"x", False, True, True),
        (TOKEN, b"x", False, False, True),
        # The files of the runtime's state are newer; what was put back is as old as its frame.
        (STATE, b"", False, True, True),
        (STATE, b"", True, False, False),
        (TOKEN, b"", True, False, False),
    ],
)
def test_what_replaces_a_kept_frame(
    later: EventKind | None, delta: bytes, put_back: bool, state: bool, token: bool
) -> None:
    found = Superseding()
    found.note(3, STATE, b"x")
    found.note(4, TOKEN, b"x")
    if later is not None:
        found.note(6, later, delta)
    if put_back:
        found.note_put_back([6])
    assert (found.supersedes(5, STATE), found.supersedes(5, TOKEN)) == (state, token)
    assert found.supersedes(2, STATE)


def test_tokens_that_differ_in_their_text_alone_replace_an_earlier_one() -> None:
    found = Superseding()
    found.note_tokens(9)
    assert (found.supersedes(8, TOKEN), found.supersedes(8, STATE)) == (True, False)
